"""The autoregressive distribution by its chain rule."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent

from vae_lab.distributions import Autoregressive

SHAPE = (1, 2, 2)


def conditional(x: Tensor) -> Independent:
    """logit_i = 1.5 * (sum of earlier pixels) - 1."""
    flat = x.flatten(-3)
    before = flat.cumsum(-1) - flat
    return Independent(Bernoulli(logits=(1.5 * before - 1).unflatten(-1, SHAPE)), 3)


def by_the_chain_rule(pixels: tuple[float, ...]) -> float:
    total, probability = 0.0, 1.0
    for pixel in pixels:
        on = 1 / (1 + torch.tensor(1.0 - 1.5 * total).exp().item())
        probability *= on if pixel else 1 - on
        total += pixel
    return probability


def test_log_prob_is_the_chain_rule_and_sums_to_one() -> None:
    p = Autoregressive(conditional, torch.Size(), torch.Size(SHAPE))
    images = list(itertools.product((0.0, 1.0), repeat=4))
    found = [p.log_prob(torch.tensor(image).view(SHAPE)).exp().item() for image in images]
    assert found == pytest.approx([by_the_chain_rule(image) for image in images], rel=1e-5)
    assert sum(found) == pytest.approx(1.0)


def test_samples_are_drawn_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    n = 20_000
    drawn = Autoregressive(conditional, torch.Size([n]), torch.Size(SHAPE)).sample().flatten(1)
    for image in itertools.product((0.0, 1.0), repeat=4):
        expected = by_the_chain_rule(image)
        found = (drawn == torch.tensor(image)).all(1).double().mean().item()
        assert abs(found - expected) < 4.5 * (expected * (1 - expected) / n) ** 0.5


def test_several_samples_are_refused_and_not_guessed() -> None:
    with pytest.raises(NotImplementedError):
        Autoregressive(conditional, torch.Size([2]), torch.Size(SHAPE)).sample(torch.Size([3]))
