"""A fair comparison, over simulated studies: identical arms get no winner, a real effect gets one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vae_lab import store
from vae_lab.report.cells import Row, Study
from vae_lab.report.verdict import Comparison, compare, pairs

STUDIES = 200
ALLOWED = 10  # one in twenty of 200: the bound itself, with no allowance on top
REMEDIES = ("kl_annealing", "cyclical", "free_bits", "beta_below_one", "delta")


def simulate(rng: np.random.Generator, seeds: int, effect: float = 0.0, loose: float = 0.1) -> Study:
    """Seven arms on the same seeds: a reference, five remedies of which one has two strengths, and a control. The
    seed's luck is shared by the arms; `effect` is what free bits really adds to the rate, and costs."""
    luck = rng.normal(0, 0.5, size=(seeds, 2))
    cells = [("vanilla", "vanilla"), *((arm, arm) for arm in REMEDIES), ("free_bits", "strong"), ("control", "control")]
    rows = [
        Row(arm, cell, {}, {"seed": s}, store.RunDirectory(Path(f"{cell}{s}")), "completed", "", {"metrics": found})
        for arm, cell in cells
        for s in range(seeds)
        for found in [measure(rng, luck[s], effect if arm == "free_bits" else 0.0, loose)]
    ]
    return Study(Path("simulated"), {"reference": "vanilla", "controls": ["control"]}, tuple(rows))


def measure(rng: np.random.Generator, luck: np.ndarray, effect: float, loose: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for split in ("val", "test"):
        rate = 2.0 + luck[0] + effect + rng.normal(0, 0.2)
        elbo = -20 + luck[1] - effect + rng.normal(0, 0.3)
        nll = -elbo - 0.5 + rng.normal(0, 0.1)
        found |= {f"{split}/rate": rate, f"{split}/elbo": elbo, f"{split}/nll": nll}
        found[f"{split}/nll_tenth"] = nll + loose * rng.random()
    return found


def studies(seed: int, seeds: int, **kwargs: float) -> Iterator[Study]:
    rng = np.random.default_rng(seed)
    return (simulate(rng, seeds, **kwargs) for _ in range(STUDIES))


@pytest.fixture(scope="module")
def identical() -> dict[tuple[int, float], list[list[Comparison]]]:
    """Comparisons of simulated studies in which every arm is the same, by number of seeds and looseness of NLL."""
    return {(n, loose): [compare(s) for s in studies(0, n, loose=loose)] for n in (3, 5) for loose in (0.1, 1.0)}


@pytest.mark.parametrize("case", [(3, 0.1), (3, 1.0), (5, 0.1), (5, 1.0)])
def test_identical_arms_get_a_winner_at_most_one_time_in_twenty(case: Any, identical: Any) -> None:
    named = sum(any(c.is_winner for c in comparisons) for comparisons in identical[case])
    assert named <= ALLOWED


def test_identical_arms_get_a_claim_in_either_direction_at_most_one_time_in_twenty(identical: Any) -> None:
    """All claims, of worse arms too, hold together at 95 %: over 800 studies, a true rate of one in twenty gives more
    than the 99 % point of its binomial (55) one time in a hundred."""
    claimed = [any(c.is_claim for c in comparisons) for found in identical.values() for comparisons in found]
    assert sum(claimed) <= stats.binom.ppf(0.99, len(claimed), 0.05)


def test_both_measures_of_likelihood_were_exercised() -> None:
    effects = [compare(study) for loose in (0.1, 2.0) for study in studies(3, 5, effect=3.0, loose=loose)]
    assert {c.measure for comparisons in effects for c in comparisons if c.is_winner} == {"NLL", "ELBO"}


def test_the_bound_is_a_sharp_test() -> None:
    """A rule that named winners 10 % of the time would pass 10 of 200 with a probability of under 1 %."""
    assert stats.binom.cdf(ALLOWED, STUDIES, 0.10) < 0.01


@pytest.mark.parametrize(("seeds", "effect"), [(3, 6.0), (5, 2.0)])
def test_a_large_effect_is_found(seeds: int, effect: float) -> None:
    found = [{c.arm.name for c in compare(study) if c.is_winner} for study in studies(1, seeds, effect=effect)]
    assert sum("free_bits" in names for names in found) > 0.9 * STUDIES


def tuned(rng: np.random.Generator, settings: int, seeds: int = 5) -> Study:
    """A reference that was tuned, and one remedy that does nothing. Validation and test share the luck of a training."""
    rows = []
    for arm, cell in [*(("vanilla", f"vanilla{i}") for i in range(settings)), ("delta", "delta")]:
        for s in range(seeds):
            elbo, rate = -20 + rng.normal(0, 0.3), 2 + rng.normal(0, 0.2)
            found = {f"{split}/{name}": v for split in ("val", "test") for name, v in (("elbo", elbo), ("rate", rate))}
            run = store.RunDirectory(Path(f"{cell}s{s}"))
            rows.append(Row(arm, cell, {}, {"seed": s}, run, "completed", "", {"metrics": found}))
    return Study(Path("simulated"), {"reference": "vanilla", "controls": []}, tuple(rows))


def test_a_remedy_is_not_blamed_for_the_tuning_of_its_reference() -> None:
    rng = np.random.default_rng(2)
    claimed = [any(c.is_claim for c in compare(tuned(rng, settings=20))) for _ in range(400)]
    assert sum(claimed) <= stats.binom.ppf(0.99, len(claimed), 0.05)


def toss(rng: np.random.Generator, seeds: int) -> Study:
    """Six identical arms whose runs collapse or do not, as a coin falls: rate, NLL and ELBO each by one of its own."""
    rows = []
    for arm in ("vanilla", *REMEDIES):
        for s in range(seeds):
            rate, elbo = (4 * rng.integers(2) + 0.01 * rng.normal() for _ in range(2))
            metrics = {f"test/{name}": v for name, v in (("rate", rate), ("elbo", elbo), ("nll", 4 - elbo))}
            run = store.RunDirectory(Path(f"{arm}{s}"))
            rows.append(Row(arm, arm, {}, {"seed": s}, run, "completed", "", {"metrics": metrics}))
    return Study(Path("simulated"), {"reference": "vanilla", "controls": []}, tuple(rows))


@pytest.mark.parametrize("primary", ["rate", "likelihood"])
def test_runs_that_collapse_as_a_coin_falls_make_no_winner(primary: str) -> None:
    """With three seeds a paired t test claims something in a fifth of such studies and more."""
    rng = np.random.default_rng(4)
    tossed = [toss(rng, 3) for _ in range(STUDIES)]
    asked = [replace(study, facts={**study.facts, "primary": primary}) for study in tossed]
    claimed = sum(any(c.is_claim for c in compare(study)) for study in asked)
    assert claimed <= stats.binom.ppf(0.99, STUDIES, 0.05)
    careless = sum(_is_careless(study, claims=3 * len(REMEDIES)) for study in tossed)
    assert careless > 1.5 * ALLOWED


def test_likelihood_is_asked_of_those_alone_whose_rate_differs() -> None:
    for study in list(studies(5, 5, effect=3.0))[:20]:
        for c in compare(study):
            assert c.rate.low is not None
            assert (c.cost.low is not None) == c.rate.is_shown


def test_the_study_says_which_question_comes_first() -> None:
    study = next(studies(5, 5, effect=3.0))
    led = replace(study, facts={**study.facts, "primary": "likelihood"})
    for c in compare(led):
        assert c.cost.low is not None
        assert (c.rate.low is not None) == c.cost.is_shown
    assert any(c.is_claim for c in compare(led))


def _is_careless(study: Study, claims: int) -> bool:
    """A paired t test of every arm, with Bonferroni's correction for so many claims."""
    for arm in study.remedies:
        differences = np.array(pairs(arm.chosen, study.reference.chosen, "test/rate"))
        half = stats.t.ppf(1 - 0.05 / (2 * claims), len(differences) - 1) * differences.std(ddof=1)
        if abs(differences.mean()) > half / np.sqrt(len(differences)):
            return True
    return False


def test_without_the_correction_identical_arms_would_get_winners() -> None:
    """The simulation has the power to see a careless rule: intervals of a single claim, read for every arm."""
    assert sum(_is_careless(study, claims=1) for study in studies(0, 3)) > 2 * ALLOWED


def told_twice(rng: np.random.Generator, seeds: int, times: int) -> Study:
    """Identical arms whose every run is told at several keys of `over`, as where an evaluation's setting is crossed."""
    rows = []
    for arm in ("vanilla", *REMEDIES):
        for s in range(seeds):
            value = {"metrics": {"test/rate": rng.normal(), "test/elbo": rng.normal(), "test/nll": rng.normal()}}
            run = store.RunDirectory(Path(f"{arm}{s}"))
            rows += [Row(arm, arm, {}, {"seed": s, "k": k}, run, "completed", "", value) for k in range(times)]
    return Study(Path("simulated"), {"reference": "vanilla", "controls": []}, tuple(rows))


def test_a_run_that_is_told_at_several_keys_counts_once() -> None:
    once, twice = (compare(told_twice(np.random.default_rng(5), 3, times)) for times in (1, 4))
    assert [c.rate for c in twice] == [c.rate for c in once]
    assert {c.rate.n for c in twice} == {3}


def test_an_arm_that_shares_its_runs_with_another_has_its_interval() -> None:
    rng = np.random.default_rng(6)
    rows = []
    for arm, cell, shift in (("vanilla", "vanilla", 0), ("strong", "strong", 4), ("same", "same", 4)):
        for s in range(4):
            run = store.RunDirectory(Path(f"{'strong' if shift else 'vanilla'}{s}"))
            value = shift + np.random.default_rng([7, s, shift]).normal(0, 0.1)
            rows.append(Row(arm, cell, {}, {"seed": s}, run, "completed", "", {"metrics": {"test/rate": value}}))
    rows += [
        Row("other", "other", {}, {"seed": s}, store.RunDirectory(Path(f"o{s}")), "completed", "",
            {"metrics": {"test/rate": rng.normal(0, 0.1)}})
        for s in range(4)
    ]  # fmt: skip
    strong, same, _ = compare(Study(Path("simulated"), {"reference": "vanilla"}, tuple(rows)))
    assert strong.rate.is_shown
    assert same.rate == strong.rate
