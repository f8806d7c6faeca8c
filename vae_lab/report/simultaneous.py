r"""Intervals of many settings against a reference that hold together, with few seeds and unequal scatter.

A run of setting a at seed s is :math:`x_{as} = m_a + b_s + e_{as}`: the seed's luck :math:`b_s` is shared by all settings,
the noise :math:`e_{as}` is each setting's own. With :math:`\bar d_{ar}` the mean of the n differences over the seeds
that a and the reference r share,

.. math:: \bar d_{ar} \pm C \sqrt{(v_a + v_r) / n}, \qquad v_i = \max(f, \kappa_i s_i^2), \quad \kappa_i = \frac{n_i}{n_i - 1} \Big(\frac{t_{n_i - 1}}{t_{N - 1}}\Big)^2

* :math:`s_i^2` is the variance of setting i about the least-squares fit of the model above. With two settings
  :math:`s_a^2 + s_r^2` is the variance of their paired differences.
* :math:`n_i` is the number of seeds of setting i, N the largest of them, and t Student's quantile with that many degrees of
  freedom: a setting that has lost runs has a wide interval of its own and leaves C as it is.
* f is the mean of the smaller half of all :math:`s_i^2`. Three seeds say little about a variance: one that looks
  small by luck is raised to what the other settings say, and one that is large counts in full.
* C is found by simulation (`critical_value`): the largest quantile over normal noise that is equal everywhere, or 3,
  10 or 100 times as large in the reference, in one setting, or in half of them. The intervals of one question then hold
  together at `LEVEL` in each of these cases. `tests/report/test_simultaneous.py` measures this, and the
  power, for these and for other laws of noise.

The intervals assume that the seed's luck adds to a run, and noise that is not far from normal where it is unequal. Noise of two
values (a run that collapses or does not) is held where all settings toss alike; `docs/report.md` says what is not.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
STUDIES = 8000
"""Simulated studies a case: the level of C is then known to a standard error of 0.0024. Fewer, but 2000, for large
studies, so that a case has some `NUMBERS` random numbers."""
NUMBERS = 4_000_000
FEWEST = 3
"""Seeds that two settings must share for an interval: two runs say next to nothing of their scatter."""
FEWEST_BEYOND = 20
"""Simulated studies beyond a quantile; what lies further out follows the tail of Student's t."""
RATIOS = (3.0, 10.0, 100.0)
"""By how many times noise may be larger in the reference or in some settings."""


class Layout(NamedTuple):
    """Which settings have a run at which seed, the references first: (settings, seeds), and their number. Without a
    reference every setting is compared with every other."""

    present: tuple[tuple[bool, ...], ...]
    references: int

    @property
    def first(self) -> slice:
        """The settings that the others are compared with."""
        return slice(0, self.references or None)

    @property
    def others(self) -> slice:
        return slice(self.references, None)

    @property
    def mask(self) -> np.ndarray:
        return np.array(self.present, dtype=bool)


def layout_of(values: np.ndarray, references: int) -> Layout:
    """Returns the layout of measured values, NaN where a run is missing: (settings, seeds)."""
    rows = np.isfinite(values).tolist()
    return Layout(tuple(map(tuple, rows)), references)


def full_layout(settings: int, seeds: int, references: int = 1) -> Layout:
    """Returns the layout of a study whose runs have all completed."""
    return Layout(((True,) * seeds,) * settings, references)


def half_widths(values: np.ndarray, references: int, level: float = LEVEL) -> np.ndarray:
    """Half of each interval that holds together with the others.

    Arguments:
        values: one metric, any unit, NaN where a run is missing: (settings, seeds), the references first.
        references: number of reference settings; 0 compares every setting with every other.

    Returns:
        (references, settings - references), or (settings, settings) without a reference, in the unit of the metric; inf
        where two settings share fewer than `FEWEST` seeds.
    """
    layout = layout_of(values, references)
    unit = _unit(values)
    shown = np.where(layout.mask, values / unit, 0.0)
    scale = unit * _standard_errors(shown[None], layout)[0]
    with np.errstate(invalid="ignore"):
        return np.where(scale > 0, critical_value(layout, level) * scale, scale)


def noise_sd(values: np.ndarray) -> float:
    """The standard deviation of one run about its seed's luck, of the median setting, in the unit of the metric.

    Arguments:
        values: as for `half_widths`.
    """
    mask, unit = np.isfinite(values), _unit(values)
    variances = _variances(np.where(mask, values / unit, 0.0)[None], mask)[0]
    freedom = mask.sum(1) - 1
    judged = freedom > 0
    if not judged.any():
        return 0.0
    typical = (
        stats.chi2.ppf(0.5, freedom[judged]) / freedom[judged]
    )  # the median of an estimate lies below what it estimates
    return unit * float(np.sqrt(np.median(variances[judged] / typical)))


def _unit(values: np.ndarray) -> float:
    """The largest distance from the mean, by which values are divided so that no square is lost; 1 where all are equal."""
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite - finite.mean()).max(initial=0.0)) if len(finite) else 0.0
    return largest if largest > 0 and np.isfinite(largest) else 1.0


@functools.lru_cache(256)
def critical_value(layout: Layout, level: float = LEVEL) -> float:
    """C of the module's formula for one layout: the largest quantile over the cases of unequal noise."""
    noise = _noise(layout, 0)
    outside = max(1 - level, FEWEST_BEYOND / len(noise))
    worst = 0.0
    for scale in _cases(layout):
        largest = _statistics(noise * scale[:, None], layout).max(axis=(1, 2))
        worst = max(worst, float(np.quantile(largest, 1 - outside)))
    freedom = max(int(layout.mask.sum(1).max()) - 1, 1)
    return float(worst * (outside / (1 - level)) ** (1 / freedom))


@functools.lru_cache(256)
def detectable(layout: Layout, power: float = 0.8) -> float:
    """The difference of one setting that a study shows with probability `power`, in standard deviations of one run
    about its seed's luck, where noise is normal and equal in all settings."""
    noise = _noise(layout, 1)
    differences = _differences(noise, layout)[:, 0, 0]
    needed = critical_value(layout) * _standard_errors(noise, layout)[:, 0, 0] - differences
    return float(np.quantile(needed, power))


def _noise(layout: Layout, stream: int) -> np.ndarray:
    """Standard normal noise of the simulated studies: (studies, settings, seeds), 0 where a run is missing."""
    shape = layout.mask.shape
    pairs = shape[0] * (layout.references or shape[0])
    studies = min(STUDIES, max(STUDIES // 4, NUMBERS // max(layout.mask.size, pairs)))
    draw = np.random.default_rng([stream, *shape]).standard_normal((studies, *shape))
    return np.asarray(draw * layout.mask)


def _cases(layout: Layout) -> list[np.ndarray]:
    """The scale of noise of each setting, in each case: (settings,)."""
    settings, references = layout.mask.shape[0], layout.references
    noisy = [
        slice(0, references or 1),
        slice(settings - 1, settings),
        slice(settings - (settings - references) // 2, settings),
    ]
    cases = [np.ones(settings)]
    for ratio in RATIOS:
        for places in noisy:
            scale = np.ones(settings)
            scale[places] = ratio
            cases.append(scale)
    return cases


def _statistics(values: np.ndarray, layout: Layout) -> np.ndarray:
    """|mean difference| over its standard error: (studies, references, others); 0 where there is no interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(_differences(values, layout)) / _standard_errors(values, layout)
    return np.nan_to_num(ratio, nan=0.0)


def _differences(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Mean differences of the other settings from each reference over the seeds shared."""
    mask, first, others = layout.mask.astype(float), layout.first, layout.others
    shared = mask[first] @ mask[others].T
    total = np.swapaxes(values[:, others] @ mask[first].T, 1, 2) - values[:, first] @ mask[others].T
    return np.asarray(total / np.maximum(shared, 1.0))


def _standard_errors(values: np.ndarray, layout: Layout) -> np.ndarray:
    """sqrt((v_a + v_r) / n): (studies, references, others); inf where fewer than `FEWEST` seeds are shared."""
    mask, first, others = layout.mask, layout.first, layout.others
    shared = mask[first].astype(float) @ mask[others].T
    v = _raised(_variances(values, mask), mask)
    total = v[:, first, None] + v[:, None, others]
    return np.where(shared >= FEWEST, np.sqrt(total / np.maximum(shared, 1.0)), np.inf)


def _raised(s2: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """max(f, kappa s^2): (studies, settings)."""
    judged = np.flatnonzero(mask.sum(1) > 1)
    if not len(judged):
        return s2
    smaller = np.sort(s2[:, judged], axis=1)[:, : (len(judged) + 2) // 2]
    return np.maximum(smaller.mean(1, keepdims=True), _kappa(mask) * s2)


def _kappa(mask: np.ndarray) -> np.ndarray:
    """By how much the variance of each setting is raised for its few seeds: (settings,)."""
    seeds = np.maximum(mask.sum(1), 2)
    share = 1 - (1 - LEVEL) / (2 * len(mask))
    quantile = stats.t.ppf(share, seeds - 1)
    return np.asarray(seeds / (seeds - 1) * (quantile / quantile.min()) ** 2)


def _variances(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The variance of each setting about the additive fit, without bias where all are equal: (studies, settings)."""
    settings, seeds = mask.shape[0], mask.sum(1)
    if mask.all():
        rest = values - values.mean(2, keepdims=True)
        rest = rest - rest.mean(1, keepdims=True)
    else:
        rest = _additive_residuals(values, mask)
    unbiased = settings / max(settings - 1, 1)
    return np.asarray((rest**2).sum(2) * unbiased / np.maximum(seeds - 1, 1))


def _additive_residuals(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the least-squares fit m_a + b_s leaves over, where some runs are missing (0 there)."""
    rows, columns = np.nonzero(mask)
    design = np.zeros((len(rows), sum(mask.shape)))
    design[np.arange(len(rows)), rows] = 1.0
    design[np.arange(len(rows)), mask.shape[0] + columns] = 1.0
    fitted = design @ np.linalg.pinv(design)
    rest = np.zeros_like(values)
    rest[:, rows, columns] = values[:, rows, columns] - values[:, rows, columns] @ fitted
    return rest
