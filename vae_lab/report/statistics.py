r"""The arithmetic of a comparison: differences paired over seeds, the interval of a mean, a choice on validation.

Two arms that share a seed share its data order and its initial draw, so the seed's luck cancels in the difference
:math:`d_s = a_s - b_s`. `simultaneous` has the width of the intervals that the verdict gives these differences.
"""

import functools
import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
BOOTSTRAP = range(10, 101)
"""Of how many values a mean has a bootstrap's interval: one of fewer covers the truth too seldom; of more,
its ends are Student's (at 100 normal values within 2 % of the width, at 100 exponential ones within 7 %)."""
RESAMPLES = 2000


class Interval(NamedTuple):
    """Where a mean lies, and by which method that was found: `t` or `bootstrap`."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) over n distinct runs; no spread for one."""

    mean: float | None
    sd: float | None
    n: int
    values: tuple[float, ...] = ()

    @functools.cached_property
    def interval(self) -> Interval | None:
        """The interval of the mean over runs, at `LEVEL`, of this mean alone; None for fewer than two runs."""
        return mean_interval(self.values)


def summarize(values: Sequence[float]) -> Summary:
    """Mean and spread of what the runs of a cell measured."""
    if not values:
        return Summary(None, None, 0)
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), spread, len(values), tuple(values))


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's t interval of a mean, or of as many values as `BOOTSTRAP` says the bootstrap's (bias-corrected,
    accelerated; Efron 1987), with resamples of a fixed seed; None for fewer than two values.

    Example:
        >>> found = mean_interval([1.0, 1.2, 1.1])
        >>> round(found.low, 2), round(found.high, 2), found.method
        (0.85, 1.35, 't')
    """
    if len(values) < 2:
        return None
    if len(values) in BOOTSTRAP:
        low, high = (float(end[0]) for end in bootstrap_means(np.array([values]), level))
        if math.isfinite(low) and math.isfinite(high):
            return Interval(low, high, "bootstrap")
    mean, half = statistics.fmean(values), half_width(statistics.stdev(values), len(values), level)
    return Interval(mean - half, mean + half, "t")


def prepare_intervals(summaries: Sequence[Summary]) -> None:
    """Finds the bootstrap intervals of many summaries at once, which takes a tenth of the time of one by one."""
    for n in {found.n for found in summaries} & {*BOOTSTRAP}:
        alike = [found for found in summaries if found.n == n]
        for found, low, high in zip(alike, *bootstrap_means(np.array([f.values for f in alike])), strict=True):
            if math.isfinite(low) and math.isfinite(high):
                found.__dict__["interval"] = Interval(float(low), float(high), "bootstrap")


def bootstrap_means(values: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """The ends of bootstrap intervals of means over the last axis, NaN where a row does not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that do not vary
        found = stats.bootstrap(
            (values,), np.mean, axis=-1, confidence_level=level, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
        )
    return np.asarray(found.confidence_interval.low), np.asarray(found.confidence_interval.high)


def half_width(spread: float, n: int, level: float = LEVEL, claims: int = 1) -> float:
    """Half of Student's t interval for a mean of n values with that standard deviation, one of `claims` that hold
    together (Bonferroni)."""
    return _quantile(1 - (1 - level) / (2 * claims), n - 1) * spread / math.sqrt(n)


@functools.cache
def _quantile(share: float, freedom: int) -> float:
    return float(stats.t.ppf(share, freedom))


@dataclass(frozen=True)
class Difference:
    """A paired difference with its simultaneous interval; `low` and `high` are None where none can be given."""

    mean: float | None
    n: int
    low: float | None = None
    high: float | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes zero: only then may a verdict claim a difference."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def unasked(self) -> "Difference":
        """The same difference without an interval: a question that is not asked of this arm."""
        return Difference(self.mean, self.n)

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def negated(self) -> "Difference":
        """The same difference read the other way round."""
        flip = [None if x is None else 0.0 - x for x in (self.mean, self.high, self.low)]
        return Difference(flip[0], self.n, flip[1], flip[2])


def difference_within(differences: Sequence[float], half_width: float | None) -> Difference:
    """The mean difference with an interval of the given half width; without one where None or infinite is given.

    Pairs that all differ by exactly zero give [0, 0], which claims nothing. Pairs that all differ by the same
    other number give no interval: seeds that change nothing are one observation, however many.

    Arguments:
        differences: one a pair of distinct runs, shape (n,), any unit.

    Example:
        >>> difference_within([1.0, 1.2, 1.1], 0.36).is_shown
        True
    """
    n = len(differences)
    if n == 0:
        return Difference(None, 0)
    mean = statistics.fmean(differences)
    if n == 1:
        return Difference(mean, 1)
    if statistics.stdev(differences) <= 1e-9 * abs(mean):
        return Difference(mean, n) if mean else Difference(0.0, n, 0.0, 0.0)
    if half_width is None or not math.isfinite(half_width):
        return Difference(mean, n)
    return Difference(mean, n, mean - half_width, mean + half_width)


def choose(candidates: Mapping[str, Mapping[str, float]], higher_is_better: bool = True) -> str | None:
    """The candidate with the best mean over the keys (seeds) that all candidates with any value share; the first of
    equals; each over its own keys where they share none; None where nothing was measured.

    Arguments:
        candidates: name to its values by seed, in the order of declaration; a *validation* metric.

    Example:
        >>> choose({"weak": {"0": -20.0, "1": -22.0}, "strong": {"0": -20.5}})
        'weak'
    """
    measured = {name: values for name, values in candidates.items() if values}
    if not measured:
        return None
    shared = set.intersection(*(set(values) for values in measured.values()))
    means = {
        name: statistics.fmean(value for key, value in values.items() if key in shared or not shared)
        for name, values in measured.items()
    }
    return (max if higher_is_better else min)(means, key=lambda name: means[name])
