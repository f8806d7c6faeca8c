"""Columns of numbers that are probably not what they seem: a count of the rows, a mark of a missing value, rounding."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

FEWEST = 10
"""Rows from which on a column that counts them is no chance."""
FAR = 20.0
"""How many times the range of all other values a single one must be away from them to be named."""
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
            yield (
                f"column {name} has {value:g} in {place(int(rows[0]))} ({len(rows)} such row{'s' * (len(rows) > 1)}), far "
                f"from its other values ({left.min():.4g} to {left.max():.4g})"
            )


def _far(column: np.ndarray) -> float | None:
    for value in (np.nanmin(column), np.nanmax(column)):
        left = column[(column != value) & ~np.isnan(column)]
        if not len(left):
            return None
        low, high = left.min(), left.max()
        away, mark = min(abs(value - low), abs(value - high)), _is_mark(float(value))
        if away > (1 if mark else FAR) * (high - low) > 0 and len(np.unique(left)) > (1 if mark else 2):
            return float(value)
    return None


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
