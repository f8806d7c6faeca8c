"""The laws of p(x|z)."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.testing.tools import (
    Option,
    Shape,
    all_images,
    check_frequencies,
    check_gradients,
    check_integral,
    check_samples,
    check_state,
    declared,
    equal,
    make,
    near,
    scrambled,
    seeded,
)


def check_likelihood(option: Option) -> None:
    """p(x|z) is a normalised density or mass over x of the declared shape, summed over pixels; its samples follow it;
    gradients reach the raw parameters and its own; a state dict restores it to the bit.

    The values that one pixel may take are {0, 1} where the traits need binary x, those of an attribute `values` where
    there is one, else any real number.
    """
    with seeded():
        for shape, lead in itertools.product(((1, 2, 3), (4,)), ((), (5,), (2, 5))):
            likelihood = make(option, shape=list(shape))
            p = likelihood(_raw(lead, shape, likelihood.arity))
            equal(p.event_shape, shape, "event shape of p(x|z)")
            equal(p.batch_shape, lead, "batch shape of p(x|z)")
            equal(p.log_prob(_pixels(option, likelihood, (*lead, *shape))).shape, lead, "shape of log_prob")
        for _ in range(3):
            _check_mass(option)
        _check_sum(option)
        _check_likelihood_gradients(option)


def _trained(option: Option, shape: Shape) -> Any:
    """A likelihood that has seen three batches, in eval mode, with parameters off their starting values."""
    likelihood = make(option, shape=list(shape))
    for _ in range(3):
        raw = _raw((20,), shape, likelihood.arity)
        likelihood(raw).log_prob(_pixels(option, likelihood, (20, *shape)))
    return scrambled(likelihood).eval()


def _raw(lead: Shape, shape: Shape, arity: int) -> Tensor:
    return 0.7 * torch.randn(*lead, *shape, arity)


def _values(option: Option, likelihood: nn.Module) -> Tensor | None:
    if "binary_x" in declared(option).needs:
        return torch.tensor([0.0, 1.0])
    return getattr(likelihood, "values", None)


def _pixels(option: Option, likelihood: nn.Module, shape: Shape) -> Tensor:
    values = _values(option, likelihood)
    return torch.randn(shape) if values is None else values[torch.randint(len(values), shape)]


@torch.no_grad()
def _check_mass(option: Option) -> None:
    """Everything that x can be has probability one in all."""
    likelihood = _trained(option, (1,))
    values = _values(option, likelihood)
    if values is not None and len(values) <= 4:
        likelihood = _trained(option, (1, 2, 3))
        images = all_images((1, 2, 3), values)
        p = likelihood(_raw((), (1, 2, 3), likelihood.arity))
        check_frequencies(p.sample(torch.Size([10_000])), images, p.log_prob(images))
    else:
        p = likelihood(_raw((), (1,), likelihood.arity))
        _check_pixel(p, values)


def _check_pixel(p: Distribution, values: Tensor | None) -> None:
    x = p.sample(torch.Size([50_000]))
    if values is not None:
        check_frequencies(x, values.unsqueeze(-1), p.log_prob(values.unsqueeze(-1)))
    else:
        check_integral(p, x)
        check_samples(p, x)


def _check_sum(option: Option) -> None:
    """Twice the pixels, each as likely as before, have twice the log-probability: a sum, and no mean."""
    small, large = _trained(option, (1, 2, 3)), make(option, shape=[1, 4, 3])
    large.load_state_dict(small.state_dict())
    raw, x = _raw((2,), (1, 2, 3), small.arity), _pixels(option, small, (2, 1, 2, 3))
    for training in (False, True):
        small.train(training)
        large.train(training)
        once = small(raw).log_prob(x)
        twice = large(torch.cat([raw, raw], -3)).log_prob(torch.cat([x, x], -2))
        near(twice, 2 * once, "log-probability of an image of twice the pixels, against twice that of one")


def _check_likelihood_gradients(option: Option) -> None:
    for training in (True, False):
        likelihood = _trained(option, (1, 2, 3)).train(training)
        raw, x = _raw((3,), (1, 2, 3), likelihood.arity), _pixels(option, likelihood, (3, 1, 2, 3))
        raw.requires_grad_()
        (gradient,) = torch.autograd.grad(likelihood(raw).log_prob(x).sum(), raw)
        assert gradient.isfinite().all(), "a gradient is not finite"
        assert (gradient != 0).flatten(0, -2).any(0).all(), "some of the decoder's outputs get no gradient"
        check_gradients(likelihood, lambda: likelihood(raw.detach()).log_prob(x).sum())  # noqa: B023
    check_state(likelihood, lambda: make(option, shape=[1, 2, 3]), lambda module: module(raw).log_prob(x))
