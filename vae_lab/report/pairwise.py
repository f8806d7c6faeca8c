r"""Any two arms, side by side: the paired t test of their difference over seeds, and what it assumes.

The differences :math:`d_s = a_s - b_s` over shared seeds are taken to be independent draws of one normal distribution;
Shapiro and Wilk's test says how the draws agree with that (with few seeds it can hardly refuse), and from six pairs on
Wilcoxon's signed-rank test stands beside, which asks only that the differences be symmetric. A reader who looks through
all pairs must take the interval that holds over all of them, and over all settings of which the two were chosen:
`simultaneous` has its width, which also holds where runs fall in two modes.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from vae_lab.report.cells import Cell, distinct_keys
from vae_lab.report.simultaneous import LEVEL, half_widths
from vae_lab.report.statistics import BOOTSTRAP, bootstrap_means, half_width
from vae_lab.report.verdict import pairs

WILCOXON_FROM = 6  # pairs: with fewer its p cannot fall below 0.05
Places = tuple[int, int]


class Pair(NamedTuple):
    """The difference a - b of two arms in one metric, over n pairs of distinct runs; None where it cannot be told."""

    a: int
    b: int
    n: int
    mean: float
    low: float | None  # of this pair alone
    high: float | None
    low_all: float | None  # held together with every other pair's
    high_all: float | None
    p: float | None  # paired t test, of this pair alone
    shapiro: float | None
    wilcoxon: float | None
    low_bootstrap: float | None
    high_bootstrap: float | None


def compare_pairs(
    cells: Sequence[Cell],
    metric: str,
    wanted: Sequence[Places] | None = None,
    tried: Sequence[int] | None = None,
) -> list[Pair]:
    """Every pair of cells (or those wanted, by position, all with the same first) in one metric. Pairs that all differ by the same number get no
    interval and no p: seeds that change nothing are one observation.

    Arguments:
        tried: the number of settings that each cell was chosen from (one, if not given): what holds over all pairs
            holds over all pairs of settings.
    """
    kept = distinct_keys(cells)
    both = wanted or combinations(range(len(cells)), 2)
    differences = {(a, b): pairs(cells[a], cells[b], metric, kept) for a, b in both}
    together = _widths_together(cells, metric, wanted, max(tried, default=1) ** 2 if tried else 1)
    tested: dict[Places, Pair] = {}
    for n in {len(d) for d in differences.values()} - {0}:
        keys = [key for key, d in differences.items() if len(d) == n]
        tested |= _tested(keys, np.array([differences[key] for key in keys]), together)
    return [tested[key] for key in differences if key in tested]


def _widths_together(
    cells: Sequence[Cell], metric: str, wanted: Sequence[Places] | None, families: int
) -> Mapping[Places, float]:
    """Half of the interval of each pair that holds with all others', over so many families of settings (Bonferroni)."""
    measured = [i for i, cell in enumerate(cells) if cell.values(metric)]
    hub = wanted[0][0] if wanted else None
    if hub in measured:
        measured = [hub, *(i for i in measured if i != hub)]
    keys = distinct_keys(cells)
    if len(measured) < 2 or len(keys) < 2:
        return {}
    values = np.array([[cells[i].values(metric).get(key, np.nan) for key in keys] for i in measured])
    references = 0 if wanted is None else 1
    halves = half_widths(values, references, 1 - (1 - LEVEL) / families)
    return {
        (a, b): float(halves[row, column])
        for row, a in enumerate(measured[: references or None])
        for column, b in enumerate(measured[references:])
    }


def _varies(d: np.ndarray) -> np.ndarray:
    """Which rows of (pairs, n) are more than one observation."""
    return d.std(1) > 1e-9 * np.abs(d.mean(1))


def _tested(keys: list[Places], d: np.ndarray, together: Mapping[Places, float]) -> dict[Places, Pair]:
    """Pairs with n differences each, d of shape (pairs, n)."""
    n, mean, varies = d.shape[1], d.mean(1), _varies(d)
    half, wide, p, shapiro, wilcoxon, low, high = np.full((7, len(d)), np.nan)
    if varies.any():
        x = d[varies]
        half[varies] = [half_width(float(spread), n) for spread in x.std(1, ddof=1)]
        wide[varies] = [together.get(key, np.nan) for key, is_varying in zip(keys, varies, strict=True) if is_varying]
        wide[np.isinf(wide)] = np.nan
        p[varies] = stats.ttest_1samp(x, 0.0, axis=1).pvalue
        if n >= 3:
            shapiro[varies] = stats.shapiro(x, axis=1).pvalue
        if n >= WILCOXON_FROM:
            wilcoxon[varies] = _wilcoxon(x)
        if n in BOOTSTRAP:
            low[varies], high[varies] = bootstrap_means(x)
    columns = (mean - half, mean + half, mean - wide, mean + wide, p, shapiro, wilcoxon, low, high)
    return {
        key: Pair(*key, n, float(mean[i]), *(None if np.isnan(c[i]) else float(c[i]) for c in columns))
        for i, key in enumerate(keys)
    }


def _wilcoxon(x: np.ndarray) -> np.ndarray:
    """p for each row of (pairs, n). SciPy chooses one method for all rows that it is given: those that have ties, for which
    there is no exact one, go apart from the others."""
    size = np.sort(np.abs(x), axis=1)
    tied = (np.diff(size, axis=1) == 0).any(1) | (size[:, 0] == 0)
    p = np.empty(len(x))
    for rows in (tied, ~tied):
        if rows.any():
            p[rows] = stats.wilcoxon(x[rows], axis=1).pvalue
    return p
