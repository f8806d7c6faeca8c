"""Columns of numbers that are probably not what they seem: a count of the rows, a mark of a missing value, rounding."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

FEWEST = 10
"""Rows from which on a column that counts them is no chance."""
FAR = 20.0
"""How many times the range of all other values a single one must be away from them to be named."""
TOGETHER = 4
"""Values that may be far from all others together, such as the marks -97, -98 and -99 of a survey."""
_LIMITS = {32767.0, 32768.0, 65535.0, 2.0**31 - 1, 2.0**31}
_STEPS = 1000.0  # of rounding that a standard deviation has at least


def row_numbers(x: np.ndarray, names: Sequence[str]) -> list[str]:
    """The columns that number the rows, in whatever order, or have the name that pandas gives to such a one."""
    return [name for name, column in zip(names, x.T, strict=True) if name.startswith("Unnamed: ") or _counts(column)]


def _counts(column: np.ndarray) -> bool:
    n, first = len(column), column.min()
    if n < FEWEST or column.max() - first != n - 1 or (column != np.round(column)).any():
        return False
    return len(np.unique(column)) == n


def far_values(x: np.ndarray, names: Sequence[str], place: Callable[[int], str]) -> Iterator[str]:
    """A line for each value that stands alone and far from all others of its column, or a little less far and is one that
    files write for a missing value (-999, 1e30)."""
    for name, column in zip(names, x.T, strict=True):
        while (value := _far(column)) is not None:
            rows, left = np.flatnonzero(column == value), column[column != value]
            column = np.where(column == value, np.nan, column)
            left = left[~np.isnan(left)]
            left = others if len(others := left[[not _is_mark(float(one)) for one in left]]) else left
            yield (
                f"column {name} has {value:g} in {place(int(rows[0]))} ({len(rows)} such row{'s' * (len(rows) > 1)}), far "
                f"from its other values ({left.min():.4g} to {left.max():.4g})"
            )


def _far(column: np.ndarray) -> float | None:
    """The lowest or the highest value, whichever is further from 0, if it and at most `TOGETHER` in all are far from all
    others; None if neither is. Marks of missing values count in no range, so that one does not hide another."""
    values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    ends = [*values[:TOGETHER], *values[-TOGETHER:]]
    marks = np.array([value for value in ends if _is_mark(float(value))])
    far = [
        float(ordered[0])
        for ordered, count in ((values, counts[0]), (values[::-1], counts[-1]))
        if _is_group_away(ordered, marks, count <= counts.sum() / 2)
    ]
    return max(far, key=abs, default=None)


def _is_group_away(ordered: np.ndarray, marks: np.ndarray, is_rare: bool) -> bool:
    """Whether the first values, in order from an end, are far from those behind them."""
    is_mark = is_rare and _is_mark(float(ordered[0]))
    for taken in range(1, min(TOGETHER, len(ordered) - 1) + 1):
        core = np.setdiff1d(ordered[taken:], marks)
        if len(core) and _is_away(float(np.abs(ordered[taken - 1] - core).min()), core, is_mark):
            return True
    return False


def _is_away(gap: float, core: np.ndarray, is_mark: bool) -> bool:
    """Whether values at that distance are far from the others, which are sorted."""
    spread = abs(float(core[-1] - core[0]))
    if is_mark:
        return gap > spread
    return len(core) > 2 and gap > FAR * spread


def _is_mark(value: float) -> bool:
    """A number such as files write for a missing value.

    Example:
        >>> [_is_mark(value) for value in (-999, 99.9, 1e30, 65535, 990)]
        [True, True, True, True, False]
    """
    digits = {*f"{abs(value):.15g}"} - {"."}
    return abs(value) >= 1e20 or abs(value) in _LIMITS or (digits == {"9"} and abs(value) > 90)


def rounded(x: np.ndarray, names: Sequence[str], dtype: type) -> list[str]:
    """The columns that vary, but by little more than the rounding of a dtype: whatever they told is lost in it."""
    steps = np.spacing(np.abs(x).max(0).astype(dtype)).astype(np.float64)
    spread = x.max(0) - x.min(0)
    coarse = (spread > 0) & (spread < _STEPS * steps)
    return [name for name, one in zip(names, coarse, strict=True) if one]
