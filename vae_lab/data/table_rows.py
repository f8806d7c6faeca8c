"""What is used of a table: which columns, and what each bad one is told."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_lab.data.dataset import DataError
from vae_lab.data.files import Version
from vae_lab.data.table_cautions import far_values, rounded, row_numbers
from vae_lab.data.table_cells import is_numeral
from vae_lab.data.table_choice import Choice, one_of, refuse_text, shown
from vae_lab.data.table_columns import Column, encode, fitted, in_order, value_of
from vae_lab.data.table_file import Content, TableFile, open_table
from vae_lab.errors import nearest

_INDEX = "__index_level_"  # how pandas names its index in a parquet file


class Rows(NamedTuple):
    """x, (n, d), float64, with the columns it is made of; y with the names of the classes; the split of each row; the hash of
    all that; what is to be known of the numbers. What was not asked for is empty."""

    x: np.ndarray
    columns: list[Column]
    y: list[int]
    classes: list[str]
    splits: list[str]
    fingerprint: str
    cautions: list[str]

    @property
    def names(self) -> list[str]:
        """Of the coordinates of x."""
        return [name for column in self.columns for name in column.coordinates]

    @property
    def coded(self) -> np.ndarray:
        """The coordinates that are zeros and ones for words, (d,) bool."""
        return np.array([bool(column.values) for column in self.columns for _ in column.coordinates])


@functools.lru_cache(maxsize=4)  # a study asks once for each of its runs
def read_rows(path: Path, version: Version, choice: Choice) -> Rows:
    """Raises DataError."""
    table = open_table(path)
    for key, asked in choice.named().items():
        check_names(asked, table, f"dataset.{key}: ")
    names = _all_others(table, choice) if choice.columns is None else [*choice.columns]
    for name in choice.onehot:
        if name not in names:
            raise DataError(f"dataset.onehot: {path}: {name} is no column of x; these are {shown(names)}")
    plain = [name for name in names if name not in choice.onehot]
    others = list(dict.fromkeys([*choice.onehot, *filter(None, (choice.label, choice.split))]))
    content = table.read(plain, others)
    words = dict(zip(others, content.words, strict=True))
    read = numbers(content, plain, path, choice, names)
    columns = fitted(names, {name: words[name] for name in choice.onehot}, path)
    x = encode(columns, read, words, content.place, path)
    labels = _labels(words[choice.label], content, f"{path}: column {choice.label}") if choice.label is not None else []
    classes = sorted(set(labels), key=in_order)
    y = [*map({name: number for number, name in enumerate(classes)}.__getitem__, labels)]
    splits = words[choice.split] if choice.split is not None else []
    coordinates = [name for column in columns for name in column.coordinates]
    digest = hashlib.sha256(json.dumps([coordinates, labels, splits]).encode())
    digest.update(np.ascontiguousarray(x).data)
    return Rows(x, columns, y, classes, splits, digest.hexdigest(), _cautions(content, plain, choice, names))


def _cautions(content: Content, plain: Sequence[str], choice: Choice, names: Sequence[str]) -> list[str]:
    """Columns that are probably not what they seem, a line each."""
    lines = []
    for name in row_numbers(content.numbers, plain):
        lines.append(
            f"column {name} numbers the rows, and says nothing of them: {one_of(choice.without([name], names))}"
        )
    for line in far_values(content.numbers, plain, content.place):
        lines.append(f"{line}: if it marks a missing value, fill it in or remove such rows")
    for name in rounded(content.numbers, plain, np.float64):
        lines.append(f"column {name} varies by little more than the rounding of a float64: subtract a constant from it")
    return [line.removesuffix(": ") for line in lines]


def check_names(names: Sequence[str], table: TableFile, asked: str = "") -> None:
    """Refuses names that the table has not, and one that is there twice; `asked` says where the names are from."""
    for name in names:
        if name not in table.names:
            raise DataError(
                f"{asked}{table.path} has no column {name!r}{nearest(name, table.names)}; it has {shown(table.names)}"
            )
        if names.count(name) > 1:
            raise DataError(f"{asked}{name!r} is named twice in what is asked of {table.path}")


def numbers(
    content: Content, names: Sequence[str], path: Path, choice: Choice | None = None, among: Sequence[str] = ()
) -> np.ndarray:
    """The numbers of a table, (n, d), if all of them are there and finite in float32. Raises DataError; what can be done about
    a column, one among all of x, stands in it where there is a choice."""
    if not len(content.rows):
        raise DataError(f"{path} has no rows")
    refuse_text(content.text, content.numbers, names, among, path, choice)
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(content.numbers.astype(np.float32))
    if bad.any():
        wrong = [names[j] for j in np.flatnonzero(bad.any(0)).tolist()]
        ways = ["fill in or remove such rows", *(choice.without(wrong, among) if choice else [])]
        raise DataError(f"{path} has {_gap(content, bad, names)}: {one_of(ways)}")
    return content.numbers


def _gap(content: Content, bad: np.ndarray, names: Sequence[str]) -> str:
    """The first cell that is missing or too large, and how many rows have one."""
    row = int(bad.any(1).argmax())
    column = int(bad[row].argmax())
    value, where = content.numbers[row, column], f"{names[column]} in {content.place(row)}"
    why = "too large for float32" if np.isfinite(value) else "no finite number"
    what = f"no value for {where}" if np.isnan(value) else f"{value:g} for {where}, {why}"
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
    if table.headed and names and all(map(is_numeral, names)):
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
    """The name of a class, "" for a number that is not whole."""
    value = value_of(word)
    return "" if is_numeral(value) and not value.lstrip("+-").isdecimal() else value
