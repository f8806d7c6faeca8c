"""What is used of a table: which columns, and what each bad one is told."""

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_lab.data.dataset import DataError
from vae_lab.data.files import Version
from vae_lab.data.table_file import Content, TableFile, open_table
from vae_lab.errors import nearest

_INDEX = "__index_level_"  # how pandas names its index in a parquet file


@dataclass(frozen=True)
class Choice:
    """Columns by name: those of x (None for all others but `ignore`), the labels, the split."""

    columns: tuple[str, ...] | None
    ignore: tuple[str, ...]
    label: str | None
    split: str | None

    @classmethod
    def of(
        cls,
        columns: Sequence[str | int] | None,
        ignore: Sequence[str | int],
        label: str | int | None,
        split: str | int | None,
    ) -> "Choice":
        """Columns of an array are named by numbers."""
        one = [None if name is None else str(name) for name in (label, split)]
        return cls(None if columns is None else tuple(map(str, columns)), tuple(map(str, ignore)), *one)

    def named(self) -> dict[str, tuple[str, ...]]:
        """The names that were typed, by their settings."""
        one = {"label": self.label, "split": self.split}
        several = {"columns": self.columns or (), "ignore": self.ignore}
        return several | {key: (name,) for key, name in one.items() if name is not None}

    def without(self, names: Sequence[str]) -> str:
        """How to do without columns."""
        if self.columns is not None:
            return f"take {shown(names)} out of dataset.columns"
        typed = (name if re.fullmatch(r"[\w.-]+", name) else f'"{name}"' for name in (*self.ignore, *names))
        return f"leave {'it' if len(names) == 1 else 'them'} out with 'dataset.ignore=[{','.join(typed)}]'"

    def as_label(self, names: Sequence[str]) -> str:
        """What else a column of text may be."""
        return f", or make it the label with dataset.label={names[0]}" if len(names) == 1 and self.label is None else ""


class Rows(NamedTuple):
    """x, (n, d), float64, with the names of its columns; y with the names of the classes; the split of each row; the hash of
    all that. What was not asked for is empty."""

    x: np.ndarray
    names: list[str]
    y: list[int]
    classes: list[str]
    splits: list[str]
    fingerprint: str


@functools.lru_cache(maxsize=4)  # a study asks once for each of its runs
def read_rows(path: Path, version: Version, choice: Choice) -> Rows:
    """Raises DataError."""
    table = open_table(path)
    others = [name for name in (choice.label, choice.split) if name is not None]
    for key, asked in choice.named().items():
        check_names(asked, table, f"dataset.{key}: ")
    names = _all_others(table, choice) if choice.columns is None else [*choice.columns]
    content = table.read(names, others)
    x, words = numbers(content, names, path, choice), dict(zip(others, content.words, strict=True))
    labels = _labels(words[choice.label], content, f"{path}: column {choice.label}") if choice.label is not None else []
    classes = sorted(set(labels), key=_in_order)
    y = [*map({name: number for number, name in enumerate(classes)}.__getitem__, labels)]
    splits = words[choice.split] if choice.split is not None else []
    digest = hashlib.sha256(json.dumps([names, labels, splits]).encode())
    digest.update(np.ascontiguousarray(x).data)
    return Rows(x, names, y, classes, splits, digest.hexdigest())


def check_names(names: Sequence[str], table: TableFile, asked: str = "") -> None:
    """Refuses names that the table has not, and one that is there twice; `asked` says where the names are from."""
    for name in names:
        if name not in table.names:
            raise DataError(
                f"{asked}{table.path} has no column {name!r}{nearest(name, table.names)}; it has {shown(table.names)}"
            )
        if names.count(name) > 1:
            raise DataError(f"{asked}{name!r} is named twice in what is asked of {table.path}")


def numbers(content: Content, names: Sequence[str], path: Path, choice: Choice | None = None) -> np.ndarray:
    """The numbers of a table, (n, d), if all of them are there and finite in float32. Raises DataError; how to do without a
    column is told where there is a choice."""
    if not len(content.rows):
        raise DataError(f"{path} has no rows")
    if content.text:
        (place, cell), wrong = next(iter(content.text.values())), [*content.text]
        are = f"column {wrong[0]} is" if len(wrong) == 1 else f"columns {shown(wrong)} are"
        advice = f"{choice.without(wrong)}{choice.as_label(wrong)}" if choice else "the model takes numbers"
        raise DataError(f"{path}: {are} text ({cell!r} in {place}): {advice}")
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(content.numbers.astype(np.float32))
    if bad.any():
        wrong = [names[j] for j in np.flatnonzero(bad.any(0)).tolist()]
        advice = f", or {choice.without(wrong)}" if choice else ""
        raise DataError(f"{path} has {_gap(content, bad, names)}: fill in or remove such rows{advice}")
    return content.numbers


def _gap(content: Content, bad: np.ndarray, names: Sequence[str]) -> str:
    """The first cell that is missing or too large, and how many rows have one."""
    row = int(bad.any(1).argmax())
    column = int(bad[row].argmax())
    value, where = content.numbers[row, column], f"{names[column]} in {content.place(row)}"
    what = f"no value for {where}" if np.isnan(value) else f"{value:g} for {where}, too large for float32"
    return f"{what} (of {int(bad.any(1).sum())} such rows)"


def _all_others(table: TableFile, choice: Choice) -> list[str]:
    """The columns of x where none are named."""
    left = {*choice.ignore, choice.label, choice.split}
    names = [name for name in table.names if name not in left]
    if any(not name or name.startswith(_INDEX) for name in names):
        raise DataError(
            f"{table.path} has a column without a name (pandas writes its index so): save it with index=False, or name the "
            "columns of x in dataset.columns=[...]"
        )
    if table.headed and names and all(map(_is_number, names)):
        raise DataError(f"{table.path}: its first line is all numbers, and the names of the columns belong there")
    if not names:
        raise DataError(f"{table.path} has {shown(table.names)}, and so no column left for x")
    return names


def _labels(words: Sequence[str], content: Content, where: str) -> list[str]:
    """The name of each row's class: 1 and 1.0 are one. Raises DataError where there is none, or a fraction."""
    names = {word: _class(word) for word in set(words)}
    for row, word in enumerate(words):
        if not names[word]:
            what = f"{word} in {content.place(row)}" if word else f"no value in {content.place(row)}"
            raise DataError(
                f"{where} has {what}: a label is text or a whole number; dataset.label=null does without labels"
            )
    return [names[word] for word in words]


def _class(word: str) -> str:
    if not _is_number(word):
        return word
    number = float(word)
    return str(int(number)) if number.is_integer() else ""


def _in_order(name: str) -> tuple[bool, float, str]:
    """Numbers before text, by their size."""
    return (False, float(name), name) if _is_number(name) else (True, 0.0, name)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def shown(names: Sequence[str]) -> str:
    """Names with commas, the first twenty of them."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
