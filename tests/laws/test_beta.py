"""The laws of schedules of the rate's weight."""

import itertools
import math

import pytest
from law_options import every, node_of

from vae_lab.objectives.beta import Schedule
from vae_lab.options import groups
from vae_lab.testing import check_beta, make


@every("beta")
def test_a_schedule_keeps_its_laws(name: str) -> None:
    check_beta(node_of("beta", name))


def weights(name: str, total: int, **settings: float) -> list[float]:
    beta = make(node_of("beta", name, **settings), total_updates=total)
    return [beta(t) for t in range(total)]


def schedules() -> list[str]:
    """The options that are known before a run begins; a controller has laws of its own."""
    names = groups()["beta"]
    return [name for name in names if isinstance(make(node_of("beta", name), total_updates=1000), Schedule)]


@pytest.mark.parametrize("name", schedules())
def test_a_schedule_ends_at_one_within_the_run(name: str) -> None:
    """The declared defaults all train the ELBO in the end, and say so with `settled`."""
    beta = make(node_of("beta", name), total_updates=1000)
    assert beta.settled < 1000
    assert beta(999) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_a_warm_up_rises(name: str) -> None:
    found = weights(name, 1000)
    assert found[0] < 1e-4
    assert all(a <= b for a, b in itertools.pairwise(found))


def test_closed_forms() -> None:
    assert weights("linear", 100, warmup=20, start=0.2, end=0.6)[5] == pytest.approx(0.3)
    assert weights("linear", 100, warmup=20)[20:] == [1.0] * 80
    assert weights("cosine", 100, warmup=20)[5] == pytest.approx(0.5 * (1 - math.sqrt(0.5)))
    assert weights("sigmoid", 100, midpoint=50, width=10)[60] == pytest.approx(1 / (1 + math.exp(-1)))
    assert set(weights("constant", 10, value=0.5)) == {0.5}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_fraction_is_of_the_run(name: str, fraction: float) -> None:
    assert weights(name, 200, warmup=fraction) == weights(name, 200, warmup=round(fraction * 200))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("cycles", [1, 4, 7])
@pytest.mark.parametrize("total", [10_000, 10_003])
def test_cyclical_has_as_many_zeros_as_cycles_and_the_mean_of_the_formula(
    total: int, cycles: int, ratio: float
) -> None:
    found = weights("cyclical", total, cycles=cycles, ratio=ratio)
    assert found.count(0.0) == cycles
    assert sum(found) / total == pytest.approx(1 - ratio / 2, abs=2e-3)
    assert max(found) <= 1


def test_cyclical_by_the_paper() -> None:
    """Eqs. 6 and 7 of Fu et al. 2019 with f(tau) = tau / R, evaluated as they are written."""
    total, cycles, ratio = 1000, 4, 0.5
    taus = [(t % math.ceil(total / cycles)) / (total / cycles) for t in range(total)]
    expected = [tau / ratio if tau <= ratio else 1.0 for tau in taus]
    assert weights("cyclical", total, cycles=cycles, ratio=ratio) == pytest.approx(expected)
