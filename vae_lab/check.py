"""Refusing what makes no sense, before anything is built: names, types, bounds, targets, combinations."""

import inspect
import os
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from vae_lab.build import CONTEXT, build, build_model, build_objective, locate, updates_of
from vae_lab.config import groups, named_targets, option_of, options_with, top_level_keys
from vae_lab.data.dataset import Dataset
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.metrics import reported
from vae_lab.settings import Count, NonNegativeInt
from vae_lab.traits import Traits, conflicts

Node = Mapping[str, Any]

RECORDED = frozenset({"overrides", "spec"})  # written into a config by the lab itself

COMPONENTS = (
    "dataset encoder decoder posterior parametrization likelihood prior bound beta rate regularizer optimizer scheduler "
    "trainer callbacks logger evaluation"
).split()


def check_settings(settings: Node, named: tuple[str, ...] = ()) -> Dataset:
    """Checks a resolved config: everything but the training itself. Returns its dataset, not yet loaded.

    Errors: `RequestError` or `DataError`, one line.
    """
    _check_top_level(settings)
    for key, node in targets(settings):
        check_target(key, str(node["_target_"]), named)
        _check_arguments(key, node)
    dataset = build(settings["dataset"])
    spec = dataset.spec()
    refused = conflicts([(f"dataset={_option(settings, 'dataset')}", spec.traits), *component_traits(settings)])
    if refused:
        raise RequestError(refused[0])
    with torch.device("meta"):  # shapes are checked and nothing is allocated
        build_model(settings, spec)
        build_objective(settings, updates_of(settings, spec))
    return dataset


def targets(settings: Node, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with a `_target_`, with its dotted key."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if "_target_" in value:
                yield name, value
            yield from targets(value, f"{name}.")
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from targets({str(i): item}, f"{name}.")


def check_target(key: str, target: str, named: tuple[str, ...] = ()) -> None:
    """Refuses a `_target_` that no option file names: a config may come from a stranger, and a target is code."""
    trusted = tuple(f"{package}." for package in os.environ.get("VAE_LAB_TRUST", "").split(",") if package)
    if target in named_targets(named) or (trusted and target.startswith(trusted)):
        return
    known = named_targets(named)
    raise RequestError(
        f"{key}._target_: {target} is not among the classes that option files name{nearest(target, known)}; "
        "add an option file for it (--config-dir), or trust its package (VAE_LAB_TRUST=package)"
    )


# ---- names, types and bounds


def _check_top_level(settings: Node) -> None:
    known = [*groups(), *top_level_keys(), *RECORDED]
    for key in settings:
        if key not in known:
            raise RequestError(f"{key}: no such key or group; groups: {listed(groups())}{nearest(key, known)}")
    for key in COMPONENTS:
        node = settings.get(key)
        if not isinstance(node, Mapping) or ("_target_" not in node and key not in ("regularizer", "callbacks")):
            raise RequestError(f"{key}: choose one of {listed(groups().get(key, []))}")
    _validate("", TopLevel, {key: settings.get(key) for key in TopLevel.model_fields})


class TopLevel(BaseModel):
    """The settings that belong to no group."""

    model_config = ConfigDict(strict=True, extra="forbid")
    seed: NonNegativeInt
    latent_dim: Count
    batch_size: Count
    threads: Count
    init_from: str | None
    rerun: bool
    fail_fast: bool
    optimized_metric: typing.Literal[tuple(reported())]  # type: ignore[valid-type]
    runs_dir: str



def _check_arguments(key: str, node: Node) -> None:
    """Checks the settings of a node against the signature of its target."""
    target = locate(key, str(node["_target_"]))
    given = {name: value for name, value in node.items() if not name.startswith("_")}
    forwards = getattr(target, "forwards_to", None)
    parameters = inspect.signature(target).parameters
    own = {name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    further = set(inspect.signature(forwards).parameters) if forwards else set()
    for name in given:
        if name not in own | further:
            raise RequestError(_unknown(key, name, own - CONTEXT | (further - {"self"})))
    model = _settings_model(target)
    _validate(key, model, {name: value for name, value in given.items() if name in model.model_fields})


def _unknown(key: str, name: str, known: set[str]) -> str:
    head = key.partition(".")[0]
    others = options_with(head, name)
    if others and key == head:
        return f"{key}.{name}: the chosen {head} has no such key; it belongs to {head}={' or '.join(others)}"
    shown = listed(known) if len(known) < 15 else f"{len(known)} keys"
    return f"{key}.{name}: no such key; {key} has {shown or 'none'}{nearest(name, known)}"


def _settings_model(target: Callable[..., Any]) -> type[BaseModel]:
    """The settings of a class as a pydantic model, made from the annotations of its signature."""
    function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = parameter.default
        if default is parameter.empty:
            default = None if name in CONTEXT else ...
        fields[name] = (hints.get(name, Any) if name not in CONTEXT else Any, default)
    return create_model("Settings", __config__=_STRICT, **fields)


_STRICT = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())


def _validate(key: str, model: type[BaseModel], given: Node) -> None:
    try:
        model.model_validate(dict(given))
    except ValidationError as error:
        raise RequestError(_explain(key, error.errors()[0], given)) from error


def _explain(key: str, detail: ErrorDetails, given: Node) -> str:
    """`rate.nats: -1 given; must be greater than or equal to 0`."""
    location = [str(part) for part in detail["loc"] if not _is_union_tag(part)]
    name = ".".join([*([key] if key else []), *location])
    if detail["type"] == "missing":
        return f"{name}: a value is needed (set {name}=...)"
    allowed = detail["msg"].replace("Input should be", "must be").replace("Input should", "must")
    ctx = detail.get("ctx", {})
    words = [w.strip("' ") for w in str(ctx.get("expected", "")).replace(" or ", ",").split(",")]
    value = given.get(location[0]) if location else detail["input"]
    hint = nearest(str(value), words) if detail["type"] == "literal_error" else ""
    return f"{name}: {value!r} given; {allowed}{hint}"


def _is_union_tag(part: int | str) -> bool:
    """pydantic names the branch of a union in the location; a person did not type that."""
    return isinstance(part, str) and any(mark in part for mark in "[](") or part in ("int", "float", "str", "none")


# ---- combinations


def component_traits(settings: Node) -> list[tuple[str, Traits]]:
    """(name, traits) of every component whose class declares them, and of the trainer."""
    found = []
    for key, node in targets(settings):
        traits = traits_of(locate(key, str(node["_target_"])), {k: v for k, v in node.items() if not k.startswith("_")})
        if traits:
            found.append((f"{key}={_option(settings, key)}", traits))
    accumulated = settings["trainer"].get("accumulate_grad_batches", 1)
    whole = Traits(provides=frozenset({"whole_batch"}))
    parts = Traits(forbids={"whole_batch": "gradient accumulation shows the loss only a part of it at a time"})
    found.append((f"trainer.accumulate_grad_batches={accumulated}", whole if accumulated == 1 else parts))
    return found


def traits_of(target: Callable[..., Any], given: dict[str, Any]) -> Traits | None:
    """What a component declares, at these settings."""
    if hasattr(target, "traits_of"):
        return target.traits_of(**given)
    declared = getattr(target, "traits", None)
    return declared if isinstance(declared, Traits) else None


def _option(settings: Node, key: str) -> str:
    """The option of a group whose file names the chosen target: what the person typed."""
    head, target = key.partition(".")[0], str(settings[key.partition(".")[0]].get("_target_", ""))
    return option_of(head, target) or target.rpartition(".")[2]
