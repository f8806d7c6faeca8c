"""What there is to choose from: every option of every group, with its meaning, its settings and their bounds."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pydantic import PydanticSchemaGenerationError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from vae_lab.errors import RequestError, listed, nearest
from vae_lab.forms import imported, written
from vae_lab.options import PRESETS, content_of, groups, options_with
from vae_lab.places import USE, head, option_directories, text_of
from vae_lab.settings import flatten
from vae_lab.targets import CONTEXT
from vae_lab.yaml_text import parse_yaml

NOTES = ("Equation: ", "Evidence: ")  # what begins a line of a preset's head that is printed by itself

QUESTIONS = {
    "mitigation": "which published remedy? (a preset over the other groups)",
    "dataset": "what is x?",
    "encoder": "which network gives q's parameters?",
    "decoder": "which network gives p(x|z)?",
    "posterior": "which family is q(z|x)?",
    "parametrization": "what is done to the encoder's outputs before they become q?",
    "likelihood": "which family is p(x|z)?",
    "prior": "what is p(z)?",
    "labels": "what is the model told of labels?",
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
    USE: "what is a finished run put to? (vae-lab USE RUN [option=value ...])",
}


@dataclass(frozen=True)
class Setting:
    """A key of an option: its default, what is allowed, and what its file says of it at the end of the line."""

    name: str
    default: Any
    allowed: str
    comment: str = ""


@dataclass(frozen=True)
class Option:
    """An option of a group. The first comment of its file says what it is, and where it is from; a preset's equation and
    evidence are lines of that comment apart."""

    group: str
    name: str
    meaning: str
    notes: list[str]
    settings: list[Setting]


def catalog(group: str | None = None, named: Sequence[str] = ()) -> list[Option]:
    """Every option, or those of one group; with those of further folders. Errors: `RequestError` for a group that there is not."""
    there = {*groups(named), USE} - {"arm", "experiment"}
    known = list(dict.fromkeys(name for name in [*QUESTIONS, *sorted(there)] if name in there))
    if group is not None and group not in known:
        raise RequestError(f"{group}: no such group; groups: {listed(known)}{nearest(group, known)}")
    return [option for name in known if group in (None, name) for option in _options(name, named)]


def _options(group: str, named: Sequence[str]) -> Iterator[Option]:
    for directory in option_directories(named):
        for file in sorted(directory.glob(f"{group}/*.yaml")):
            content_of(file)  # refused in one line, if it cannot be read
            text = text_of(file)
            settings = _of_preset(text) if group in PRESETS else _of_option(group, text)
            yield Option(group, file.stem, *_head(text), list(settings))


def _head(text: str) -> tuple[str, list[str]]:
    """The meaning and the notes in the comments at the head of a file, without Hydra's own."""
    lines = head(text)
    notes = [line for line in lines if line.startswith(NOTES)]
    return " ".join(line for line in lines if line not in notes), notes


# ---- settings


def _of_option(group: str, text: str) -> Iterator[Setting]:
    """The settings of an option of a group, in the order of its file."""
    comments, content = _comments(text), parse_yaml(text) or {}
    for prefix, node in _parts(content):
        for name, value in node.items():
            if name not in ("_target_", "defaults") and name not in CONTEXT:
                shared = value == f"${{{group}.{name}}}"  # its value is that of a key for all parts
                key, value = (name, content[name]) if shared else (f"{prefix}{name}", value)
                yield Setting(key, value, _allowed(group, node, name), comments.get(key, ""))


def _of_preset(text: str) -> Iterator[Setting]:
    """The options that a preset chooses, each with its settings at the preset's own values; then what it sets of groups
    whose option it leaves alone."""
    node, comments = parse_yaml(text) or {}, _comments(text)
    given = flatten({key: value for key, value in node.items() if key != "defaults"})
    entries = [entry for entry in node.get("defaults", []) if isinstance(entry, Mapping)]
    for group, chosen in ((_group(key), value) for entry in entries for key, value in entry.items()):
        yield Setting(group, chosen, f"vae-lab options {group}")
        for option in chosen if isinstance(chosen, list) else [chosen]:
            yield from (_given(setting, given, comments) for setting in _settings_of(group, option))
    for key in [*given]:
        group, _, name = key.partition(".")
        yield next(
            (
                _given(setting, given, comments)
                for option in options_with(group, name)
                for setting in _settings_of(group, option)
                if setting.name == key
            ),
            Setting(key, given[key], "any value"),
        )


def _group(key: object) -> str:
    """`rate` of the key `override /rate` in a defaults list."""
    return str(key).removeprefix("override /")


def _settings_of(group: str, option: str) -> Iterator[Setting]:
    """The settings of a group's option, by their full keys."""
    for directory in option_directories():
        file = directory / group / f"{option}.yaml"
        if file.exists():
            for setting in _of_option(group, text_of(file)):
                yield replace(setting, name=f"{group}.{setting.name}")


def _given(setting: Setting, given: dict[str, Any], comments: Mapping[str, str]) -> Setting:
    """A setting as a preset has it; what was given is then used up."""
    if setting.name not in given:
        return setting
    comment = comments.get(setting.name, setting.comment)
    return replace(setting, default=given.pop(setting.name), comment=comment)


def _parts(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """An option's own node, or those of the parts that it lists, each with the beginning of its keys."""
    if "_target_" in node:
        yield prefix, node
        return
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _parts(value, f"{prefix}{key}.")


def _comments(text: str) -> dict[str, str]:
    """The comment at the end of the line of each key, by its dotted key."""
    lines = text.splitlines()

    def walk(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(value, yaml.MappingNode):
                yield from walk(value, f"{prefix}{key.value}.")
            elif not value.value or value.end_mark.line < len(lines):
                rest = lines[value.end_mark.line][value.end_mark.column :].strip()
                if rest.startswith("#"):
                    yield f"{prefix}{key.value}", rest.removeprefix("#").strip()

    return dict(walk(yaml.compose(text), ""))


def _allowed(group: str, node: Mapping[str, Any], name: str) -> str:
    """What values a setting takes: by its class, or by that to which its class passes on what it does not know."""
    target = str(node["_target_"])
    form = written(group, target)
    if name not in form.own:
        form = imported(group, target)
    hint, _ = {**form.further, **form.own}.get(name, (Any, None))
    return allowed(hint)


def allowed(annotation: Any) -> str:
    """What values a type takes, in words; the name of the type where they have no bounds that words could say.

    Example:
        >>> import typing
        >>> from vae_lab.settings import Fraction
        >>> allowed(Fraction), allowed(typing.Literal["rbf", "imq"])
        ('a number, at least 0, at most 1', 'rbf, imq')
    """
    try:
        schema = TypeAdapter(annotation).json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):  # of what is no plain value
        return inspect.formatannotation(annotation)
    return _words(schema) or "any value"


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
    if schema.get("minLength") == 1:
        words.append("not empty")
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
        for note in option.notes:
            print(f"      {note}")
        for setting in option.settings:
            key = setting.name if option.group in (*PRESETS, USE) else f"{option.group}.{setting.name}"
            comment = f"   # {setting.comment}" if setting.comment else ""
            print(f"      {key}={_written(setting.default)}   ({setting.allowed}){comment}")


def _written(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()
