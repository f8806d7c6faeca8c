"""Columns of a table as coordinates of x: a number as it is, a word as zeros and a one, and the way back."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_lab.data.spec import DataError
from vae_lab.data.table_cells import MOST_VALUES, is_numeral

Words = Mapping[str, Sequence[str]]


class Column(NamedTuple):
    """A column of numbers, or of words, each of whose `values` is a coordinate that is 1 where it stands and else 0."""

    name: str
    values: tuple[str, ...] = ()

    @property
    def coordinates(self) -> list[str]:
        return [f"{self.name}={value}" for value in self.values] or [self.name]


def fitted(names: Sequence[str], words: Words, where: object) -> list[Column]:
    """Columns by their names, those in `words` with the values that they take. Raises DataError for too many."""
    columns = [Column(name, values_of(words[name]) if name in words else ()) for name in names]
    for column in columns:
        if column.name in words and not 0 < len(column.values) <= MOST_VALUES:
            raise DataError(
                f"{where}: column {column.name} has {len(column.values)} values, and dataset.onehot takes 1 to {MOST_VALUES}: "
                "group them, or leave the column out"
            )
    return columns


def values_of(words: Sequence[str]) -> tuple[str, ...]:
    """The values that words are of, numbers before text and by their size."""
    return tuple(sorted({value_of(word.strip()) for word in set(words)} - {""}, key=in_order))


def value_of(word: str) -> str:
    """The value that a word means: 1 and 1.0 are one.

    Example:
        >>> [value_of(word) for word in ("1.0", "0.50", "red", "1_0")]
        ['1', '0.5', 'red', '1_0']
    """
    if re.fullmatch(r"[+-]?\d+", word):
        return str(int(word))  # exact, however long
    if not is_numeral(word) or not math.isfinite(number := float(word)):
        return word
    return str(int(number)) if number.is_integer() else str(number)


def in_order(value: str) -> tuple[bool, float, str]:
    """Sorts numbers before text, by their size."""
    number = float(value) if is_numeral(value) else math.nan
    return (False, number, value) if math.isfinite(number) else (True, 0.0, value)


def encode(columns: Sequence[Column], numbers: np.ndarray, words: Words, place: Any, where: object) -> np.ndarray:
    """x, (n, d), float64, of the numbers, (n, k), and the words of a file.

    Arguments:
        place: names a row by its number.

    Raises DataError for a word that is missing or not among the values of its column.
    """
    plain = iter(numbers.T)
    parts = [
        _coded(column, words[column.name], place, where) if column.values else next(plain)[:, None]
        for column in columns
    ]
    return np.ascontiguousarray(np.concatenate(parts, 1))


def _coded(column: Column, words: Sequence[str], place: Any, where: object) -> np.ndarray:
    number = {value: i for i, value in enumerate(column.values)}
    of = {word: number.get(value_of(word.strip()), -1) for word in set(words)}
    for row, word in enumerate(words):
        if of[word] < 0:
            what = f"no value for {column.name} in {place(row)}: fill it in or remove the row"
            if word.strip():
                shown = ", ".join(column.values[:20]) + (", ..." if len(column.values) > 20 else "")
                what = f"{word!r} for {column.name} in {place(row)}, which training has not seen; there were {shown}"
            raise DataError(f"{where} has {what}")
    return np.eye(len(column.values))[[of[word] for word in words]]


def decode(columns: Sequence[Column], x: np.ndarray) -> dict[str, list[Any]]:
    """The columns of a file, by name, of x in its units, (n, d): of words the value whose coordinate is largest, which is the
    nearest, or "" where two are."""
    found, first = dict[str, list[Any]](), 0
    for column in columns:
        part = x[:, first : first + len(column.coordinates)]
        first += part.shape[1]
        found[column.name] = _values(column, part) if column.values else part[:, 0].tolist()
    return found


def _values(column: Column, part: np.ndarray) -> list[str]:
    single = (part == part.max(1, keepdims=True)).sum(1) == 1
    return [column.values[i] if one else "" for i, one in zip(part.argmax(1).tolist(), single, strict=True)]
