"""The training of one run: from the start, or from its last checkpoint."""

import functools
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from vae_lab.build import build, build_model, build_objective, updates_of
from vae_lab.claim import Claim
from vae_lab.data.dataset import Spec
from vae_lab.distributions import stream_seed
from vae_lab.errors import RequestError, first_line
from vae_lab.evaluation import ElboMeter
from vae_lab.evaluation.information import information
from vae_lab.extension import extended
from vae_lab.ranks import together
from vae_lab.request import Request, Say
from vae_lab.scoring import explained, load_weights
from vae_lab.stages import Stages
from vae_lab.store import HISTORY, LAST, LEDGER
from vae_lab.subnormals import subnormals_as_zero
from vae_lab.targets import parts
from vae_lab.training.checkpoint_io import DamagedCheckpoint, read_checkpoint
from vae_lab.training.history import HistoryLogger
from vae_lab.training.ledger import Ledger
from vae_lab.training.module import Training
from vae_lab.training.processes import ALONE, Alone
from vae_lab.training.progress import Progress
from vae_lab.training.tracker import Tracker
from vae_lab.training.trainer import own_device, processes_of
from vae_lab.training.window import Diverged
from vae_lab.validations import too_late


def fit(asked: Request, claim: Claim, trackers: Sequence[Tracker], progress: bool, say: Say) -> dict[str, Any]:
    """Trains from the start or from the last checkpoint; returns the timing."""
    path = asked.directory.path
    resume = resumable(path, say) or extended(asked, say)
    ledger = Ledger(path / LEDGER)
    ledger.count_attempt()
    history = HistoryLogger(path / HISTORY, guard=claim.check)
    history.rewind(resume["vae_lab"]["history"] if resume else 0, say)
    for tracker in trackers:
        tracker.begin(asked.directory.history())
    with together(asked, resume=bool(resume)) as processes:
        module = prepared(asked, bool(resume), ledger, processes)
        trainer = make_trainer(asked, [history, *trackers], _progress(asked, progress, say))
        started = time.perf_counter()
        try:
            with Stages(say, asked.label) as stage:
                lightning_fit(trainer, module, asked, str(path / LAST) if resume else None, stage)
        except Diverged as error:
            raise explained(error, asked) from error
        finally:
            ledger.add_seconds(time.perf_counter() - started)
    return {
        "seconds_fit": ledger.seconds,
        "steps": module.updates,
        "steps_run": ledger.updates,
        "attempts": ledger.attempts,
        **{name: int(count) for name, count in module.inference.facts().items()},
    }


def prepared(asked: Request, resume: bool, ledger: Ledger | None = None, processes: Alone = ALONE) -> Training:
    """The module of a run, with the weights that it begins with; a run that goes on has them from its checkpoint."""
    pl.seed_everything(asked.settings["seed"], verbose=False)
    module = make_module(asked, ledger, processes)
    if asked.settings["init_from"] and not resume:
        load_weights(module.model, Path(asked.settings["init_from"]), "last", start=True)
    return module


@subnormals_as_zero()
def lightning_fit(
    trainer: pl.Trainer, module: Training, asked: Request, resume: str | None, stage: Stages | None = None
) -> None:
    if stage is not None:
        stage("loading the data")
    trainer.precision_plugin.convert_module(module)  # now: weights that are restored first would be rounded
    data = functools.partial(asked.dataset.batches, device=trainer.strategy.root_device)
    train = data("train", asked.settings["batch_size"], seed=asked.settings["seed"], shuffle=True)
    val = data("val", VALIDATION_BATCH)
    if stage is not None and asked.settings["compile"]:
        stage("compiling the step")
    elif stage is not None:
        stage.end()
    try:
        trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # Lightning turns an interrupt into exit code 1
        if trainer.interrupted and stop.code == 1:
            raise KeyboardInterrupt from stop
        raise


VALIDATION_BATCH = 256
"""Examples at a time during training. Like the noise of `ElboMeter()` it is no setting: what a plateau or the best
checkpoint sees belongs to the training, and `evaluation.*` must not reach it."""


def make_module(asked: Request, ledger: Ledger | None = None, processes: Alone = ALONE) -> Training:
    settings, spec = asked.settings, asked.dataset.spec()
    updates = updates_of(settings, spec)
    return Training(
        build_model(settings, spec),
        build_objective(settings, spec),
        optimizer=lambda params: build(settings["optimizer"], params=params),
        scheduler=lambda optimizer: build(settings["scheduler"], optimizer=optimizer, total_updates=updates),
        meter=functools.partial(ElboMeter, seed=stream_seed(0, "val")),  # as `Evaluation()` has it
        seed=settings["seed"],
        ledger=ledger,
        gradient_clip_val=settings["trainer"].get("gradient_clip_val"),
        accumulate=settings["trainer"].get("accumulate_grad_batches", 1),
        corruption=build(settings["corruption"]),
        information=lambda model, batches: information(model, batches).plug_in,
        processes=processes,
        compiled=settings["compile"],
        total_updates=updates,
    )


def built(asked: Request) -> Request:
    """Builds everything that a run trains, without memory or data; the request with what is known then.

    Errors: `RequestError` if something cannot be built: better now than in the last cell of a grid.
    """
    try:
        with torch.device("meta"):
            module = make_module(asked)
            module.configure_optimizers()
    except (ValueError, TypeError, RuntimeError) as error:
        raise RequestError(f"{asked.label}: cannot be built: {first_line(error)}") from error
    updates = updates_of(asked.settings, asked.dataset.spec())
    weights, stages = module.objective.settled, module.inference.settled
    late = [f"the weight of the rate settles at update {weights}, and the run ends at {updates}"] * (weights > updates)
    warmup = module.learning_rate.warmup
    late += [f"the learning rate has warmed up at update {warmup}, and the run ends at {updates}"] * (warmup > updates)
    late += [f"the last stage begins at update {stages}, and the run ends at {updates}"] * (stages >= updates)
    spec = asked.dataset.spec()
    late += too_late(asked.settings, spec, max(module.settled_at, warmup))
    late += _ended_by(asked.settings, spec)
    parameters = sum(parameter.numel() for parameter in module.model.parameters())
    work = float(updates) * asked.settings["batch_size"] * module.objective.samples * parameters
    return replace(asked, cautions=(*asked.cautions, *late), parameters=parameters, work=work)


def _ended_by(settings: Mapping[str, Any], spec: Spec) -> list[str]:
    """A line where two limits are given: the one that ends the run."""
    epochs, steps = settings["trainer"].get("max_epochs"), settings["trainer"].get("max_steps")
    if epochs in (None, -1) or steps in (None, -1):
        return []
    end = updates_of(settings, spec)
    words = f"trainer.max_epochs={epochs}", f"trainer.max_steps={steps}"
    first, second = words if end < steps else words[::-1]
    return [f"{first} ends the run, at update {end}, and {second} has no effect"]


def _progress(asked: Request, progress: bool, say: Say) -> Progress:
    """How far a run is: a bar on a terminal; lines elsewhere, and of a run beside others."""
    wanted = asked.settings["trainer"]["enable_progress_bar"]
    bar = wanted and progress and sys.stderr.isatty()
    return Progress(say if wanted else None, asked.label, bar, start=progress)


def make_trainer(asked: Request, loggers: list[Any], progress: Progress | None = None, rank: int = 0) -> pl.Trainer:
    """The trainer of a run, or of one of the processes that share it, of which the first alone saves checkpoints."""
    directory = str(asked.directory.path / "checkpoints")
    callbacks = [build(node, directory=directory) for node in parts(asked.settings["callbacks"]).values()]
    callbacks = [callback for callback in callbacks if rank == 0 or not isinstance(callback, Checkpoint)]
    callbacks += asked.callbacks
    node = dict(asked.settings["trainer"])
    if processes_of(node.get("devices", 1)) > 1:
        node["devices"] = own_device(node["accelerator"], node["devices"], rank)
    node["enable_progress_bar"] = False  # Lightning's would be one for each epoch
    callbacks += [progress] if progress else []
    return build({**node, "logger": loggers, "callbacks": callbacks, "default_root_dir": str(asked.directory.path)})


def resumable(path: Path, say: Say) -> dict[str, Any] | None:
    """The last checkpoint if it is whole; a damaged one is said, and the run begins anew."""
    if not (path / LAST).exists():
        return None
    try:
        return read_checkpoint(path / LAST)
    except DamagedCheckpoint as damage:
        say(f"{damage}; the run begins anew")
        shutil.rmtree(path / "checkpoints")
        return None
