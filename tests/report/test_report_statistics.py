"""The comparison's arithmetic: intervals, choice, convergence."""

import numpy as np
import pytest

from vae_lab.report.convergence import trend
from vae_lab.report.statistics import Difference, choose, difference_within, summarize


@pytest.mark.parametrize("d", [[], [3.0], [0.3, 0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_no_interval_without_two_observations_that_differ(d: list[float]) -> None:
    difference = difference_within(d, 0.1)
    assert difference.low is None
    assert not difference.is_shown


def test_no_interval_where_none_can_be_given() -> None:
    assert difference_within([1.0, 2.0], np.inf) == difference_within([1.0, 2.0], None) == Difference(1.5, 2)


def test_pairs_that_are_all_equal_to_zero_claim_nothing() -> None:
    difference = difference_within([0.0, 0.0, 0.0], 0.1)
    assert difference == Difference(0.0, 3, 0.0, 0.0)
    assert not difference.is_shown
    assert not difference.negated().is_shown


def test_a_difference_read_the_other_way_round() -> None:
    difference = difference_within([1.0, 2.0, 4.0], 0.5)
    again = difference_within([-1.0, -2.0, -4.0], 0.5)
    assert (difference.negated().mean, difference.negated().low) == pytest.approx((again.mean, again.low))
    assert difference.is_shown
    assert not difference.unasked.is_shown


def test_the_choice_is_made_over_the_seeds_that_all_candidates_share() -> None:
    candidates = {"lucky": {"0": -10.0}, "steady": {"0": -9.0, "1": -30.0}}
    assert choose(candidates) == "steady"
    assert choose({"a": {"0": -3.0}, "b": {"1": -2.0}}) == "b"


def test_the_choice_honours_direction_order_and_absence() -> None:
    assert choose({"a": {"0": 2.0}, "b": {"0": 1.0}}, higher_is_better=False) == "b"
    assert choose({"a": {"0": 1.0}, "b": {"0": 1.0}}) == "a"
    assert choose({"failed": {}, "b": {"0": 1.0}}) == "b"
    assert choose({"failed": {}}) is None


def test_one_run_has_no_spread() -> None:
    assert summarize([2.0]).sd is None
    assert summarize([1.0, 3.0]).sd == pytest.approx(2**0.5)
    assert summarize([]).mean is None


def curve(rise: float, noise: float, points: int = 50) -> tuple[list[int], list[float]]:
    rng = np.random.default_rng(0)
    t = np.arange(1, points + 1) / points
    values = -20 + rise * np.clip(t - 0.8, 0, None) / 0.2 + rng.normal(0, noise, points)
    return list(range(100, 100 * points + 1, 100)), list(values)


@pytest.mark.parametrize(
    ("rise", "noise", "expected"),
    [(0, 0, False), (0.1, 0.001, False), (1, 0.05, True), (0, 2, False), (-1, 0.05, False)],
)
def test_a_run_is_rising_by_more_than_nats_and_more_than_its_noise(rise: float, noise: float, expected: bool) -> None:
    found = trend(*curve(rise, noise))
    assert found is not None
    assert found.is_rising is expected
    fallen = trend(*curve(-rise, noise))
    assert fallen is not None
    assert fallen.is_falling is expected


def test_a_rise_is_told_in_nats_over_the_last_fifth() -> None:
    found = trend(*curve(1.0, 0.0))
    assert found is not None
    assert found.rise == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("points", "share"), [(8, 0.083), (20, 0.069), (40, 0.042)])
def test_how_many_converged_noisy_curves_seem_to_rise(points: int, share: float) -> None:
    """As `Trend` and `docs/report.md` say."""
    rng, x = np.random.default_rng(points), np.arange(1, points + 1)
    found = [trend(list(x), list(rng.normal(0, 1, points))) for _ in range(2000)]
    assert np.mean([one.is_rising for one in found if one]) == pytest.approx(share, abs=0.02)


def test_few_validations_are_not_judged() -> None:
    assert trend(*curve(5, 0, points=7)) is None
    assert trend([], []) is None
