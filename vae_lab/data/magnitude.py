"""The size of the numbers of x: what float32 holds of them, and how far they are from 1."""

import numpy as np

ROWS = 10_000
"""Examples that are looked at: enough for sizes, few enough for an array that is larger than memory."""
COARSE = 1e-3
"""The part of the spread of x that rounding may take."""
FAR = 30.0
"""So many times 1, or the inverse of it, is far from what networks start with."""


def some(x: np.ndarray) -> np.ndarray:
    """At most `ROWS` examples of x, evenly spaced, (m, d)."""
    rows = x[:: -(-len(x) // ROWS)]
    flat = rows.reshape(len(rows), -1)
    return flat.astype(np.uint8) if flat.dtype == bool else flat


def rounding(x: np.ndarray) -> np.ndarray:
    """What float32 takes from each coordinate of x, (m, d): the median error of rounding by the spread, which is the distance
    of the quartiles, or the range where they are equal, (d,); 0 for a coordinate that is constant.

    Example:
        >>> rounding(np.array([[1e8, 0.5], [1e8 + 1, 0.25], [1e8 + 2, 0.75]])).round(2)
        array([1., 0.])
    """
    with np.errstate(over="ignore"):
        error = np.median(np.abs(x - x.astype(np.float32)), 0)
    low, high = np.quantile(x, (0.25, 0.75), axis=0)
    spread = np.where(high > low, high - low, np.ptp(x, 0))
    return np.divide(error, spread, out=np.zeros_like(error), where=spread > 0)


def size(x: np.ndarray) -> float:
    """The root of the mean square of the coordinate of x, (m, d), that is largest by it."""
    largest = np.abs(x).max(initial=0)
    scaled = x / largest if largest > 0 else x  # a square of 1e-200 would be 0
    return float(largest * np.sqrt(np.square(scaled, dtype=np.float64).mean(0).max()))


def is_far(size: float) -> bool:
    """Whether values of this size are far from 1."""
    return not 1 / FAR <= size <= FAR


def warnings(x: np.ndarray, advice: str) -> list[str]:
    """One line where rounding to float32 takes much of some examples, (m, d), or else where they are far from 1."""
    lost = rounding(x)
    coarse = np.flatnonzero(lost > COARSE)
    if len(coarse):
        j = int(coarse[lost[coarse].argmax()])
        which = f"coordinate {j} of x" + (f" and {len(coarse) - 1} more" if len(coarse) > 1 else "")
        error = f"its rounding is {lost[j]:.2g} of the spread of values such as {float(x[0, j])!r}"
        return [f"training is in float32, which loses how {which} varies ({error}): {advice}"]
    if is_far(size(x)):
        return [f"{far(size(x))}: {advice}"]
    return []


def far(size: float) -> str:
    return f"x has values of about {size:.2g}, and training starts from outputs of about 1"
