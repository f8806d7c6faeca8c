"""What stays as it is in the codes when a known factor does: scores from groups of examples that share one factor's value.

The examples of a group are drawn, with replacement, from those there are. Codes are (n, k), floats; factors (n, f), whole
numbers, each with two values or more among the n rows. As many groups share each factor, so that chance is 1/f.
"""

from collections.abc import Callable

import numpy as np

from vae_lab.distributions import stream_seed
from vae_lab.evaluation.factors import alive

GROUP, TRAIN, TEST = 64, 10_000, 5_000


def factor_vae_score(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> float:
    """The FactorVAE score (Kim and Mnih 2018, Sec. 4): how often the code that varies least among 64 examples names the
    factor whose value they share.

    Variances are relative to those over all examples; codes with a standard deviation under 0.05 are dead and take no part.
    10,000 groups say which factor each code is of, the one for which it is chosen most often; 5,000 others are asked. Perfect
    codes have 1, and so have those of which several are of one factor. Chance: 1/f, which codes that are all dead have too
    (0 in disentanglement_lib).
    """
    living = codes[:, alive(codes)]
    if not living.shape[1]:
        return 1 / factors.shape[1]
    rng = np.random.default_rng(stream_seed(seed, "factor_vae_score"))
    scaled = living / living.std(0, ddof=1)

    def votes(factor: np.ndarray, groups: int) -> np.ndarray:
        rows = alike(factor, rng.integers(len(factor), size=groups), GROUP, rng)
        least = scaled[rows].var(1, ddof=1).argmin(1)
        return np.bincount(least, minlength=scaled.shape[1])

    train, test = (_each(votes, factors, groups) for groups in (TRAIN, TEST))
    named = np.stack(train).argmax(0)
    right = np.take_along_axis(np.stack(test), named[None], 0)
    return float(right.sum() / np.sum(test))


def beta_vae_score(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> float:
    """The beta-VAE score (Higgins et al. 2017, Sec. 3): how often a linear classifier tells which factor 64 pairs of examples
    share the value of, from the mean of |z_1 - z_2| over the pairs, (k,).

    Multinomial logistic regression (L2, C = 1) on features that are standardised, so that the scale of a code does not matter;
    10,000 such means train it, 5,000 others are asked. Perfect codes have 1, and so may others: that a factor leaves its own
    mark is enough. Chance: 1/f.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(stream_seed(seed, "beta_vae_score"))

    def differences(factor: np.ndarray, groups: int) -> np.ndarray:
        first = rng.integers(len(factor), size=groups * GROUP)
        second = alike(factor, first, 1, rng)[:, 0]
        return np.abs(codes[first] - codes[second]).reshape(groups, GROUP, -1).mean(1)

    train, test = (_each(differences, factors, groups) for groups in (TRAIN, TEST))
    labels, test_labels = (np.repeat(np.arange(len(made)), [len(x) for x in made]) for made in (train, test))
    line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(np.concatenate(train), labels)
    return float(line.score(np.concatenate(test), test_labels))


def _each(made: Callable[[np.ndarray, int], np.ndarray], factors: np.ndarray, groups: int) -> list[np.ndarray]:
    """For each factor its part of so many groups."""
    return [made(factor, groups // factors.shape[1]) for factor in factors.T]


def alike(values: np.ndarray, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """For each of `rows`, (m,), so many rows that have its value, (m, count), itself perhaps among them."""
    order = np.argsort(values, kind="stable")
    sizes = np.bincount(values)
    first, size = (np.cumsum(sizes) - sizes)[values[rows]], sizes[values[rows]]
    return order[first[:, None] + rng.integers(size[:, None], size=(len(rows), count))]
