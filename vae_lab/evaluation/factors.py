"""How well codes are aligned with known factors: information, and what classifiers make of it.

Codes are (n, k), floats; factors (n, f), whole numbers, each with two values or more among the n rows.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from vae_lab.distributions import stream_seed

BINS = 20
TREES, SHUFFLES = 30, 5
CLEAR = 2.0
"""Standard errors below which an importance counts as none."""
DEAD = 0.05
"""The standard deviation below which a code, whose prior has 1, is dead (disentanglement_lib)."""


def alive(codes: np.ndarray) -> np.ndarray:
    """Which codes vary at all, (k,), bool."""
    varying: np.ndarray = codes.std(0, ddof=1) >= DEAD
    return varying


def mutual_information(codes: np.ndarray, factors: np.ndarray, bins: int = BINS) -> np.ndarray:
    """I(code; factor) in nats, (k, f): the plug-in of the counts in `bins` bins of equal width from each code's least value to
    its greatest.

    Of independent ones it is not 0 but about (bins - 1)(values - 1) / 2n (Miller 1955).
    """
    from sklearn.metrics import mutual_info_score

    binned = [np.digitize(code, np.histogram_bin_edges(code, bins)[1:-1]) for code in codes.T]
    return np.array([[mutual_info_score(factor, code) for factor in factors.T] for code in binned])


def entropies(factors: np.ndarray) -> np.ndarray:
    """H(factor) in nats, (f,), of their values' frequencies."""
    shares = [np.unique(factor, return_counts=True)[1] / len(factor) for factor in factors.T]
    return np.array([-(share * np.log(share)).sum() for share in shares])


def mig(information: np.ndarray, entropy: np.ndarray) -> float:
    r"""The mutual information gap (Chen et al. 2018, Eq. 6; with the binned means of disentanglement_lib, not samples of q).

    .. math:: \frac1f \sum_j \frac1{H(v_j)} \Bigl(I(z_{i_j}; v_j) - \max_{i \ne i_j} I(z_i; v_j)\Bigr), \qquad
              i_j = \arg\max_i I(z_i; v_j)

    1: each factor has a code that says all of it and no other says anything; 0: the best two are equal, as are codes that say
    nothing but for the noise of their estimates. A second code of one code alone says nothing.

    Arguments:
        information: of `mutual_information`, (k, f). entropy: of `entropies`, (f,).
    """
    return float(_gaps(information / entropy).mean())


def _gaps(scores: np.ndarray) -> np.ndarray:
    """Of each column the greatest less the second, (f,)."""
    ranked = np.sort(np.vstack([scores, np.zeros(scores.shape[1])]), 0)
    gaps: np.ndarray = ranked[-1] - ranked[-2]
    return gaps


def modularity(information: np.ndarray) -> float:
    r"""Whether each code is of one factor (Ridgeway and Mozer 2018, Eq. 2); the mean over codes of

    .. math:: 1 - \frac{\sum_{j \ne j_i} I(z_i; v_j)^2}{(f - 1) \max_j I(z_i; v_j)^2}, \qquad j_i = \arg\max_j I(z_i; v_j)

    1: each code says something of one factor alone, whatever else says it too; 0: all say as much of every factor. A code
    that says nothing has none and is left out (disentanglement_lib counts 0); the noise of estimates of nothing has some, so
    give it codes that are alive, and compare with codes in another order. 0 where none says anything.

    Arguments:
        information: of `mutual_information`, (k, f), two factors or more.
    """
    squares = information[information.max(1, initial=0) > 1e-12] ** 2  # below: rounding
    if not len(squares):
        return 0.0
    most = squares.max(1)
    return float(1 - ((squares.sum(1) - most) / (most * (squares.shape[1] - 1))).mean())


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, and the importance of codes for factors, (k, f)."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> DCI:
    r"""Eastwood and Williams (2018), Sec. 2, from the importance R (k, f) of codes in predicting each factor:

    .. math:: D = \sum_i \rho_i (1 - H_f(R_{i\cdot} / \textstyle\sum_j R_{ij})), \quad
              \rho_i = \frac{\sum_j R_{ij}}{\sum_{ij} R_{ij}}, \qquad
              C = \frac1f \sum_j (1 - H_k(R_{\cdot j} / \textstyle\sum_i R_{ij}))

    H to the base of its length. I is the share of held-out values that are predicted right, the mean over factors (they have
    an error in its place). Chance: D and C about 0, I the share of the most frequent value. One code alone is complete.

    The predictors are random forests, as in the paper, of trees that choose among all codes at each split. A code's importance
    is by permutation (Breiman 2001, section 10): how much less probability the forest gives to the true value of a
    held-out row once the code is that of another row, the mean over `SHUFFLES` orders; a factor's importances sum to 1. A code
    that has nothing to do with a factor has 0 on average however noisy the others are, which is not so of the fall of
    the impurity (that of trees grown on noise: codes that are factors and noise of sd 1, disentangled by construction, would
    score 0.25). What is below `CLEAR` standard errors counts as 0, and so do all importances for a factor whose held-out
    values are not predicted clearly better than by their most frequent one.

    *Bias*: dependences too weak for the held-out rows to show are counted as none, so that D and C of few rows are too high;
    and codes that say the same stand in for one another, so that what only they say together counts less.

    Two thirds of the rows train, the rest are held out.
    """
    from sklearn.ensemble import RandomForestClassifier

    train, test = _parts(len(codes), seed, "dci")
    spread = codes.std(0)
    codes = (codes - codes.mean(0)) / np.where(spread > 0, spread, 1.0)  # trees tell nothing below 1e-7 apart
    rng = np.random.default_rng(stream_seed(seed, "dci orders"))
    right, importance = [], []
    for j, factor in enumerate(factors.T):
        forest = RandomForestClassifier(
            TREES,
            max_features=None,
            min_samples_leaf=max(1, len(train) // 200),
            random_state=stream_seed(seed, "dci forest", j) % 2**32,
        ).fit(codes[train], factor[train])
        right.append(forest.score(codes[test], factor[test]))
        is_told = _is_told(right[-1], factor[test])
        importance.append(_importances(forest, codes[test], factor[test], rng) if is_told else np.zeros(codes.shape[1]))
    matrix = np.stack(importance, 1)
    return DCI(*disentangled_and_complete(matrix), float(np.mean(right)), matrix)


def _is_told(right: float, values: np.ndarray) -> bool:
    """Checks that the share of right predictions is clearly above that of the most frequent value."""
    most = np.unique(values, return_counts=True)[1].max() / len(values)
    return bool(right > most + 3 * math.sqrt(most * (1 - most) / len(values)))


def _importances(forest: Any, codes: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The importance of each code for one factor, (k,), of sum 1; all 0 where none is clear."""
    known = np.isin(values, forest.classes_)  # a value that no training row has is never predicted
    codes, values = codes[known], np.searchsorted(forest.classes_, values[known])
    n, before = len(codes), _chances(forest, codes, values)
    orders = np.concatenate([rng.permutation(n) for _ in range(SHUFFLES)])
    falls = np.zeros(codes.shape[1])
    for i, code in enumerate(codes.T):
        shuffled = np.tile(codes, (SHUFFLES, 1))
        shuffled[:, i] = code[orders]
        fall = before - _chances(forest, shuffled, np.tile(values, SHUFFLES)).reshape(SHUFFLES, n).mean(0)
        falls[i] = fall.mean() if fall.mean() > CLEAR * fall.std() / math.sqrt(n) else 0.0
    return falls / (falls.sum() or 1.0)


def _chances(forest: Any, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The probability that a forest gives to the true value of each row, (n,)."""
    chances: np.ndarray = forest.predict_proba(codes)[np.arange(len(codes)), values]
    return chances


def disentangled_and_complete(importance: np.ndarray) -> tuple[float, float]:
    """D and C of an importance, (k, f); each 0 where nothing matters."""
    total = importance.sum()
    if not total:
        return 0.0, 0.0
    d = (1 - _entropy(importance)) @ importance.sum(1) / total
    c = (1 - _entropy(importance.T)) @ importance.sum(0) / total
    return float(d), float(c)


def _entropy(weights: np.ndarray) -> np.ndarray:
    """Of each row, to the base of its length; of a row of one, or without weight, 0."""
    from scipy.stats import entropy

    n = weights.shape[1]
    return np.array([entropy(row, base=n) if n > 1 and row.sum() else 0.0 for row in weights])


def sap(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> float:
    """The separated attribute predictability (Kumar et al. 2018, Sec. 3): how much better a factor's value is told by one
    code than by any other, the mean over factors.

    A code tells it by a linear classifier (support vectors, C = 0.01, values balanced), and what counts is the share of held-out
    values that are right, as disentanglement_lib has it of every factor. One code and lines cannot separate more than
    two values in an order: even perfect codes score well below 1; look at what the factors themselves score. Chance: about 0.

    Two thirds of the rows train, the rest are held out.
    """
    from sklearn.svm import LinearSVC

    train, test = _parts(len(codes), seed, "sap")

    def share(code: np.ndarray, factor: np.ndarray) -> float:
        line = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(code[train, None], factor[train])
        return float(line.score(code[test, None], factor[test]))

    return float(_gaps(np.array([[share(code, factor) for factor in factors.T] for code in codes.T])).mean())


def sap_regression(codes: np.ndarray, factors: np.ndarray) -> float:
    """The same of factors whose values are in an order: what counts is the share of the factor's variance that a line
    through the code explains, R^2, the squared correlation. Perfect codes that are linear: 1; chance: about 0."""
    centred, target = (x - x.mean(0) for x in (codes, factors.astype(float)))
    scales = np.outer((centred**2).sum(0), (target**2).sum(0))
    r2 = np.where(codes.var(0)[:, None] > 1e-12, (centred.T @ target) ** 2 / np.maximum(scales, 1e-300), 0)
    return float(_gaps(r2).mean())


def _parts(n: int, seed: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, two thirds, and the others."""
    order = np.random.default_rng(stream_seed(seed, purpose)).permutation(n)
    return order[: 2 * n // 3], order[2 * n // 3 :]
