"""Checking that a value read from a file has the shape that a type declares. As pydantic does, and light: `vae-lab ls` waits
for nothing heavy."""

import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 308
"""Digits of a whole number: a longer one is no float, and no figure either."""


@dataclass(frozen=True)
class Bound:
    """What a value of an `Annotated` type must be beside its type, and a test of it."""

    words: str
    holds: Callable[[Any], object]


def mistake(value: Any, shape: Any, place: str = "") -> str | None:
    """Returns what is wrong with a value, in one line that begins with its place, or None where it has the shape.

    Arguments:
        shape: a type: `str`, `bool`, `int`, `float` (finite, and whole numbers too), `Any`, `None`, a `Literal`, a union,
            `list[...]`, `dict[str, ...]`, a `TypedDict` (keys beyond it are free), or `Annotated[one of
            them, Bound(...)]`.

    Example:
        >>> mistake({"nll": [1.0, "x"]}, dict[str, list[float]])
        "nll.1: 'x' given; must be a number"
    """
    origin, parts = typing.get_origin(shape), typing.get_args(shape)
    if typing.is_typeddict(shape):
        return _of_record(value, shape, place)
    if origin is dict:
        return _first(value.items(), parts[1], place) if isinstance(value, Mapping) else _wrong(value, shape, place)
    if origin is list:
        return _first(enumerate(value), parts[0], place) if isinstance(value, list) else _wrong(value, shape, place)
    if origin in (typing.Union, types.UnionType):
        mistakes = [mistake(value, part, place) for part in parts]
        deeper = [text for text in mistakes if text and not text.startswith(f"{place}: ")]
        return None if None in mistakes else (deeper or [_wrong(value, shape, place)])[0]
    return None if _fits(value, shape) else _wrong(value, shape, place)


def _first(items: Any, shape: Any, place: str) -> str | None:
    mistakes = (mistake(item, shape, _below(place, key)) for key, item in items)
    return next(filter(None, mistakes), None)


def _of_record(value: Any, shape: Any, place: str) -> str | None:
    if not isinstance(value, Mapping):
        return _wrong(value, shape, place)
    hints = _hints(shape)
    missing = sorted(shape.__required_keys__ - value.keys())
    if missing:
        return f"{place + ': ' if place else ''}it has no {', '.join(missing)}"
    return next(
        filter(None, (mistake(value[k], hint, _below(place, k)) for k, hint in hints.items() if k in value)), None
    )


@functools.cache
def _hints(shape: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(shape, include_extras=True)
    return {key: _bare(hint) for key, hint in hints.items()}


def _bare(hint: Any) -> Any:
    """The type in `Required[...]`."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (typing.Required, typing.NotRequired) else hint


def _fits(value: Any, shape: Any) -> bool:
    if typing.get_origin(shape) is typing.Annotated:
        kind, bound = typing.get_args(shape)
        return _fits(value, kind) and bool(bound.holds(value))
    if typing.get_origin(shape) is typing.Literal:
        return any(value == one and type(value) is type(one) for one in typing.get_args(shape))
    if shape is Any:
        return True
    if isinstance(value, bool) or shape is bool:
        return isinstance(value, bool) and shape is bool
    if shape is float:
        return isinstance(value, (int, float)) and abs(value) < 10**LARGEST and math.isfinite(value)
    return isinstance(value, type(None) if shape is None else shape)


def _below(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def _wrong(value: Any, shape: Any, place: str) -> str:
    shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}..."
    return f"{place}: {shown} given; must be {words(shape)}"


def words(shape: Any) -> str:
    """Says what a value of a type is: `a number or null`."""
    origin, parts = typing.get_origin(shape), typing.get_args(shape)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(part) for part in parts)
    if origin is typing.Literal:
        return " or ".join(map(str, parts))
    if origin is typing.Annotated:
        return str(parts[1].words)
    if origin is list:
        return "a list"
    return "keys with values" if origin is dict or typing.is_typeddict(shape) else _WORDS[shape]


_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Any: "any value",
    None: "null",
    type(None): "null",
}
