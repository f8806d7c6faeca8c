"""The laws of what holds the rate or the distortion: controllers of the weight, and transforms with a target."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_options import node_of
from torch import Tensor, nn

from vae_lab import options
from vae_lab.combinations import FREE, traits_of
from vae_lab.estimators import linear
from vae_lab.objectives.beta import Schedule, updates
from vae_lab.objectives.controllers import PI, Controller, Geco, SoftFreeBits, TargetRate
from vae_lab.objectives.rate import Capacity, FreeBits, Hinge
from vae_lab.testing import make, rate_terms
from vae_lab.testing.controllers import check_controller, tell
from vae_lab.traits import Traits, conflicts

CONTROLLERS = [
    name
    for name in options.groups()["beta"]
    if not isinstance(make(node_of("beta", name), total_updates=100), Schedule)
]
controllers = pytest.mark.parametrize("name", CONTROLLERS)


@controllers
def test_a_controller_keeps_its_laws(name: str) -> None:
    check_controller(node_of("beta", name))


# ---- whatever it is told

numbers = st.floats(width=32) | st.sampled_from([math.inf, -math.inf, math.nan, 1e30, -1e30, 0.0, 10.0, 20.0])


@controllers
@settings(max_examples=40, deadline=None)
@given(told=st.lists(st.tuples(numbers, numbers, st.integers(1, 20)), max_size=12))
def test_the_weight_stays_in_its_range(name: str, told: list[tuple[float, float, int]]) -> None:
    controller = make(node_of("beta", name))
    ends = (
        (1 / controller.highest, 1 / controller.lowest) if name == "geco" else (controller.lowest, controller.highest)
    )
    for distortion, rate, times in told:
        assert ends[0] <= tell(controller, distortion, rate, times) <= ends[1]


@pytest.mark.parametrize("kind", [Geco, PI, SoftFreeBits])
def test_a_range_that_is_none_is_refused(kind: type[Controller]) -> None:
    with pytest.raises(ValueError, match=r"beta\.lowest: 2\.0 given; must be at most beta\.highest = 1\.0"):
        kind(lowest=2.0, highest=1.0)


# ---- the updates, by hand


@pytest.mark.parametrize("excess", [-3.0, 0.5, 8.0])
def test_geco_by_hand(excess: float) -> None:
    """A constant excess c: log lambda grows by s c (1 - alpha^i) at the i-th update."""
    n, s, alpha = 37, 0.002, 0.9
    controller = Geco(20.0, speed=s, momentum=alpha)
    weight = tell(controller, 20 + excess, 1.0, n)
    assert -math.log(weight) == pytest.approx(s * excess * sum(1 - alpha**i for i in range(1, n + 1)))
    assert [float(a) for a in controller.weights(0)] == pytest.approx([1 / weight, 1.0])


def test_geco_forgets_an_outlier() -> None:
    """One distortion of 1e30 moves the multiplier by less than a hundred updates at the largest step would."""
    controller = Geco(20.0)
    tell(controller, 1e30, 1.0)
    assert 1 < 1 / tell(controller, 20.0, 1.0, 1000) < math.exp(100 * Geco.largest_step)


def test_target_rate_by_hand() -> None:
    controller = TargetRate(10.0, speed=0.01)
    assert tell(controller, 20.0, 12.0, 30) == 1.0
    assert tell(controller, 20.0, 9.0, 30) == pytest.approx(0.7)
    assert tell(controller, 20.0, 13.0, 5) == pytest.approx(0.85)
    assert tell(controller, 20.0, 9.0, 500) == 0.0


@pytest.mark.parametrize("rate", [10.0, 11.5, 14.0])
def test_pi_by_hand(rate: float) -> None:
    n, error = 20, 10.0 - rate
    controller = PI(10.0, proportional=0.01, integral=0.001, start=0.3)
    expected = 0.3 - n * 0.001 * error + 0.01 / (1 + math.exp(error))
    assert tell(controller, 20.0, rate, n) == pytest.approx(expected)


@pytest.mark.parametrize("up", [True, False])
def test_pi_leaves_its_end_at_once(up: bool) -> None:
    """Anti-windup: after 2000 updates at an end, the first error of the other sign moves the weight off it."""
    controller = PI(10.0, integral=0.01)
    end = tell(controller, 20.0, 60.0 if up else 1.0, 2000)
    assert end == (1.0 if up else pytest.approx(0.0, abs=1e-12))
    assert abs(tell(controller, 20.0, 9.0 if up else 11.0) - end) > 0.005


def test_soft_free_bits_by_hand() -> None:
    controller = SoftFreeBits(10.0, speed=0.1)
    assert tell(controller, 20.0, 9.99, 3) == pytest.approx(1.1**-3)
    assert tell(controller, 20.0, 10.4, 50) == pytest.approx(1.1**-3)
    assert tell(controller, 20.0, 10.6, 2) == pytest.approx(1 / 1.1)
    assert tell(controller, 20.0, 10.6, 2) == 1.0


# ---- the loop, closed: a model that follows its weight slowly and is seen in batches

EIGENVALUES = torch.logspace(0.7, -1.8, 20, dtype=torch.float64)  # a natural rate of 2.5 nats
FOLLOWS = 30  # updates until a model has done most of what a new weight asks for


@controllers
def test_the_defaults_hold_their_target(name: str) -> None:
    """From a collapsed start, with its default settings, on a linear model whose rate and distortion lag behind."""
    controller = make(node_of("beta", name))
    noise = torch.randn(6000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(0.4).tolist()
    lam, constant = EIGENVALUES.tolist(), 10 * math.log(2 * math.pi)
    rate, distortion, weight, seen = 0.0, constant + sum(lam) / 2, float(controller(0)), []
    for error in noise:
        level = max(weight, 1e-3)
        rate += (sum(max(0.0, 0.5 * math.log(value / level)) for value in lam) - rate) / FOLLOWS
        distortion += (constant + 0.5 * sum(min(value, level) for value in lam) - distortion) / FOLLOWS
        weight = tell(controller, distortion - error, rate + error)
        seen.append((distortion, rate, weight))
    last = torch.tensor(seen[-1500:], dtype=torch.float64)
    distortion, rate, weight = last.mean(0).tolist()
    if name == "geco":
        truth = linear.at_distortion(EIGENVALUES, 20, 1.0, controller.distortion)
        assert distortion == pytest.approx(controller.distortion, abs=0.05)
    else:
        truth = linear.at_total_rate(EIGENVALUES, 20, 1.0, rate)
        most = 1.05 if name == "soft_free_bits" else 1.01
        assert 0.99 * controller.nats <= rate <= most * controller.nats
    assert weight == pytest.approx(truth.water_level, rel=0.05)
    assert float(last[:, 2].std()) < 0.1 * weight, "the weight swings"


# ---- the law refuses


class WindsUp(PI):
    """The integral goes on at the ends of the range, as in the published code for images."""

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        error = self.nats - rate
        total = self.sum - self.integral * error
        weight = self.proportional * torch.sigmoid(-error) + total
        return {"sum": total, "weight": weight.clamp(self.lowest, self.highest)}


class Overflows(PI):
    """1 / (1 + e^error), as it is written, and its inverse where the error is negative."""

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        state = super().moved(distortion, rate)
        power = (self.nats - rate).exp()
        return state | {"weight": (state["weight"] * power / power).clamp(self.lowest, self.highest)}


class Backwards(TargetRate):
    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        return super().moved(distortion, 2 * self.nats - rate)


class Poisoned(SoftFreeBits):
    """An infinite rate counts as one that is too high."""

    def __init__(self) -> None:
        super().__init__(speed=0.05)

    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        self.weight.copy_(self.moved(distortion, rate)["weight"])


class Unbounded(Geco):
    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        state = super().moved(distortion, rate)
        return state | {"multiplier": self.multiplier * (self.speed * state["average"]).exp()}


class Forgetful(PI):
    """Its integral is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        total = self.sum
        del self._buffers["sum"]
        self.sum = total


class KeepsTheGraph(TargetRate):
    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        if distortion.isfinite() and rate.isfinite():
            self.multiplier = self.moved(distortion, rate)["multiplier"]


class Halved(TargetRate):
    _apply = nn.Module._apply


class OneWeight(Geco):
    """Reports lambda, not the weight of the rate."""

    def forward(self, t: int) -> Tensor:
        return self.multiplier.clone()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (WindsUp, "does not come back"),
        (Overflows, "its weight is nan"),
        (Backwards, "ends at"),
        (Poisoned, "its state changes"),
        (Unbounded, "still moves"),
        (Forgetful, "does not restore"),
        (KeepsTheGraph, "keeps the graph"),
        (Halved, "types of the state"),
        (OneWeight, "ends at"),
    ],
)
def test_a_wrong_controller_is_refused(wrong: type[Controller], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_controller(wrong, updates=500)


# ---- transforms with a target


def value(transform: Any, rates: Tensor, t: int = 10**6) -> float:
    return float(transform(rate_terms(rates), torch.tensor(transform.target(t))))


@pytest.mark.parametrize("power", [1, 2])
def test_capacity_is_its_formula(power: int) -> None:
    rates = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    mean = sum(rates.flatten().tolist()) / 6
    transform = Capacity(100, nats=5.0, start=1.0, warmup=20, gamma=3.0, power=power)
    for t, target in ((0, 1.0), (5, 2.0), (10, 3.0), (20, 5.0), (90, 5.0)):
        assert transform.target(t) == pytest.approx(target)
        assert value(transform, rates, t) == pytest.approx(3 * abs(mean - target) ** power, rel=1e-5)
    assert transform.settled == 20 == updates(0.2, 100)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_a_hinge_is_its_formula_and_free_bits_at_a_price_of_one(scale: float) -> None:
    rates = scale * torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    mean = sum(rates.flatten().tolist()) / 6
    assert value(Hinge(2.0, eta=3.0), rates) == pytest.approx(mean + 3 * max(0.0, 2 - mean), rel=1e-5)
    free_bits = FreeBits(4, nats=2.0, granularity="total")
    assert value(Hinge(2.0, eta=1.0), rates) == pytest.approx(value(free_bits, rates), rel=1e-5)


# ---- one owner of the rate


def refused(**parts: str) -> list[str]:
    found = [("the lab", Traits(provides=FREE | {"additive_rate", "whole_batch"}))]
    for kind, name in parts.items():
        node = node_of(kind, name)
        made = make(node, latent_dim=4, total_updates=100)
        given = {key: setting for key, setting in node.items() if key != "_target_"}
        found.append((f"{kind}={name}", traits_of(type(made), given) or Traits()))
    return conflicts(found)


@controllers
@pytest.mark.parametrize("rate", ["capacity", "hinge"])
def test_one_owner_of_the_rate(name: str, rate: str) -> None:
    (line,) = refused(beta=name, rate=rate)
    assert line.startswith(
        f"rate={rate} does not go with beta={name}: it holds the rate at its own target, but it holds"
    )
    assert not refused(beta=name, rate="identity")
    assert not refused(beta="linear", rate=rate)
