"""The columns of a table that are used, and what can be done about those that cannot be."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_lab.data.spec import SPLITS, DataError
from vae_lab.data.splits import split_of
from vae_lab.data.table_cells import MOST_VALUES, Text

Name = str | int


@dataclass(frozen=True)
class Choice:
    """Columns by name: those of x (None for all others but `ignore`), of these the ones of words, the labels, the split."""

    columns: tuple[str, ...] | None
    ignore: tuple[str, ...]
    label: str | None
    split: str | None
    onehot: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        columns: Sequence[Name] | None,
        ignore: Sequence[Name],
        label: Name | None,
        split: Name | None,
        onehot: Sequence[Name] = (),
    ) -> "Choice":
        """Columns of an array are named by numbers."""
        one = [None if name is None else str(name) for name in (label, split)]
        x = None if columns is None else tuple(map(str, columns))
        return cls(x, tuple(map(str, ignore)), one[0], one[1], tuple(map(str, onehot)))

    def named(self) -> dict[str, tuple[str, ...]]:
        """The names that were typed, by their settings."""
        one = {"label": self.label, "split": self.split}
        several = {"columns": self.columns or (), "ignore": self.ignore, "onehot": self.onehot}
        return several | {key: (name,) for key, name in one.items() if name is not None}

    def without(self, names: Sequence[str], of: Sequence[str]) -> list[str]:
        """The way to do without columns of x, if that leaves any: [] or one."""
        if set(names) >= set(of):
            return []
        if self.columns is not None:
            return [f"take {shown(names)} out of dataset.columns"]
        return [f"leave {_them(names)} out with {_setting('ignore', (*self.ignore, *names))}"]

    def coded(self, names: Sequence[str], text: Mapping[str, Text]) -> list[str]:
        """The way to make zeros and ones of columns of text, if they have few values: [] or one."""
        most = max(len(text[name].values) for name in names)
        how = f"code {_them(names)} by zeros and ones with {_setting('onehot', (*self.onehot, *names))}"
        return [how + (f" ({most} values)" if most > 20 else "")] if most <= MOST_VALUES else []

    def ways(self, names: Sequence[str], of: Sequence[str], text: Mapping[str, Text]) -> list[str]:
        """All that can be done with columns of text."""
        lone = len(names) == 1
        splits = lone and not self.split and {*map(split_of, text[names[0]].values)} <= {*SPLITS}
        found = [f"take it for the splits with {_setting('split', names[0])}"] if splits else []
        found += self.coded(names, text) + self.without(names, of)
        return found + ([f"make it the label with {_setting('label', names[0])}"] if lone and not self.label else [])


def refuse_text(
    text: Mapping[str, Text],
    numbers: np.ndarray,
    names: Sequence[str],
    among: Sequence[str],
    path: Path,
    choice: Choice | None,
) -> None:
    """Refuses columns that are no numbers, by what their cells seem to be; one line for all of them.

    Arguments:
        numbers: (n, d), of all columns of numbers, whose names are `names`, NaN where there is none.
        among: the columns of x. choice: None for a table that has to be as another one.
    """
    kinds: dict[str, list[str]] = {}
    for name, one in text.items():
        kinds.setdefault(one.form(numbers[:, names.index(name)]), []).append(name)
    lines = []
    for kind, wrong in kinds.items():
        left = [name for name in among if name not in text or name in wrong]  # after all columns of text are left out
        lines.append(_line(kind, wrong, text, left, choice))
    if lines:
        raise DataError(f"{path}: {'; '.join(lines)}")


def _line(kind: str, wrong: list[str], text: Mapping[str, Text], among: Sequence[str], choice: Choice | None) -> str:
    """What is wrong with columns of one form, and what to do."""
    first, several = text[wrong[0]], len(wrong) > 1
    columns = f"column{'s' * several} {shown(wrong)} {'have' if several else 'has'}"
    where = f"({first.cell!r} in {first.place})"
    ways = choice.ways(wrong, among, text) if choice else ["the model takes numbers"]
    if kind == "units":
        cells = ", ".join(f"{text[name].cell!r} for {name}" for name in wrong[:3])
        return f"{first.place} has text above numbers ({cells}): units, or a missing value: remove that line"
    if kind in ("comma", "separators"):
        marks = "decimal commas" if kind == "comma" else "marks between digits"
        return f"{columns} {marks} {where}: write {first.as_number}{_or_thousands(first)}"
    if kind == "unit":
        return f"{columns} a sign or a unit beside the number {where}: write the number alone"
    if kind == "date":
        return f"{columns} dates {where}: {one_of(['write each as a number, as of days since the first', *ways])}"
    if kind == "mark":
        ways = ["if it marks a missing value, fill in or remove such rows"]
        ways += choice.coded(wrong, text) + choice.without(wrong, among) if choice else []
        return f"{columns} text among numbers {where[:-1]}, {_counted(first)}): {one_of(ways)}"
    return f"{columns[: -len('have' if several else 'has')]}{'are' if several else 'is'} text {where}: {one_of(ways)}"


def _or_thousands(text: Text) -> str:
    either = all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", value) for value in text.values)
    return f" (or {text.cell.replace(',', '')}, if the comma parts thousands)" if either else ""


def _counted(text: Text) -> str:
    others = ", ".join(map(repr, sorted(text.values - {text.cell})[:3]))
    return f"of {text.count} such cells" + (f", also {others}" if others else "")


def one_of(ways: Sequence[str]) -> str:
    """Ways in one sentence."""
    return ", or ".join([", ".join(ways[:-1]), ways[-1]] if len(ways) > 1 else ways)


def shown(names: Sequence[str]) -> str:
    """Names with commas, the first twenty of them."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _setting(key: str, value: str | Sequence[str]) -> str:
    """A setting as it is typed.

    Example:
        >>> _setting("label", "kind"), _setting("ignore", ["a", "b (cm)"])
        ('dataset.label=kind', '\\'dataset.ignore=[a,"b (cm)"]\\'')
    """
    if isinstance(value, str):
        typed = _typed(value)
        return f"dataset.{key}={typed}" if typed == value else f"'dataset.{key}={typed}'"
    return f"'dataset.{key}=[{','.join(map(_typed, value))}]'"


def _typed(name: str) -> str:
    plain = re.fullmatch(r"[\w.-]+", name, re.ASCII)
    return name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
