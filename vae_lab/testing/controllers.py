"""The laws of controllers of the rate's weight."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from vae_lab.testing.tools import Option, equal, make

HOSTILE = (0.0, -3.0, 1e-30, 7.0, 1e6, -1e6, 1e30, -1e30, math.inf, -math.inf, math.nan)


def check_controller(option: Option, updates: int = 800) -> None:
    """A weight that is told the distortion and the rate after each step: it rises while the rate is high and the
    distortion low, and falls while it is the other way round, to ends that are finite and not negative, and never beyond
    them whatever it is told; from an end it comes back as fast however long it was held there (no wind-up); what is not
    finite changes nothing; forward(t) = a_R / a_D; its state is saved and restored to the bit, keeps no graph, and keeps
    its type in a model of half precision. From one end of its range to the other it must need fewer than `updates`."""
    low, high = _end(option, False, updates), _end(option, True, updates)
    assert 0 <= low < high < math.inf, f"its weight ends at {low} where the rate is low, and at {high} where it is high"
    _check_direction(option, updates)
    for up in (True, False):
        first, second = _updates_back(option, up, updates), _updates_back(option, up, 3 * updates // 2)
        words = f"held for {updates} updates it comes back in {first}, for {3 * updates // 2} in {second}"
        assert second <= first + 5, words
    _check_hostile(option, low, high)
    _check_state(option, low, high, updates)


def tell(controller: Any, distortion: float, rate: float, times: int = 1) -> float:
    """The weight after so many observations."""
    pair = torch.tensor(distortion, dtype=torch.float64), torch.tensor(rate, dtype=torch.float64)
    for _ in range(times):
        controller.observe(*pair)
    return float(controller(0))


def _push(controller: Any, up: bool, times: int = 1) -> float:
    """The weight after so many observations of a rate that is far too high, or far too low."""
    return tell(controller, *((-1e4, 1e4) if up else (1e4, 0.0)), times)


def _end(option: Option, up: bool, updates: int) -> float:
    """Where the weight ends when it is pushed for long."""
    controller = make(option, total_updates=100)
    end = _push(controller, up, updates)
    assert math.isfinite(end), f"its weight is {end} when the rate is far too {'high' if up else 'low'}"
    assert _push(controller, up, 50) == end, f"its weight still moves after {updates} updates in one direction"
    return end


def _check_direction(option: Option, updates: int) -> None:
    for up in (True, False):
        controller = make(option, total_updates=100)
        _push(controller, not up, updates)
        weights = [_push(controller, up, 10) for _ in range(updates // 10)]
        turned = weights[len(weights) // 10 :]  # a running mean may need a while to turn
        wrong = [b for a, b in itertools.pairwise(turned) if (b < a if up else b > a)]
        assert not wrong, f"its weight {'falls' if up else 'rises'} while the rate is too {'high' if up else 'low'}"


def _updates_back(option: Option, up: bool, held: int) -> int:
    """How many updates a weight that was pushed to an end for so many updates needs to leave it."""
    controller = make(option, total_updates=100)
    end = _push(controller, up, held)
    for n in range(2 * held):
        if abs(_push(controller, not up) - end) > 1e-9 * max(end, 1e-9):
            return n
    raise AssertionError(f"pushed to its end {end} for {held} updates, its weight does not come back in twice as many")


def _check_hostile(option: Option, low: float, high: float) -> None:
    controller = make(option, total_updates=100)
    for distortion, rate in [*itertools.product(HOSTILE, HOSTILE), (7.0, 7.0)]:
        before = {name: value.clone() for name, value in controller.state_dict().items()}
        weight = tell(controller, distortion, rate)
        told = f"told a distortion of {distortion} and a rate of {rate}"
        assert low <= weight <= high, f"{told}, its weight is {weight}, outside [{low}, {high}]"
        if not (math.isfinite(distortion) and math.isfinite(rate)):
            same = all(torch.equal(before[name], value) for name, value in controller.state_dict().items())
            assert same, f"{told}, its state changes"
        a_d, a_r = (float(a) for a in controller.weights(0))
        assert math.isclose(a_r / a_d, weight, rel_tol=1e-9), "forward(t) is not a_R / a_D"


def _check_state(option: Option, low: float, high: float, updates: int) -> None:
    controller, other = (make(option, total_updates=100) for _ in range(2))
    _push(controller, True, updates)
    for _ in range(updates):  # until it is well inside its range
        if _push(controller, False) < 0.5 * (low + high):
            break
    state: dict[str, Tensor] = controller.state_dict()
    other.load_state_dict(state)
    rate = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    for i in range(50):
        for c in (controller, other):
            c.observe(torch.tensor(30.0 - i, dtype=torch.float64), rate * (i % 7))
        same = torch.equal(torch.as_tensor(controller(0)), torch.as_tensor(other(0)))
        assert same, "a state dict does not restore the controller to the bit"
    assert not any(value.requires_grad for value in controller.buffers()), "its state keeps the graph of a step"
    types = {name: value.dtype for name, value in controller.half().state_dict().items()}
    equal(
        types, {name: value.dtype for name, value in state.items()}, "types of the state in a model of half precision"
    )
