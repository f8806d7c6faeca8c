"""Refusing what the schema of a config knows to be wrong: names, targets, types, bounds. Without torch."""

import json
import os
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from annotated_types import Interval, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vae_lab.arguments import given
from vae_lab.catalog import allowed
from vae_lab.choices import choices, no_such_key, setter, unknown_key
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.forms import Arguments, Form, form_of, imported
from vae_lab.metrics import reported
from vae_lab.options import (
    LISTS,
    check_named,
    components,
    groups,
    named_targets,
    option_content,
    option_name,
    options_with,
    top_level_keys,
)
from vae_lab.quoting import for_the_shell
from vae_lab.settings import Count, Filled
from vae_lab.targets import CONTEXT, HANDED, Node, parts, targets

Read = Callable[[str, str], Form]

RECORDED = frozenset({"overrides", "spec"})  # written into a config by the lab itself


def check_schema(
    settings: Node, named: tuple[str, ...] = (), read: Read = imported, checked: set[str] | None = None
) -> None:
    """Checks what needs no object: the names, targets, types and bounds of a resolved config.

    Arguments:
        named: folders of options that the person named. read: gives the form of a target.
        checked: the nodes of other configs that were checked, which are left out; those of this one are added.

    Errors: `RequestError`, one line.
    """
    _check_top_level(settings, named)
    check_targets(settings, named)
    words, done = given(settings.get("overrides", [])), set() if checked is None else checked
    for key in LISTS:
        for name, nodes in _shared_by(key, settings[key], named).items():
            for node in nodes:  # under the name that was typed, before that of each part
                check_arguments(key, {"_target_": node["_target_"], name: settings[key].get(name)}, read=read)
    for key, node in targets(settings):
        content = json.dumps([key, node], default=str)
        if content not in done:
            check_arguments(key, node, lambda name: setter(name, words, named), read)
        done.add(content)


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
            for option in choices(given(settings.get("overrides", [])), named)[key].options:
                check_named(key, option, named)
            raise RequestError(f"{key}: choose one of {listed(groups().get(key, []))}")
    for key in LISTS:
        fitting = parts(settings[key]).keys() | _shared_by(key, settings[key], named).keys()
        for name, item in settings[key].items():
            if name not in fitting and "_target_" not in settings[key]:
                others = options_with(key, name)
                hint = f"; it belongs to {key}={' or '.join(others)}" if others else ""
                raise RequestError(f"{key}.{name}: {item!r} given; must have a _target_{hint}")
    check_top_level(settings)


def _shared_by(group: str, node: Node, named: tuple[str, ...]) -> dict[str, list[Node]]:
    """The settings that several parts of a list take from one place, such as `logger.tags`, and the parts that take each."""
    shared: dict[str, list[Node]] = {}
    for name, part in parts(node).items():
        for key, value in option_content(group, name, named).items() if name else ():
            if not isinstance(value, Mapping) and key != "defaults":
                shared.setdefault(key, []).append(part)
    return shared


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
    init_from: Filled | None
    rerun: bool
    fail_fast: bool
    optimized_metric: Reported | Annotated[list[Reported], MinLen(1)]
    runs_dir: Filled
    study: StudyName


def check_arguments(key: str, node: Node, set_by: Callable[[str], str] = lambda key: "", read: Read = imported) -> None:
    """Refuses settings of a node that its target does not take: by the names, types and bounds of its signature.

    Arguments:
        set_by: gives words to say of a key that the person did not type. read: gives the form of a target.
    """
    form = read(key, str(node["_target_"]))
    given = {str(name): value for name, value in node.items() if name != "_target_"}
    for name in given:
        if name in form.withheld:
            raise RequestError(f"{key}.{name}: not to be set here: {form.withheld[name]}")
        if name in CONTEXT or (form.complete and name not in form.names()):
            raise RequestError(_unknown(key, name, f"{key}={option_name(key, node)}", sorted(form.names()), set_by))
        if isinstance(given[name], str) and _PASSWORD.search(given[name]):
            advice = "it would be kept in the run's files; hand it over by the environment"
            raise RequestError(f"{key}.{name}: a password given with an address; {advice}")
    _check_complete(key, str(node["_target_"]), form, given)
    for arguments in (form.own, form.further):
        validate(key, _model(arguments), {name: value for name, value in given.items() if name in arguments})


def _check_complete(key: str, target: str, form: Form, given: Node) -> None:
    """Refuses a class that needs what neither its settings nor the lab give."""
    group = key.partition(".")[0]
    handed = HANDED.get(group, ())
    ours = f"; a constructor of {group} is handed {', '.join(handed)}, by these names" if handed else ""
    for name in (name for name in form.own if name in form.needed and name not in handed):
        if name in CONTEXT:
            others = " and ".join(other for other, names in HANDED.items() if name in names)
            raise RequestError(f"{key}: {target} asks for {name}, which is handed to {others} alone{ours}")
        if name not in given:
            raise RequestError(f"{key}.{name}: a value is needed (set {key}.{name}=...){ours}{nearest(name, handed)}")


_PASSWORD = re.compile(r"://[^/?#\s]*:[^/?#\s]+@")


def typed(target: Callable[..., Any], node: Node) -> dict[str, Any]:
    """The settings of a checked node, in the types that its class declares for them."""
    model = _model(form_of(target).own)
    own = {name: value for name, value in node.items() if name in model.model_fields}
    declared = model.model_validate(own).model_dump(include=set(own))
    return {**node, **declared}


def _unknown(key: str, name: str, chosen: str, known: list[str], set_by: Callable[[str], str]) -> str:
    head, full = key.partition(".")[0], f"{key}.{name}{set_by(f'{key}.{name}')}"
    others = options_with(head, name)
    if others and key == head:
        return f"{full}: {chosen} has no such key; it belongs to {head}={' or '.join(others)}"
    return no_such_key(full, chosen if key == head else key, known, name)


def _model(arguments: Arguments) -> type[BaseModel]:
    """The arguments of a class as a pydantic model."""
    fields: dict[str, Any] = dict(arguments)
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
    value, fits = given.get(first), _what_fits(field, given.get(first)) or detail["msg"]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    typed = f"; as text it is typed {for_the_shell(name, str(value))}" if is_number and fits.startswith("text") else ""
    return f"{name}: {value!r} given; must be {fits}{typed}"


def _what_fits(field: FieldInfo, value: Any) -> str:
    """What a setting may be, in the words of `vae-lab options`; of a choice of names with the nearest."""
    words = allowed(field.rebuild_annotation())
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    shown = f"one of {words if len(choices) <= 15 else f'{len(choices)} names'}" if len(choices) > 1 else words
    return shown + nearest(str(value), map(str, choices))
