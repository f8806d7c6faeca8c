"""What there is to choose from: every option of every group, with its meaning, its settings and their bounds."""

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from vae_lab.build import CONTEXT, locate
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.options import groups, option_directories

QUESTIONS = {
    "mitigation": "which published remedy? (a preset over the other groups)",
    "dataset": "what is x?",
    "encoder": "which network gives q's parameters?",
    "decoder": "which network gives p(x|z)?",
    "posterior": "which family is q(z|x)?",
    "parametrization": "what is done to the encoder's outputs before they become q?",
    "likelihood": "which family is p(x|z)?",
    "prior": "what is p(z)?",
    "bound": "which estimator of log p(x) is trained?",
    "beta": "who sets the weight of the rate?",
    "rate": "what is done to the rate before it is weighted?",
    "regularizer": "which extra terms? (any number: regularizer=[mmd,dip])",
    "inference": "how is q obtained and updated?",
    "corruption": "what is withheld from the encoder in training?",
    "optimizer": "what makes the updates?",
    "scheduler": "what becomes of the learning rate?",
    "trainer": "where, and for how long?",
    "callbacks": "what is saved, and when does it stop?",
    "logger": "where do figures go beside metrics.csv?",
    "evaluation": "how is a finished run measured?",
}


@dataclass(frozen=True)
class Setting:
    """A key of an option: its default, and what is allowed."""

    name: str
    default: Any
    allowed: str


@dataclass(frozen=True)
class Option:
    """An option of a group: the first comment of its file says what it is, and where it is from."""

    group: str
    name: str
    meaning: str
    settings: list[Setting]


def catalog(group: str | None = None) -> list[Option]:
    """Every option, or those of one group. Errors: `RequestError` for a group that there is not."""
    there = set(groups()) - {"arm", "experiment"}
    known = list(dict.fromkeys(name for name in [*QUESTIONS, *sorted(there)] if name in there))
    if group is not None and group not in known:
        raise RequestError(f"{group}: no such group; groups: {listed(known)}{nearest(group, known)}")
    return [option for name in known if group in (None, name) for option in _options(name)]


def _options(group: str) -> Iterator[Option]:
    for directory in option_directories():
        for file in sorted(directory.glob(f"{group}/*.yaml")):
            text = file.read_text(encoding="utf-8")
            yield Option(group, file.stem, _meaning(text), list(_settings(group, file, yaml.safe_load(text) or {})))


def _meaning(text: str) -> str:
    """The comments at the head of a file, without Hydra's own."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _settings(group: str, file: Path, node: Mapping[str, Any], prefix: str = "") -> Iterator[Setting]:
    if "_target_" in node:
        yield from _of_class(group, prefix, node)
        return
    for key, value in node.items():
        if key == "defaults":
            chosen = [entry for entry in value if isinstance(entry, Mapping)]
            yield from (Setting(_name(key), option, "") for entry in chosen for key, option in entry.items())
        elif isinstance(value, Mapping):
            yield from _settings(group, file, value, f"{prefix}{key}.")
        else:
            yield Setting(f"{prefix}{key}", value, "")


def _name(key: object) -> str:
    """`rate` of the key `override /rate` in a defaults list."""
    return str(key).removeprefix("override /")


def _of_class(group: str, prefix: str, node: Mapping[str, Any]) -> Iterator[Setting]:
    target = locate(group, str(node["_target_"]))
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    for name, value in node.items():
        if name != "_target_" and name not in CONTEXT:
            yield Setting(f"{prefix}{name}", value, allowed(hints[name]) if name in hints else "")


def allowed(annotation: Any) -> str:
    """What values a type takes, in words.

    Example:
        >>> from vae_lab.settings import Fraction, Updates
        >>> allowed(Fraction), allowed(typing.Literal["rbf", "imq"])
        ('a number, at least 0, at most 1', 'rbf, imq')
    """
    try:
        return _words(TypeAdapter(annotation).json_schema())
    except Exception:  # pydantic has no schema for what is no plain value
        return ""


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        parts = [_words(part) for part in schema["anyOf"]]
        return (", or " if any("," in part for part in parts) else " or ").join(parts)
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    words = [_KINDS.get(schema.get("type", ""), "")]
    words[0] = schema.get("description", words[0]) if schema.get("type") in ("integer", "number") else words[0]
    words += [f"{text} {_number(schema[key])}" for key, text in _BOUNDS.items() if key in schema]
    if "pattern" in schema:
        words.append(f"of the form {schema['pattern']}")
    if schema.get("items"):
        words = [_length(schema), f"each {_words(schema['items'])}"]
    return ", ".join(word for word in words if word)


def _length(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is None:
        return "a list"
    return f"a list of {least}" if least == most else f"a list of at least {least}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "null": "null",
    "object": "keys with values",
}
_BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}


def print_catalog(options: Sequence[Option]) -> None:
    """The options, group by group."""
    group = None
    for option in options:
        if option.group != group:
            group = option.group
            print(f"\n{group}: {QUESTIONS.get(group, '')}".rstrip(": "))
        print(f"  {option.name}: {option.meaning}")
        for setting in option.settings:
            key = f"{option.group}.{setting.name}" if option.group != "mitigation" else setting.name
            print(f"      {key}={_written(setting.default)}{f'   ({setting.allowed})' if setting.allowed else ''}")


def _written(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()
