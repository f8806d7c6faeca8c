"""How well scores tell two groups apart: against scikit-learn, closed forms and simulation."""

import time

import numpy as np
import pytest
from scipy.stats import beta, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from vae_lab.evaluation.detection import detection, threshold


def by_sklearn(normal: np.ndarray, anomalous: np.ndarray) -> tuple[float, float, float]:
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    scores = np.concatenate([normal, anomalous])
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    return roc_auc_score(truth, scores), average_precision_score(truth, scores), false[np.argmax(true >= 0.95)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("levels", [None, 2, 7])
def test_the_measures_are_those_of_scikit_learn_with_ties_too(seed: int, levels: int | None) -> None:
    rng = np.random.default_rng(seed)
    normal, anomalous = rng.normal(size=rng.integers(1, 90)), rng.normal(rng.normal(), 2, rng.integers(1, 90))
    if levels:
        normal, anomalous = np.round(normal * levels / 4), np.round(anomalous * levels / 4)
    found = detection(normal, anomalous, resamples=0)
    assert (found.auroc[0], found.aupr[0], found.fpr95[0]) == pytest.approx(by_sklearn(normal, anomalous), abs=1e-12)


def test_equal_scores_tell_nothing_and_separate_ones_all() -> None:
    equal, apart = (detection(np.zeros(30), np.full(10, one), resamples=50) for one in (0.0, 1.0))
    assert equal.auroc == (0.5, 0.5, 0.5)
    assert equal.fpr95 == (1, 1, 1)
    assert equal.aupr == (0.25, 0.25, 0.25)
    assert apart.auroc == apart.aupr == (1, 1, 1)
    assert apart.fpr95 == (0, 0, 0)
    assert detection(np.ones(3), np.zeros(3), resamples=5).auroc == (0, 0, 0)


def test_random_scores_are_at_one_half() -> None:
    rng = np.random.default_rng(0)
    found = detection(rng.normal(size=4000), rng.normal(size=4000))
    assert found.auroc[0] == pytest.approx(0.5, abs=4 / np.sqrt(12 * 2000))
    assert found.fpr95[0] == pytest.approx(0.95, abs=0.02)


def test_two_gaussians_have_their_closed_form() -> None:
    """N(0, 1) and N(d, 1): AUROC Phi(d / sqrt 2), and false positives at 95 % 1 - Phi(d + Phi^-1(0.05))."""
    rng, d = np.random.default_rng(1), 1.5
    found = detection(rng.normal(size=20_000), rng.normal(d, size=20_000), resamples=200)
    for (x, low, high), truth in ((found.auroc, norm.cdf(d / 2**0.5)), (found.fpr95, norm.sf(d + norm.ppf(0.05)))):
        assert abs(x - truth) < 2 * (high - low)
        assert 0 < high - low < 0.05


@pytest.mark.slow
def test_the_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng, d, covered = np.random.default_rng(2), 1.0, 0
    for i in range(300):
        _, low, high = detection(rng.normal(size=100), rng.normal(d, size=60), resamples=300, seed=i).auroc
        covered += low <= norm.cdf(d / 2**0.5) <= high
    assert covered / 300 == pytest.approx(0.95, abs=0.04)


def test_the_width_is_that_of_the_exact_standard_error() -> None:
    """Of random scores: (n + m + 1) / (12 n m) (Mann and Whitney 1947)."""
    rng = np.random.default_rng(3)
    _, low, high = detection(rng.normal(size=800), rng.normal(size=500), resamples=2000).auroc
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(1301 / (12 * 800 * 500)), rel=0.15)


def test_the_seed_makes_the_intervals_and_the_order_of_the_examples_nothing() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=50), rng.normal(1, size=40)
    assert detection(a, b, seed=1) == detection(a, b, seed=1)
    assert detection(a, b, seed=1).auroc[1:] != detection(a, b, seed=2).auroc[1:]
    assert detection(a, b).auroc[0] == detection(a[::-1], b[::-1]).auroc[0]
    assert detection(a, b).auroc[0] == pytest.approx(detection(np.exp(a), np.exp(b)).auroc[0])


def test_ten_thousand_against_ten_thousand_take_seconds() -> None:
    rng = np.random.default_rng(5)
    began = time.process_time()
    detection(rng.normal(size=10_000), rng.normal(size=10_000), resamples=1000)
    assert time.process_time() - began < 15


@pytest.mark.parametrize(
    "bad", [(np.zeros(0), np.ones(3)), (np.ones(3), np.zeros(0)), (np.array([np.nan]), np.ones(3))]
)
def test_nothing_to_compare_is_refused(bad: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="each needs one, and none NaN"):
        detection(*bad)


@pytest.mark.parametrize(("n", "alpha"), [(99, 0.05), (30, 0.1), (19, 0.05), (500, 0.013)])
def test_false_alarms_are_as_rare_as_they_were_asked_to_be(n: int, alpha: float) -> None:
    """Of uniform scores the rate is one minus the threshold, a Beta(n + 1 - k, k), whose mean is 1 - k / (n + 1)."""
    rng = np.random.default_rng(n)
    rates = 1 - np.array([threshold(rng.random(n), alpha) for _ in range(20_000)])
    k = np.ceil((n + 1) * (1 - alpha) - 1e-9)
    law = beta(n + 1 - k, k)
    assert law.mean() <= alpha + 1e-12
    assert law.mean() > alpha - 1 / (n + 1)
    assert rates.mean() == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(20_000))
    assert np.quantile(rates, [0.1, 0.9]) == pytest.approx(law.ppf([0.1, 0.9]), abs=0.01)


def test_ties_raise_no_more_alarms() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(5000):
        scores = rng.integers(0, 4, 51)
        rates.append((np.arange(4) > threshold(scores[:50], 0.3)).mean())
    assert np.mean(rates) <= 0.3


def test_too_few_examples_for_so_few_alarms_are_refused() -> None:
    assert threshold(np.arange(99), 0.01) == 98
    with pytest.raises(ValueError, match=r"0.01 false alarms need 99 normal examples"):
        threshold(np.arange(98), 0.01)
