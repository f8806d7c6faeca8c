"""The laws of what is withheld from the encoder."""

import inspect

import pytest
import torch
from law_options import every, node_of
from torch import Tensor

from vae_lab.targets import locate
from vae_lab.testing import make

STRENGTH = {"gaussian_noise": "sd", "salt_and_pepper": "probability", "input_dropout": "probability"}
corrupting = pytest.mark.parametrize("name", STRENGTH)


def grey(*shape: int) -> Tensor:
    """Values inside (0, 1), so that whatever is 0 or 1 has been put there."""
    return 0.2 + 0.6 * torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def corrupted(name: str, x: Tensor, **settings: float) -> Tensor:
    torch.manual_seed(0)
    result: Tensor = make(node_of("corruption", name, **settings))(x)
    return result


@every("corruption")
def test_evaluation_sees_x_itself_and_draws_nothing(name: str) -> None:
    x, before = grey(4, 1, 5, 3), torch.get_rng_state()
    assert make(node_of("corruption", name)).eval()(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@every("corruption")
def test_a_corruption_keeps_shape_type_and_x_and_follows_the_seed(name: str) -> None:
    x = grey(4, 3, 5, 3)
    kept, first = x.clone(), corrupted(name, x)
    assert first.shape == x.shape
    assert first.dtype == x.dtype
    assert torch.equal(x, kept), "x itself is what the decoder is scored on"
    assert torch.equal(corrupted(name, x), first)


@corrupting
def test_the_yaml_says_the_defaults_of_the_class(name: str) -> None:
    node = node_of("corruption", name)
    parameters = inspect.signature(locate("corruption", node.pop("_target_"))).parameters
    assert node == {key: parameter.default for key, parameter in parameters.items()}


@corrupting
def test_no_strength_is_x_itself(name: str) -> None:
    x = grey(4, 5)
    assert corrupted(name, x, **{STRENGTH[name]: 0.0}) is x


@corrupting
def test_values_are_corrupted_each_by_itself(name: str) -> None:
    """How much happens to neighbours, in one example and in one place of two examples, is uncorrelated."""
    x = torch.full((400, 400), 0.5)
    hit = (corrupted(name, x, **{STRENGTH[name]: 0.3}) - x).abs()
    for one, other in ((hit[:, 1:], hit[:, :-1]), (hit[1:], hit[:-1])):
        correlation = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert abs(float(correlation)) < 4 / 400


@pytest.mark.parametrize("sd", [0.1, 2.0])
def test_gaussian_noise_is_gaussian(sd: float) -> None:
    noise = (corrupted("gaussian_noise", torch.zeros(100_000), sd=sd) / sd).double()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):  # of N(0, 1), and the variance of its powers
        assert float(noise.pow(power).mean()) == pytest.approx(moment, abs=4 * (variance / 100_000) ** 0.5)


@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_frequencies(probability: float) -> None:
    """Salt and pepper are 1 and 0, half of the replaced values each; dropped values are 0; the rest is untouched."""
    x = grey(100_000)
    error = 4 * 0.5 / 100_000**0.5
    noisy, dropped = (corrupted(name, x, probability=probability) for name in ("salt_and_pepper", "input_dropout"))
    for value in (0, 1):
        assert float((noisy == value).double().mean()) == pytest.approx(probability / 2, abs=error)
    assert float((dropped == 0).double().mean()) == pytest.approx(probability, abs=error)
    assert torch.equal(noisy[(noisy != 0) & (noisy != 1)], x[(noisy != 0) & (noisy != 1)])
    assert torch.equal(dropped[dropped != 0], x[dropped != 0]), "what is kept is not rescaled"
