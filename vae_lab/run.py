"""One run: check, claim, fit, evaluate, remember. Asking twice runs once; what was cut goes on from its last checkpoint."""

import contextlib
import functools
import logging
import math
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from omegaconf import DictConfig

from vae_lab.build import build, build_model, build_objective, updates_of
from vae_lab.check import check_machine, check_settings
from vae_lab.config import resolve
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.distributions import stream_seed
from vae_lab.environment import environment
from vae_lab.errors import RequestError, RunFailed, refusal
from vae_lab.evaluation import ElboMeter, Evaluation, evaluate
from vae_lab.evaluation.panels import panels, write_panels
from vae_lab.identity import evaluation_hash, signature
from vae_lab.joblog import logged
from vae_lab.models import VAE
from vae_lab.store import BEST, CONFIG, HISTORY, LAST, LOG, RESULT, Damaged, RunDirectory, to_json, write_atomically
from vae_lab.training.checkpoint_io import DamagedCheckpoint, read_checkpoint
from vae_lab.training.history import HistoryLogger
from vae_lab.training.ledger import Ledger
from vae_lab.training.module import Diverged, Training, objective_loss
from vae_lab.training.trainer import device_of

Say = Callable[[str], None]
print_line: Say = functools.partial(print, flush=True)


@dataclass(frozen=True)
class Request:
    """A checked request for a run: its settings, its data (not yet loaded), and the directory that is its name."""

    settings: dict[str, Any]
    dataset: Dataset
    directory: RunDirectory

    @property
    def label(self) -> str:
        arm = self.settings["study"].get("arm") or self.directory.signature
        return f"{arm} seed={self.settings['seed']}"

    @property
    def evaluation(self) -> Evaluation:
        return build(self.settings["evaluation"])


def request(cfg: DictConfig, named: tuple[str, ...] = ()) -> Request:
    """Checks a config and finds its directory. Errors: `RequestError`, one line."""
    settings = resolve(cfg)
    try:
        dataset = check_settings(settings, named)
        check_machine(settings)
        spec, fingerprint = dataset.spec(), dataset.fingerprint()
    except DataError as error:
        raise RequestError(str(error)) from error
    known = {"shape": list(spec.shape), "kind": spec.kind, "sizes": spec.sizes, "labels": spec.labels}
    settings["spec"] = {**known, "fingerprint": fingerprint}
    folder = Path(settings["runs_dir"]) / settings["study"]["name"]
    return Request(settings, dataset, RunDirectory(folder / signature(settings, fingerprint)))


def train(cfg: DictConfig, progress: bool = True, say: Say = print_line) -> dict[str, Any]:
    """Runs a config, or finds that it was run: the content of its `result.json`.

    Errors: `RequestError` if the config makes no sense; `RunFailed` if the run ended with an error.
    """
    return execute(request(cfg), progress, say)


def execute(asked: Request, progress: bool = True, say: Say = print_line) -> dict[str, Any]:
    """Runs what was asked under a claim, unless it is done already."""
    directory = asked.directory
    with claimed(asked):
        done = _finished(asked, say)
        if done is not None and done["evaluation"].get("hash") == evaluation_hash(asked.evaluation.identity()):
            return done
        torch.set_num_threads(asked.settings["threads"])
        with logged(directory.path):
            return _run(asked, done, progress, say)


@contextlib.contextmanager
def claimed(asked: Request) -> Iterator[None]:
    """The claim of a run's directory, or one line if it cannot be written."""
    path = asked.directory.path
    try:
        with asked.directory.claim(f"{asked.label}: another process holds {path}; waiting for it"):
            yield
    except OSError as error:
        raise refusal(error, path) from error


def is_done(asked: Request) -> bool:
    """Whether a run has ended and was evaluated as asked, so that asking for it would do nothing."""
    if asked.settings["rerun"] or asked.directory.state() != "completed":
        return False
    result = asked.directory.result()
    return result is not None and result["evaluation"].get("hash") == evaluation_hash(asked.evaluation.identity())


def _finished(asked: Request, say: Say) -> dict[str, Any] | None:
    """The result of a completed run; None if there is none, it failed, is damaged, or was asked for anew."""
    directory = asked.directory
    if asked.settings["rerun"]:
        _forget(directory.path)
        return None
    try:
        result = directory.result()
    except Damaged as damage:
        say(f"{damage}; it is made again")
        (directory.path / RESULT).unlink()
        return None
    return result if result is not None and result["status"] == "completed" else None


def _forget(path: Path) -> None:
    for name in (RESULT, CONFIG, HISTORY, LOG, ".ledger"):
        (path / name).unlink(missing_ok=True)
    for folder in ("checkpoints", "figures", ".hydra"):
        shutil.rmtree(path / folder, ignore_errors=True)


def _run(asked: Request, done: dict[str, Any] | None, progress: bool, say: Say) -> dict[str, Any]:
    """Fits (unless that is done) and evaluates. A failure is written down before it is raised."""
    path = asked.directory.path
    try:
        if done is not None and not (path / LAST).exists():
            say(f"{asked.label}: {path / LAST} is gone, and with it the model; the run is made again")
        if done is None or not _resumable(path, say):
            _write_config(asked)
            with _tracked(asked, say) as tracker:
                result = evaluated(asked, _fit(asked, tracker, progress, say), say)
                if tracker:
                    metrics = {name: value for name, value in result["metrics"].items() if name.startswith("test/")}
                    tracker.log_metrics(metrics, step=result["timing"]["steps"])
        else:
            result = evaluated(asked, done["timing"], say)
    except (KeyboardInterrupt, SystemExit):
        logging.getLogger(__name__).warning("interrupted; the run goes on from its last checkpoint when asked again")
        raise
    except Exception as error:
        first = _first_line(error)
        logging.getLogger(__name__).error("the run failed\n%s", traceback.format_exc())
        with contextlib.suppress(OSError):  # a full disk cannot take this either
            write_atomically(path / RESULT, to_json(_record(asked, "failed", {}, {}, {}, error=first)))
        raise RunFailed(f"{asked.label}: {first} (see {path / LOG})") from error
    write_atomically(path / RESULT, to_json(result))
    return result


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, (RequestError, DataError)) else f"{type(error).__name__}: {lines[0]}"


def _write_config(asked: Request) -> None:
    path = asked.directory.path
    write_atomically(path / CONFIG, yaml.safe_dump(asked.settings, sort_keys=False))
    write_atomically(path / ".hydra" / "overrides.yaml", yaml.safe_dump(asked.settings.get("overrides", [])))


# ---- fitting


def _fit(asked: Request, tracker: Any, progress: bool, say: Say) -> dict[str, Any]:
    """Trains from the start or from the last checkpoint; returns the timing."""
    path, settings = asked.directory.path, asked.settings
    ledger, resume = Ledger(path / ".ledger"), _resumable(path, say)
    ledger.count_attempt()
    history = HistoryLogger(path / HISTORY)
    history.rewind(resume["vae_lab"]["history"] if resume else 0)
    pl.seed_everything(settings["seed"], verbose=False)
    module = make_module(asked, ledger)
    if settings["init_from"] and not resume:
        load_weights(module.model, Path(settings["init_from"]), "last")
    trainer = make_trainer(asked, [history, *([tracker] if tracker else [])], progress)
    started = time.perf_counter()
    try:
        _lightning_fit(trainer, module, asked, str(path / LAST) if resume else None)
    finally:
        ledger.add_seconds(time.perf_counter() - started)
    return {
        "seconds_fit": ledger.seconds,
        "steps": module.updates,
        "steps_run": ledger.updates,
        "attempts": ledger.attempts,
    }


def _lightning_fit(trainer: pl.Trainer, module: Training, asked: Request, resume: str | None) -> None:
    data = functools.partial(asked.dataset.batches, device=module_device(trainer))
    train = data("train", asked.settings["batch_size"], seed=asked.settings["seed"], shuffle=True)
    val = data("val", VALIDATION_BATCH)
    try:
        trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # Lightning turns an interrupt into exit code 1
        if trainer.interrupted and stop.code == 1:
            raise KeyboardInterrupt from stop
        raise


def module_device(trainer: pl.Trainer) -> torch.device:
    return trainer.strategy.root_device


VALIDATION_BATCH = 256
"""Examples at a time during training. Like the noise of `ElboMeter()` it is no setting: what a plateau or the best
checkpoint sees belongs to the training, and `evaluation.*` must not reach it."""


def make_module(asked: Request, ledger: Ledger | None = None) -> Training:
    settings, spec = asked.settings, asked.dataset.spec()
    updates = updates_of(settings, spec)
    return Training(
        build_model(settings, spec),
        build_objective(settings, updates),
        optimizer=lambda params: build(settings["optimizer"], params=params),
        scheduler=lambda optimizer: build(settings["scheduler"], optimizer=optimizer, total_updates=updates),
        meter=functools.partial(ElboMeter, seed=stream_seed(0, "val")),  # as `Evaluation()` has it
        seed=settings["seed"],
        ledger=ledger,
        gradient_clip_val=settings["trainer"].get("gradient_clip_val"),
        accumulate=settings["trainer"].get("accumulate_grad_batches", 1),
    )


def make_trainer(asked: Request, loggers: list[Any], progress: bool) -> pl.Trainer:
    directory = str(asked.directory.path / "checkpoints")
    callbacks = [build(node, directory=directory) for node in asked.settings["callbacks"].values()]
    node = dict(asked.settings["trainer"])
    node["enable_progress_bar"] = node["enable_progress_bar"] and progress and sys.stderr.isatty()
    if node["enable_progress_bar"]:
        callbacks.append(pl.callbacks.RichProgressBar())
    return build({**node, "logger": loggers, "callbacks": callbacks, "default_root_dir": str(asked.directory.path)})


def _resumable(path: Path, say: Say) -> dict[str, Any] | None:
    """The last checkpoint if it is whole; a damaged one is said, and the run begins anew."""
    if not (path / LAST).exists():
        return None
    try:
        return read_checkpoint(path / LAST)
    except DamagedCheckpoint as damage:
        say(f"{damage}; the run begins anew")
        shutil.rmtree(path / "checkpoints")
        return None


@contextlib.contextmanager
def _tracked(asked: Request, say: Say) -> Iterator[Any]:
    """The tracker of a run, or None; it is ended with the run's exit code, also when the run failed."""
    tracker = _tracker(asked)
    try:
        yield tracker
    finally:
        if hasattr(tracker, "end"):
            tracker.end(failed=sys.exc_info()[0] is not None, say=say)


def _tracker(asked: Request) -> Any:
    context = {
        "run_dir": asked.directory.path,
        "run_name": asked.label,
        "study_name": asked.settings["study"]["name"],
        "run_config": asked.settings,
    }
    return build(asked.settings["logger"], **context)


# ---- evaluating


def evaluated(asked: Request, timing: Mapping[str, Any], say: Say) -> dict[str, Any]:
    path, settings, evaluation = asked.directory.path, asked.settings, asked.evaluation
    started = time.perf_counter()
    device = device_of(settings["trainer"]["accelerator"])
    model = build_model(settings, asked.dataset.spec())
    load_weights(model, path, evaluation.checkpoint)
    model.to(device).eval()
    log = logging.getLogger(__name__)
    metrics, details = evaluate(model, asked.dataset, evaluation, say=log.info)
    objective, updates = build_objective(settings, updates_of(settings, asked.dataset.spec())), timing["steps"]
    for split in ("val", "test"):
        batches = asked.dataset.batches(split, evaluation.batch_size, device=device)
        metrics[f"{split}/loss"] = objective_loss(model, objective, batches, updates)
        metrics[f"{split}/beta"] = objective.beta(updates)
    if not math.isfinite(metrics["test/elbo"]):
        raise Diverged(f"test/elbo is {metrics['test/elbo']}: the model is of no use; try a smaller optimizer.lr")
    if evaluation.figures and len(settings["spec"]["shape"]) == 3:
        write_panels(panels(model, next(iter(asked.dataset.batches("test", 16, device=device)))), path / "figures")
    timing = {**timing, "seconds_evaluate": time.perf_counter() - started}
    return _record(asked, "completed", metrics, details, timing)


def load_weights(model: VAE, path: Path, which: str) -> None:
    """Puts the weights of a run's checkpoint into a model. Errors: `RequestError` if it is not there, not whole, or of
    another model."""
    file, prefix = path / (BEST if which == "best" else LAST), "model."
    if not file.exists():
        raise RequestError(f"{file} is not there: {path} is no finished run, or never saved its {which} model")
    try:
        state = read_checkpoint(file)["state_dict"]
        model.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})
    except DamagedCheckpoint as damage:
        raise RequestError(f"{damage}; rerun=true trains it again") from damage
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{file} does not fit the model of {path / CONFIG}: {' '.join(str(error).split())}"
        ) from error


def _record(
    asked: Request,
    status: str,
    metrics: dict[str, float],
    details: dict[str, Any],
    timing: Mapping[str, Any],
    error: str | None = None,
) -> dict[str, Any]:
    settings, identity = asked.settings, asked.evaluation.identity()
    return {
        "signature": asked.directory.signature,
        "study": settings["study"]["name"],
        "arm": settings["study"].get("arm"),
        "seed": settings["seed"],
        "status": status,
        **({"error": error} if error else {}),
        "metrics": metrics,
        "details": details,
        "evaluation": {"hash": evaluation_hash(identity), "settings": identity},
        "settings": settings,
        "environment": environment(settings),
        "timing": dict(timing),
    }
