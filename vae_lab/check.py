"""Refusing what makes no sense, before anything is built: names, types, bounds, targets. (What goes with what is in
`combinations`.)"""

import importlib.util
import inspect
import os
import re
import shutil
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from vae_lab.arguments import given
from vae_lab.build import CONTEXT, batches_of, build, build_model, build_objective, locate, targets
from vae_lab.catalog import allowed
from vae_lab.choices import no_such_key, setter, unknown_key
from vae_lab.combinations import component_traits, option_name
from vae_lab.data.dataset import Dataset, Spec
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.metrics import reported
from vae_lab.models import VAE
from vae_lab.options import LISTS, components, groups, named_targets, options_with, top_level_keys
from vae_lab.settings import Count
from vae_lab.store import LAST
from vae_lab.training.checkpoint_io import DamagedCheckpoint, read_checkpoint
from vae_lab.training.trainer import device_of, processes_of
from vae_lab.traits import conflicts

Node = Mapping[str, Any]

RECORDED = frozenset({"overrides", "spec"})  # written into a config by the lab itself


def check_settings(settings: Node, named: tuple[str, ...] = ()) -> Dataset:
    """Checks a resolved config: everything but the training itself. Returns its dataset, not yet loaded.

    Errors: `RequestError` or `DataError`, one line.
    """
    _check_top_level(settings, named)
    check_targets(settings, named)
    words = given(settings.get("overrides", []))
    for key, node in targets(settings):
        check_arguments(key, node, lambda name: setter(name, words, named))
    dataset = build(settings["dataset"])
    spec = dataset.spec()
    _check_validations(settings, spec)
    _check_processes(settings, spec)
    refused = conflicts(
        [(f"dataset={option_name('dataset', settings['dataset'])}", spec.traits), *component_traits(settings)]
    )
    if refused:
        raise RequestError(refused[0])
    with torch.device("meta"):  # shapes are checked and nothing is allocated
        model = build_model(settings, spec)
        build_objective(settings, spec)
    _check_parts(settings, model)
    if settings["init_from"]:
        _check_weights(Path(settings["init_from"]), model)
    return dataset


def check_targets(settings: Node, named: tuple[str, ...] = ()) -> None:
    """Refuses every `_target_` that no option file of its group names: a config may come from a stranger, and a target
    is code."""
    trusted = tuple(f"{package}." for package in os.environ.get("VAE_LAB_TRUST", "").split(",") if package)
    for key, node in targets(settings):
        group, target = key.partition(".")[0], str(node["_target_"])
        known = named_targets(group, named)
        if target not in known and not (trusted and target.startswith(trusted)):
            raise RequestError(
                f"{key}._target_: {target} is not among the classes that the option files of {group} name"
                f"{nearest(target, known)}; add an option file for it (--config-dir), or trust its package "
                "(VAE_LAB_TRUST=package)"
            )


# ---- names, types and bounds


def _check_top_level(settings: Node, named: tuple[str, ...]) -> None:
    known = [*groups(), *top_level_keys(), *RECORDED]
    for key in settings:
        if key not in known:
            raise RequestError(unknown_key(key, given(settings.get("overrides", [])), named))
    for key in components():
        node = settings.get(key)
        if not isinstance(node, Mapping) or ("_target_" not in node and key not in LISTS):
            raise RequestError(f"{key}: choose one of {listed(groups().get(key, []))}")
    for key in LISTS:
        for name, item in settings[key].items():
            if not isinstance(item, Mapping) or "_target_" not in item:
                others = options_with(key, name)
                hint = f"; it belongs to {key}={' or '.join(others)}" if others else ""
                raise RequestError(f"{key}.{name}: {item!r} given; must have a _target_{hint}")
    check_top_level(settings)


def check_top_level(settings: Mapping[str, Any]) -> None:
    """Refuses a value of a setting that belongs to no group."""
    wanted = settings.get("optimized_metric")
    for name in wanted if isinstance(wanted, list) and wanted else [wanted]:
        if name not in reported():
            allowed_here = f"a figure of docs/metrics.md, or a list of them{nearest(str(name), reported())}"
            raise RequestError(f"optimized_metric: {name!r} given; must be {allowed_here}")
    validate("", TopLevel, {key: settings.get(key) for key in TopLevel.model_fields})


Reported: Any = typing.Literal[tuple(reported())]


class StudyName(BaseModel):
    """Whose run it is: two names, of which the first is a folder's."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = Field(pattern=r"^\w[\w.-]*$")
    arm: str | None = None
    signature: str | None = None


class TopLevel(BaseModel):
    """The settings that belong to no group."""

    model_config = ConfigDict(strict=True, extra="forbid")
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1)]
    latent_dim: Count
    batch_size: Count
    threads: Count
    compile: bool
    init_from: str | None
    rerun: bool
    fail_fast: bool
    optimized_metric: Reported | Annotated[list[Reported], MinLen(1)]
    runs_dir: str
    study: StudyName


def check_arguments(key: str, node: Node, set_by: Callable[[str], str] = lambda key: "") -> None:
    """Refuses settings of a node that its target does not take: by the names, types and bounds of its signature.
    `set_by` gives words to say of a key that the person did not type."""
    target = locate(key, str(node["_target_"]))
    given = {str(name): value for name, value in node.items() if name != "_target_"}
    forwards = getattr(target, "forwards_to", None)
    parameters = inspect.signature(target).parameters
    own = {name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    further = set(inspect.signature(forwards).parameters) - {"self"} if forwards else set()
    withheld: Mapping[str, str] = getattr(target, "withheld", {})
    for name in given:
        if name in withheld:
            raise RequestError(f"{key}.{name}: not to be set here: {withheld[name]}")
        if name in CONTEXT or name not in own | further:
            allowed_here = sorted((own | further) - CONTEXT - set(withheld))
            raise RequestError(_unknown(key, name, f"{key}={option_name(key, node)}", allowed_here, set_by))
        if isinstance(given[name], str) and _PASSWORD.search(given[name]):
            advice = "it would be kept in the run's files; hand it over by the environment"
            raise RequestError(f"{key}.{name}: a password given with an address; {advice}")
    for model in (_settings_model(target), *([_settings_model(forwards, further - own)] if forwards else [])):
        validate(key, model, {name: value for name, value in given.items() if name in model.model_fields})


_PASSWORD = re.compile(r"://[^/?#\s]*:[^/?#\s]+@")


def typed(target: Callable[..., Any], node: Node) -> dict[str, Any]:
    """The settings of a checked node, in the types that its class declares for them."""
    model = _settings_model(target)
    own = {name: value for name, value in node.items() if name in model.model_fields}
    declared = model.model_validate(own).model_dump(include=set(own))
    return {**node, **declared}


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
            raise RequestError(f"{key}={option_name(key, node)} needs a package: pip install 'vae-lab[{extra}]'")


def _unknown(key: str, name: str, chosen: str, known: list[str], set_by: Callable[[str], str]) -> str:
    head, full = key.partition(".")[0], f"{key}.{name}{set_by(f'{key}.{name}')}"
    others = options_with(head, name)
    if others and key == head:
        return f"{full}: {chosen} has no such key; it belongs to {head}={' or '.join(others)}"
    return no_such_key(full, chosen if key == head else key, known, name)


def _settings_model(target: Callable[..., Any], only: set[str] | None = None) -> type[BaseModel]:
    """The settings of a class (or those in `only`) as a pydantic model, made from the annotations of its signature."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or (
            only is not None and name not in only
        ):
            continue
        default = parameter.default
        if default is parameter.empty:
            default = None if name in CONTEXT else ...
        fields[name] = (hints.get(name, Any) if name not in CONTEXT else Any, default)
    return create_model("Settings", __config__=_STRICT, **fields)


_STRICT = ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=()
)


def validate(key: str, model: type[BaseModel], given: Node) -> None:
    """Refuses settings that a pydantic model does not take: `RequestError`, one line."""
    try:
        model.model_validate(dict(given))
    except ValidationError as error:
        raise RequestError(_explain(key, model, error.errors(), given)) from error


def _explain(key: str, model: type[BaseModel], details: list[ErrorDetails], given: Node) -> str:
    """`rate.nats: -1 given; must be a number, at least 0`, for the first of the settings that are wrong."""
    detail = details[0]
    first, *rest = (str(part) for part in detail["loc"])
    name = f"{key}.{first}" if key else first
    if detail["type"] == "missing":
        return f"{name}: a value is needed (set {name}=...)"
    if detail["type"] == "extra_forbidden":
        return f"{'.'.join([name, *rest])}: no such key"
    field = model.model_fields[first]
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and rest:
        inner = [{**other, "loc": other["loc"][1:]} for other in details if other["loc"][0] == first]
        return _explain(name, field.annotation, inner, given[first])  # type: ignore[arg-type]
    return f"{name}: {given.get(first)!r} given; must be {_what_fits(field, given.get(first)) or detail['msg']}"


def _what_fits(field: FieldInfo, value: Any) -> str:
    """What a setting may be, in the words of `vae-lab options`; of a choice of names with the nearest."""
    words = allowed(field.rebuild_annotation())
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    shown = f"one of {words if len(choices) <= 15 else f'{len(choices)} names'}" if len(choices) > 1 else words
    return shown + nearest(str(value), map(str, choices))


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
