"""Refusing what makes no sense, before anything is built: what the data, the model, the machine or another run
say of a request. (What its schema says is in `schema`, what goes with what in `combinations`.)"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from vae_lab.build import batches_of, build, build_model, build_objective, with_end
from vae_lab.capacity import check_processes, check_room
from vae_lab.combinations import component_traits
from vae_lab.data.dataset import Dataset, Spec
from vae_lab.errors import RequestError
from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.options import option_name
from vae_lab.schema import check_schema
from vae_lab.store import LAST
from vae_lab.targets import Node, locate, targets
from vae_lab.training.checkpoint_io import DamagedCheckpoint, read_checkpoint
from vae_lab.training.trainer import device_of, processes_of
from vae_lab.traits import conflicts
from vae_lab.validations import check_watchers


def check_settings(settings: Node, named: tuple[str, ...] = ()) -> Dataset:
    """Checks a resolved config: everything but the training itself. Returns its dataset, not yet loaded.

    Errors: `RequestError` or `DataError`, one line.
    """
    return _check_settings(settings, named)[0]


def check_request(settings: Node, named: tuple[str, ...] = ()) -> tuple[Dataset, dict[str, Any]]:
    """The same, of what is to be trained on this machine; also its settings, with an end. Errors: as `check_settings`."""
    dataset, model, objective = _check_settings(settings, named, complete=with_end)
    check_machine(settings)
    check_room(settings, dataset.spec(), model, objective.samples)
    return dataset, with_end(settings, dataset.spec())


def _check_settings(
    settings: Node, named: tuple[str, ...], complete: Callable[[Node, Spec], Node] = lambda settings, _: settings
) -> tuple[Dataset, VAE, Objective]:
    check_schema(settings, named)
    check_processes(settings)
    dataset = build(settings["dataset"])
    spec = dataset.spec()
    settings = complete(settings, spec)
    _check_validations(settings, spec)
    check_watchers(settings, spec)
    _check_processes(settings, spec)
    refused = conflicts(
        [(f"dataset={option_name('dataset', settings['dataset'])}", spec.traits), *component_traits(settings)]
    )
    if refused:
        raise RequestError(refused[0])
    with torch.device("meta"):  # shapes are checked and nothing is allocated
        model = build_model(settings, spec)
        objective = build_objective(settings, spec)
    _check_parts(settings, model)
    if settings["init_from"]:
        _check_weights(Path(settings["init_from"]), model)
    return dataset, model, objective


def check_machine(settings: Node) -> None:
    """Refuses what needs a device or a package that is not here, before anything is trained."""
    wanted = settings["trainer"]["accelerator"]
    if device_of(wanted).type == "cuda" and not torch.cuda.is_available():
        raise RequestError(f"trainer.accelerator: {wanted} given; torch {torch.__version__} finds no GPU here")
    devices = settings["trainer"].get("devices", 1)
    if device_of(wanted).type == "cuda" and processes_of(devices) > torch.cuda.device_count():
        raise RequestError(f"trainer.devices: {devices} given; this machine has {torch.cuda.device_count()} GPUs")
    compiler = os.environ.get("CXX", "g++")
    if settings["compile"] and device_of(wanted).type == "cpu" and shutil.which(compiler) is None:
        raise RequestError(
            f"compile: true given; it needs a C++ compiler, and there is no {compiler} here: install it, set CXX to another, or "
            "use compile=false"
        )
    for key, node in targets(settings):
        extra = getattr(locate(key, str(node["_target_"])), "extra", None)
        if extra and importlib.util.find_spec(extra) is None:
            group = key.partition(".")[0]
            raise RequestError(f"{group}={option_name(key, node)} needs a package: pip install 'vae-lab[{extra}]'")


# ---- what depends on the data, or on another run


def _check_validations(settings: Node, spec: Spec) -> None:
    """Refuses validations that Lightning cannot place."""
    trainer, batches = settings["trainer"], batches_of(settings, spec)
    interval, by_epoch = trainer.get("val_check_interval"), trainer.get("check_val_every_n_epoch", 1) is not None
    key = f"trainer.val_check_interval: {interval} given"
    if isinstance(interval, int) and by_epoch and interval > batches:
        advice = "set trainer.check_val_every_n_epoch=null to count batches over the whole run"
        raise RequestError(f"{key}; an epoch has {batches} batches; {advice}")
    if isinstance(interval, float) and not by_epoch:
        raise RequestError(f"{key}; without epochs (trainer.check_val_every_n_epoch=null) it must count batches")


def _check_processes(settings: Node, spec: Spec) -> None:
    """Refuses processes that would have nothing to do, or not do the same."""
    trainer, batch = settings["trainer"], min(settings["batch_size"], spec.sizes["train"])
    devices = trainer.get("devices", 1)
    if processes_of(devices) > batch:
        raise RequestError(
            f"trainer.devices: {devices} given; a batch of {batch} examples has parts for {batch} at most"
        )
    if processes_of(devices) > 1 and trainer.get("max_time"):
        raise RequestError("trainer.max_time: each of several processes has a clock of its own; use trainer.max_steps")


def _check_parts(settings: Node, model: VAE) -> None:
    """Refuses networks that several processes cannot share: in them an example depends on its batch, or on a draw."""
    devices = settings["trainer"].get("devices", 1)
    if processes_of(devices) == 1:
        return
    for key, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        for layer in network.modules():
            if isinstance(layer, (_BatchNorm, _DropoutNd)):
                what = "normalises over the batch" if isinstance(layer, _BatchNorm) else "draws for each example"
                raise RequestError(
                    f"trainer.devices: {devices} given; {key} has a layer {type(layer).__name__}, which {what}, and each "
                    "process would show it only a part of one (trainer=cpu or gpu runs it)"
                )


def check_alone(requests: Iterable[Any]) -> None:
    """Refuses runs on several processes where others go beside them."""
    for request in requests:
        devices = request.settings["trainer"].get("devices", 1)
        if processes_of(devices) > 1:
            raise RequestError(
                f"trainer.devices: {devices} given; the runs of a grid use the cores better side by side, a process each; "
                "several processes are for one big run: vae-lab train trainer=ddp without -m"
            )


def _check_weights(run: Path, model: torch.nn.Module) -> None:
    """Refuses weights that are not there, or that are another model's."""
    try:
        state = read_checkpoint(run / LAST)["state_dict"]
    except DamagedCheckpoint as damage:
        above = run.parent.parent
        hint = f"; give the run, {above}" if (above / LAST).exists() else ""
        there = (run / LAST).exists()
        raise RequestError(f"init_from: {damage if there else f'{run} is no run with a checkpoint{hint}'}") from damage
    here = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    other = {name: value.shape for name, value in state.items() if name.startswith("model.")}
    for name in sorted(key for key in here.keys() | other.keys() if not key.startswith("model.inference.")):
        if here.get(name) != other.get(name):
            a, b = (tuple(shapes[name]) if name in shapes else "none" for shapes in (here, other))
            raise RequestError(
                f"init_from: {run} has another model: {name.removeprefix('model.')} is {b} there, {a} here"
            )
