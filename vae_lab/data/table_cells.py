"""Cells of a table as numbers, and the cells that are none, by what they seem to be."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

MOST_VALUES = 1000
"""Values that a column of text may have to be coded as zeros and ones."""

WORDS = {
    **dict.fromkeys(["", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"], math.nan),
    "true": 1.0,
    "false": 0.0,
}
"""Cells that are no numerals and yet a number, or none; in any case of their letters."""

_POINT = r"\d+\.?\d*|\.\d+"
_FORMS = {
    "separators": r"[+-]?\d{1,3}([ _'’\xa0\u202f]\d+)+([.,]\d+)?|[+-]?\d+(_\d+)+(\.\d+)?|[+-]?\d{1,3}(,\d{3})+\.\d*"
    r"|[+-]?\d{1,3}(,\d{3}){2,}|[+-]?\d{1,3}(\.\d{3}){2,}",
    "comma": r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?",
    "date": r"(\d{1,4})([-/.])\d{1,2}\2\d{1,4}([T ].*)?",
    "unit": rf"[$€£<>~≤≥]\s*[+-]?({_POINT})|[+-]?({_POINT})\s*(%|°?[^\W\d_]{{1,5}}|[$€£])",
}
"""Cells that a person reads as a number or a date, by what keeps them from being one."""


@dataclass
class Text:
    """The cells of one column that are no numbers: the first of them, how many there are, and which."""

    row: int
    place: str
    cell: str
    count: int = 0
    values: set[str] = field(default_factory=set)

    def add(self, cell: str) -> None:
        self.count += 1
        if len(self.values) <= MOST_VALUES:
            self.values.add(cell)

    def form(self, numbers: np.ndarray) -> str:
        """One of `_FORMS` that all of them have; `units`: of a first row above numbers; `mark`: among numbers; `words`.

        Arguments:
            numbers: of the same column, NaN where there is none.
        """
        for name, pattern in _FORMS.items():
            if all(re.fullmatch(pattern, value) for value in self.values):
                return name
        numerals = int(np.isfinite(numbers).sum())
        if self.row == 0 and self.count == 1 and numerals:
            return "units"
        return "mark" if 2 * numerals >= len(numbers) else "words"

    @property
    def as_number(self) -> str:
        """The first cell, if it has separators or a decimal comma, as it is to be written."""
        whole, mark, part = re.sub(r"[ _'’\xa0\u202f]", "", self.cell), "", ""
        if (at := max(whole.rfind(","), whole.rfind("."))) >= 0 and whole.count(whole[at]) == 1:
            whole, mark, part = whole[:at], ".", whole[at + 1 :]
        return re.sub("[.,]", "", whole) + mark + part


Texts = dict[str, Text]
"""By the name of the column."""


def numerals(cells: Sequence[str]) -> list[float]:
    """Cells that are all numerals. Raises ValueError for others, and for `1_00`, which only a programmer reads as 100."""
    if "_" in "".join(cells):
        raise ValueError(cells)
    return [*map(float, cells)]


def is_numeral(cell: str) -> bool:
    try:
        numerals([cell])
    except ValueError:
        return False
    return True


def number(cell: str, column: str, row: int, place: str, text: Texts) -> float:
    """A cell as a number, NaN where there is none; one that is neither goes to `text`."""
    cell = cell.strip()
    word = WORDS.get(cell.lower())
    if word is not None:
        return word
    try:
        return numerals([cell])[0]
    except ValueError:
        text.setdefault(column, Text(row, place, cell)).add(cell)
        return math.nan


def column_of(cells: Iterable[object], column: str, text: Texts) -> np.ndarray:
    """A column of anything as numbers, NaN where there is none."""
    words = ("" if cell is None else str(cell) for cell in cells)
    return np.array([number(word, column, row, f"row {row}", text) for row, word in enumerate(words)], np.float64)
