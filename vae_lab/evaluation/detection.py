"""How well a score tells anomalies from normal examples, with intervals; and a threshold with a stated rate of false alarms."""

import math
from dataclasses import dataclass

import numpy as np

LEVEL, RECALL = 0.95, 0.95  # of the intervals; at which the false positives are counted


@dataclass(frozen=True)
class Detection:
    """Of one score, each with the ends of its interval (percentiles of the bootstrap, 95 %).

    Attributes:
        auroc: the probability that an anomaly scores above a normal example, half of it where they are equal.
        aupr: the average precision of "anomaly"; a score that says nothing has the share of anomalies.
        fpr95: the share of normal examples at or above the highest threshold that finds 95 % of the anomalies.
    """

    auroc: tuple[float, float, float]
    aupr: tuple[float, float, float]
    fpr95: tuple[float, float, float]


def detection(normal: np.ndarray, anomalous: np.ndarray, resamples: int = 1000, seed: int = 0) -> Detection:
    """Scores of normal and of anomalous examples, (n,) and (m,), higher for what is more anomalous.

    The bootstrap draws both groups again, each with its own size (Efron and Tibshirani 1993, section 8.3). Scores enter by
    their ranks alone, which are found once: a resample only counts how often each is drawn, so that a thousand of 10,000
    against 10,000 take seconds (scikit-learn, which sorts each time, gives the same numbers).

    Errors: `ValueError` for an empty group and for NaN.
    """
    if not len(normal) or not len(anomalous) or np.isnan(np.concatenate([normal, anomalous])).any():
        raise ValueError(f"{len(normal)} normal and {len(anomalous)} anomalous scores: each needs one, and none NaN")
    ranks = np.unique(np.concatenate([normal, anomalous]), return_inverse=True)[1]
    groups = ranks[: len(normal)], ranks[len(normal) :]
    bins, rng = int(ranks.max()) + 1, np.random.default_rng(seed)
    found = _measures(*(np.bincount(group, minlength=bins) for group in groups))
    drawn = [
        _measures(*(np.bincount(rng.choice(group, len(group)), minlength=bins) for group in groups))
        for _ in range(resamples)
    ]
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if drawn else np.full((2, 3), np.nan)
    return Detection(*((float(x), float(low), float(high)) for x, low, high in zip(found, *ends, strict=True)))


def _measures(normal: np.ndarray, anomalous: np.ndarray) -> tuple[float, float, float]:
    """AUROC, AUPR and the false positives at 95 %, from how many of each group have each score, (bins,), rising."""
    n, m = int(normal.sum()), int(anomalous.sum())
    false, true = np.cumsum(normal[::-1]), np.cumsum(anomalous[::-1])  # at or above each score, falling
    here = anomalous[::-1]
    auroc = float(here @ (n - false + 0.5 * normal[::-1])) / (n * m)
    aupr = float(here @ (true / np.maximum(true + false, 1))) / m
    first = int(np.searchsorted(true, math.ceil(RECALL * m - 1e-9)))
    return auroc, aupr, float(false[first]) / n


def threshold(scores: np.ndarray, false_alarms: float) -> float:
    r"""The score above which an example is called anomalous, so that a new normal one is with probability `false_alarms` at
    most, whatever the distribution: of n held-out normal scores the k-th smallest,

    .. math:: k = \lceil (n + 1) (1 - \alpha) \rceil

    (split conformal prediction; Vovk, Gammerman and Shafer 2005, section 2.2). That is over the draw of these n too: given
    them, the rate of continuous scores is a Beta(n + 1 - k, k).

    Errors: `ValueError` where n is too small for so few false alarms.
    """
    n = len(scores)
    k = math.ceil((n + 1) * (1 - false_alarms) - 1e-9)
    if k > n:
        raise ValueError(f"{false_alarms:g} false alarms need {math.ceil(1 / false_alarms - 1e-9) - 1} normal examples")
    return float(np.sort(scores)[k - 1])
