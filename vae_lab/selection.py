"""Which runs `vae-lab ls` is asked for, in words that a person types: `state=failed`, `seed=0,1`, `test/nll<100`."""

import json
import math
import operator
import re
import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_lab.errors import RequestError, nearest
from vae_lab.index import Row
from vae_lab.listing import TITLES, keys_of, short, shown
from vae_lab.metrics import reported
from vae_lab.store import STATES

Names = Mapping[str, str]
"""A column's name to its key."""

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARISON = re.compile(r"([^=<>!]+)(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)
_COMMA = re.compile(r",(?![^\[]*\])")  # not within a list, as in [200,200]


@dataclass(frozen=True)
class Comparison:
    """A word of the command line: a key, how it is compared, and with what. `=` and `!=` take several values."""

    word: str
    name: str
    sign: str
    values: tuple[str, ...]

    def key(self, names: Names) -> str:
        """The key that it is about. Errors: `RequestError`."""
        return key_of(self.name, names, self.word)

    def holds(self, rows: Sequence[Row], names: Names) -> list[bool]:
        """For each row whether it holds. A run without a value equals `null` alone, and is neither less nor more than
        anything. Errors: `RequestError` for a key that no run has, or a value that cannot be compared with its values."""
        key = self.key(names)
        found = [row.get(key) for row in rows]
        if self.sign in _ORDERS:
            bound = self._bound(key, found)
            return [_is_number(value) and _ORDERS[self.sign](value, bound) for value in found]
        self._check(key, found, names)
        return [any(_equal(value, text) for text in self.values) == (self.sign == "=") for value in found]

    def _bound(self, key: str, found: list[Any]) -> float:
        bound = _number(self.values[0])
        if bound is None or len(self.values) > 1:
            raise RequestError(f"{self.word}: one number is needed after {self.sign}")
        if any(value is not None for value in found) and not any(map(_is_number, found)):
            raise RequestError(f"{self.word}: {key} holds no numbers; compare it with = or !=")
        return bound

    def _check(self, key: str, found: list[Any], names: Names) -> None:
        """A word where only numbers are is a mistake: nobody asks for the runs whose rate is 'FreeBits'."""
        if not any(map(_is_number, found)) or not all(value is None or _is_number(value) for value in found):
            return
        for text in self.values:
            if _number(text) is None and text.casefold() not in _NOTHING:
                part = f"{self.name}._target_"
                instead = f" (did you mean '{part}{self.sign}{text}'?)" if part in names else ""
                raise RequestError(f"{self.word}: {key} holds numbers, and {text} is none{instead}")

    def missing(self, rows: Sequence[Row], names: Names) -> list[tuple[str, str]]:
        """Each value that was asked for and that no run has, and a question after the nearest that some run has."""
        if self.sign != "=":
            return []
        key = self.key(names)
        known = {id(value): value for row in rows for value in [row.get(key)]}.values()
        absent = [text for text in self.values if not any(_equal(value, text) for value in known)]
        there = {shown(key, value) for value in known}
        return [(f"{self.name}={text}", nearest(text, there)) for text in absent]


def comparison(word: str) -> Comparison | None:
    """The comparison that a word is, or None if it is none. Errors: `RequestError` for one that compares with nothing."""
    found = _COMPARISON.fullmatch(word)
    if found is None:
        return None
    name, sign, text = (part.strip() for part in found.groups())
    values = tuple(value.strip() for value in _COMMA.split(text))
    if not all(values):
        raise RequestError(f"{word}: a value is needed after {sign}; null stands for none")
    return _possible(Comparison(word, name, "=" if sign == "==" else sign, values))


def _possible(asked: Comparison) -> Comparison:
    """The comparison, if a run could have the values that it names. Errors: `RequestError` for one that no run can have."""
    allowed = STATES if asked.name == "state" else enumerated(asked.name)
    for text in asked.values if allowed and asked.sign in ("=", "!=") else ():
        if text.casefold() not in {*map(str.casefold, allowed), *_NOTHING}:
            names = ", ".join(allowed)
            raise RequestError(f"{asked.word}: {text} given; {asked.name} is one of {names}{nearest(text, allowed)}")
    return asked


def enumerated(key: str) -> tuple[str, ...]:
    """The values of a setting that is a choice of names in every option that has it; empty for any other key."""
    group, _, name = key.partition(".")
    if not name:
        return ()
    from vae_lab.forms import written  # Hydra, which few comparisons wait for
    from vae_lab.options import groups, option_content

    found: dict[str, None] = {}
    for option in groups().get(group, ()):
        target = option_content(group, option).get("_target_")
        hint, _ = written(group, str(target)).own.get(name, (None, None))
        if hint is not None and typing.get_origin(hint) is not typing.Literal:
            return ()
        found |= dict.fromkeys(map(str, typing.get_args(hint)))
    return tuple(found)


def chosen(rows: Sequence[Row], comparisons: Sequence[Comparison], names: Names) -> list[Row]:
    """The rows for which all comparisons hold. Errors: `RequestError`."""
    held = [each.holds(rows, names) for each in comparisons]
    return [row for row, *holds in zip(rows, *held, strict=True) if all(holds)]


def names_of(rows: Sequence[Row]) -> Names:
    """How the columns of rows may be called: by their keys, or by the titles that `vae-lab ls` prints."""
    known = [*keys_of(rows), *reported()]
    lasts = Counter(key.removesuffix("._target_").rpartition(".")[2] for key in known)
    alone = {last: key for key in known if lasts[last := key.removesuffix("._target_").rpartition(".")[2]] == 1}
    return (
        alone
        | {short(key): key for key in known}
        | {title: key for key, title in TITLES.items()}
        | {key: key for key in known}
    )


def key_of(name: str, names: Names, word: str = "") -> str:
    """The key of a column that is called so. Errors: `RequestError`, which begins with the word that the name is from."""
    if name not in names:
        raise RequestError(f"{word or name}: no run has a column {name}{nearest(name, names)}")
    return names[name]


def split(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name for part in text.split(",") if (name := part.strip())]


def ordered(rows: Sequence[Row], order: Sequence[str], names: Names) -> list[Row]:
    """Rows sorted by columns, the first one first; `-name` has the largest first. A run without a value comes last, either
    way. Errors: `RequestError`."""
    found = list(rows)
    for name in reversed(order):
        key = key_of(name.removeprefix("-"), names, name)
        without = [row for row in found if row.get(key) is None]
        found = [row for row in found if row.get(key) is not None]
        found.sort(key=lambda row, key=key: _rank(row[key]), reverse=name.startswith("-"))  # type: ignore[misc]
        found += without
    return found


def _rank(value: Any) -> tuple[bool, Any]:
    return (False, value) if _is_number(value) else (True, plain(value))


def plain(value: Any) -> str:
    """A value as one text: a list as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


_NOTHING = ("null",)


def _equal(value: Any, text: str) -> bool:
    if value is None:
        return text.casefold() in _NOTHING
    if _is_number(value):
        return bool(_number(text) == value)
    spelled = text if isinstance(value, str) else text.replace(" ", "")
    return spelled.casefold() in (plain(value).casefold(), shown("", value).casefold())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
