"""Intervals of means and comparisons of pairs, against scipy's own tests; the Pareto front; searches."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic_study import Truth, write_run

from vae_lab import report, store
from vae_lab.report.cells import Cell, Row
from vae_lab.report.embed import pareto
from vae_lab.report.pairwise import compare_pairs
from vae_lab.report.search import parallel
from vae_lab.report.statistics import mean_interval, prepare_intervals, summarize


def cell(name: str, **metrics: list[float]) -> Cell:
    """A cell whose runs measured those numbers, one a seed."""
    count = len(next(iter(metrics.values())))
    found = [{"test/" + key: values[s] for key, values in metrics.items()} for s in range(count)]
    runs = [store.RunDirectory(Path(f"{name}{s}")) for s in range(count)]
    rows = (Row(name, name, {}, {"seed": s}, runs[s], "completed", "", {"metrics": found[s]}) for s in range(count))
    return Cell(name, name, tuple(rows))


@pytest.mark.parametrize("n", [2, 3, 9])
def test_below_ten_values_the_interval_is_students(n: int) -> None:
    x = np.random.default_rng(n).normal(3, 2, n)
    found = mean_interval(list(x))
    assert found is not None
    assert found.method == "t"
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_from_ten_values_on_it_is_the_bootstraps_and_follows_a_skew() -> None:
    x = list(np.random.default_rng(0).lognormal(0, 1.2, 30))
    found = mean_interval(x)
    assert found is not None
    assert found.method == "bootstrap"
    assert found.high - np.mean(x) > 1.2 * (np.mean(x) - found.low)  # a t interval has its mean in the middle
    assert mean_interval(x[:9])[2] == "t"  # type: ignore[index]


def test_of_many_values_the_bootstrap_and_t_tell_nearly_the_same() -> None:
    for seed in range(5):
        x = list(np.random.default_rng(seed).exponential(size=101))
        t, bootstrap = mean_interval(x), mean_interval(x[:100])
        assert t is not None
        assert bootstrap is not None
        assert (t.method, bootstrap.method) == ("t", "bootstrap")
        assert bootstrap[:2] == pytest.approx(t[:2], abs=0.2 * (t.high - t.low))


def test_intervals_found_together_are_those_found_one_by_one() -> None:
    rng = np.random.default_rng(1)
    values = [list(rng.normal(size=n)) for n in (12, 3, 12, 10)] + [[1.0] * 12]
    together = [summarize(v) for v in values]
    prepare_intervals(together)
    for found, alone in zip(together, map(mean_interval, values), strict=True):
        assert found.interval is not None
        assert alone is not None
        assert found.interval[:2] == pytest.approx(alone[:2], abs=1e-12)
        assert found.interval.method == alone.method
    assert together[-1].interval == (1.0, 1.0, "t")


def test_one_value_has_no_interval() -> None:
    assert mean_interval([1.0]) is None
    assert summarize([]).interval is None


def test_the_bootstrap_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of ten normal values it falls a little short of 95 %, as is known; a broken one would fall far."""
    summaries = [summarize(list(x)) for x in np.random.default_rng(2).normal(size=(1000, 10))]
    prepare_intervals(summaries)
    held = np.mean([s.interval.low <= 0 <= s.interval.high for s in summaries if s.interval])
    assert 0.87 < held < 0.97


@pytest.mark.parametrize("n", [3, 7, 12])
def test_a_pair_has_the_numbers_of_scipys_tests(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 1, n), rng.normal(0, 1, n)
    (pair,) = compare_pairs([cell("a", rate=list(a)), cell("b", rate=list(b))], "test/rate")
    expected = stats.ttest_rel(a, b)
    ends = expected.confidence_interval(0.95)
    assert (pair.n, pair.mean) == (n, pytest.approx(np.mean(a - b)))
    assert (pair.p, pair.low, pair.high) == pytest.approx((expected.pvalue, ends.low, ends.high))
    together = ((pair.high_all or 0) - (pair.low_all or 0), pair.high_all or 0)
    assert together == pytest.approx((ends.high - ends.low, ends.high), rel=0.05)  # one claim, simulated
    assert pair.shapiro == pytest.approx(stats.shapiro(a - b).pvalue)
    assert pair.wilcoxon == (pytest.approx(stats.wilcoxon(a - b).pvalue) if n >= 6 else None)
    assert (pair.low_bootstrap is None) == (n < 10)


def test_the_p_of_a_pair_does_not_depend_on_the_pairs_beside_it() -> None:
    rng = np.random.default_rng(4)
    smooth, base = list(rng.normal(0.5, 1, 14)), [0.0] * 14
    tied = [float(x) for x in rng.integers(-3, 4, 14)]
    alone = compare_pairs([cell("a", rate=smooth), cell("b", rate=base)], "test/rate")[0]
    beside = compare_pairs([cell("a", rate=smooth), cell("b", rate=base), cell("c", rate=tied)], "test/rate")
    assert alone.wilcoxon == beside[0].wilcoxon == pytest.approx(stats.wilcoxon(smooth).pvalue)
    assert beside[2].wilcoxon == pytest.approx(stats.wilcoxon(np.subtract(base, tied)).pvalue)


def test_all_pairs_are_told_and_hold_together() -> None:
    rng = np.random.default_rng(3)
    cells = [cell(f"arm{i}", rate=list(rng.normal(0.3 * i, 0.5, 5))) for i in range(6)]
    together = compare_pairs(cells, "test/rate")
    assert [(pair.a, pair.b) for pair in together] == list(itertools.combinations(range(6), 2))
    with_one = compare_pairs(cells, "test/rate", wanted=[(3, i) for i in range(6) if i != 3])
    assert [(pair.a, pair.b) for pair in with_one] == [(3, i) for i in range(6) if i != 3]
    widths = {(p.a, p.b): p.high_all - p.mean for p in [*together, *with_one] if p.high_all is not None}
    assert widths[3, 4] < {(p.a, p.b): p.high_all - p.mean for p in together if p.high_all}[3, 4]


@pytest.mark.parametrize("tried", [(1, 20), (20, 1), (6, 6)])
def test_a_pair_of_arms_chosen_among_many_settings_differs_at_most_one_time_in_twenty(tried: tuple[int, int]) -> None:
    """The best of many equal settings looks better than it is: training's luck is in what chooses and in what is told."""
    rng, shown, careless = np.random.default_rng(6), 0, 0
    for _ in range(400):
        best = [max(rng.normal(0, 1, (settings, 5)), key=np.mean) for settings in tried]
        cells = [cell(f"arm{i}", rate=list(values)) for i, values in enumerate(best)]
        (pair,), (alone,) = compare_pairs(cells, "test/rate", tried=tried), compare_pairs(cells, "test/rate")
        shown += pair.low_all is not None and (pair.low_all > 0 or pair.high_all < 0)
        careless += (alone.p or 1) < 0.05
    assert shown <= stats.binom.ppf(0.99, 400, 0.05)
    assert careless > stats.binom.ppf(0.99, 400, 0.05) or tried == (6, 6)


@pytest.mark.parametrize("is_coin", [False, True])
def test_identical_arms_are_shown_to_differ_at_most_one_study_in_twenty(is_coin: bool) -> None:
    rng = np.random.default_rng(4)
    shown = 0
    for _ in range(200):
        noise = rng.normal(0, 1, (5, 3)) if not is_coin else rng.integers(2, size=(5, 3)) + rng.normal(0, 0.01, (5, 3))
        pairs = compare_pairs([cell(f"arm{i}", rate=list(values)) for i, values in enumerate(noise)], "test/rate")
        shown += any((pair.low_all or -1) > 0 or (pair.high_all or 1) < 0 for pair in pairs)
    assert shown <= stats.binom.ppf(0.99, 200, 0.05)


def test_seeds_that_change_nothing_are_one_observation() -> None:
    (pair,) = compare_pairs([cell("a", rate=[2.0, 2.0, 2.0]), cell("b", rate=[1.0, 1.0, 1.0])], "test/rate")
    assert (pair.n, pair.mean, pair.low, pair.p, pair.low_all) == (3, 1.0, None, None, None)


def test_arms_that_share_no_seed_are_no_pair() -> None:
    assert compare_pairs([cell("a", rate=[1.0]), cell("b", nll=[1.0])], "test/rate") == []


def test_the_front_has_who_is_beaten_by_nobody_in_both() -> None:
    rng = np.random.default_rng(5)
    points = [(float(nll), float(units)) for nll, units in zip(rng.random(40), rng.integers(0, 9, 40), strict=True)]
    points += points[:20]  # runs that arms share
    cells = {i: cell(f"arm{i}", nll=[nll], active_units=[units]) for i, (nll, units) in enumerate(points)}
    beaten = {
        i
        for i, (nll, units) in enumerate(points)
        for other, more in points
        if other <= nll and more >= units and (other, more) != (nll, units)
    }
    front = pareto(cells)
    assert set(front) == set(cells) - beaten
    assert front == sorted(front, key=lambda i: points[i][0])


def test_a_search_has_an_axis_for_every_setting_that_varies_and_the_best_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for i in range(12):
        settings = {
            "seed": 0,
            "latent_dim": 8,
            "optimizer": {"lr": float(10 ** rng.uniform(-4, -1))},
            "beta": {"value": i},
        }
        write_run(tmp_path, f"trial{i}", 0, Truth(2.0, -20 - 0.5 * i), settings=settings, arm=None)
    made = report.build(tmp_path)
    drawn = parallel(made.study)
    assert [(axis["name"], axis["log"]) for axis in drawn["axes"]] == [
        ("optimizer.lr", True),
        ("beta.value", False),
        ("val/elbo", False),
    ]
    elbo = [float(text) for text in drawn["axes"][-1]["text"]]
    assert elbo == sorted(elbo, reverse=True)
    assert len(drawn["runs"]) == 12
    assert 'data-view="search"' in made.html
