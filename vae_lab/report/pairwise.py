r"""Any two arms, side by side: the paired t test of their difference over seeds, and what it assumes.

The differences :math:`d_s = a_s - b_s` over shared seeds are taken to be independent draws of one normal distribution;
Shapiro and Wilk's test says how the draws agree with that (with few seeds it can hardly refuse), and from six pairs on
Wilcoxon's signed-rank test stands beside, which asks only that the differences be symmetric. A reader who looks through
all pairs must take what holds over all of them, and over all settings of which the two were chosen: Holm's correction of
p, and Bonferroni's of the interval.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from vae_lab.report.cells import Cell
from vae_lab.report.statistics import BOOTSTRAP, bootstrap_means, half_width
from vae_lab.report.verdict import pairs

WILCOXON_FROM = 6  # pairs: with fewer its p cannot fall below 0.05


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
    p: float | None  # paired t test
    p_holm: float | None  # the same, corrected for every pair
    shapiro: float | None
    wilcoxon: float | None
    low_bootstrap: float | None
    high_bootstrap: float | None


def compare_pairs(
    cells: Sequence[Cell],
    metric: str,
    wanted: Sequence[tuple[int, int]] | None = None,
    tried: Sequence[int] | None = None,
) -> list[Pair]:
    """Every pair of cells (or those wanted, by position) in one metric. Pairs that all differ by the same number get no
    interval and no p: seeds that change nothing are one observation.

    Arguments:
        tried: of how many settings each cell was chosen (one, if not given): what holds over all pairs holds over all
            pairs of settings.
    """
    found = {(a, b): pairs(cells[a], cells[b], metric) for a, b in wanted or combinations(range(len(cells)), 2)}
    weights = {(a, b): tried[a] * tried[b] if tried else 1 for a, b in found}
    varying = [key for key, differences in found.items() if differences and _varies(np.array([differences]))[0]]
    claims = sum(weights[key] for key in varying)
    tested: dict[tuple[int, int], Pair] = {}
    for n in {len(differences) for differences in found.values()} - {0}:
        keys = [key for key, differences in found.items() if len(differences) == n]
        tested |= _tested(keys, np.array([found[key] for key in keys]), claims)
    return _holm([tested[key] for key in found if key in tested], weights)


def _varies(d: np.ndarray) -> np.ndarray:
    """Which rows of (pairs, n) are more than one observation."""
    return d.std(1) > 1e-9 * np.abs(d.mean(1))


def _tested(keys: list[tuple[int, int]], d: np.ndarray, claims: int) -> dict[tuple[int, int], Pair]:
    """Pairs with n differences each, d of shape (pairs, n); p not yet corrected."""
    n, mean, varies = d.shape[1], d.mean(1), _varies(d)
    half, wide, p, shapiro, wilcoxon, low, high = np.full((7, len(d)), np.nan)
    if varies.any():
        x = d[varies]
        half[varies] = [half_width(float(spread), n) for spread in x.std(1, ddof=1)]
        wide[varies] = [half_width(float(spread), n, claims=claims) for spread in x.std(1, ddof=1)]
        p[varies] = stats.ttest_1samp(x, 0.0, axis=1).pvalue
        if n >= 3:
            shapiro[varies] = stats.shapiro(x, axis=1).pvalue
        if n >= WILCOXON_FROM:
            wilcoxon[varies] = _wilcoxon(x)
        if n in BOOTSTRAP:
            low[varies], high[varies] = bootstrap_means(x)
    columns = (mean - half, mean + half, mean - wide, mean + wide, p, p, shapiro, wilcoxon, low, high)
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


def _holm(found: list[Pair], weights: dict[tuple[int, int], int]) -> list[Pair]:
    """Holm's step-down correction of the p of each pair (Holm 1979), each of which was chosen among so many. A pair that is
    refused takes one of them out, not all: the others it was chosen before are not refused with it."""
    known = sorted((pair.p, i) for i, pair in enumerate(found) if pair.p is not None)
    left, corrected, worst = sum(weights[found[i][:2]] for _, i in known), list(found), 0.0
    for p, i in known:
        worst = max(worst, min(1.0, left * p))
        corrected[i] = found[i]._replace(p_holm=worst)
        left -= 1
    return corrected
