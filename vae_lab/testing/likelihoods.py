"""The laws of p(x|z)."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, ReshapeTransform, TransformedDistribution

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


def check_likelihood(option: Option, shapes: Sequence[Shape] = ((1, 2, 3), (4,))) -> None:
    """p(x|z) is a normalised density or mass over x of the declared shape, summed over pixels; its samples follow it;
    gradients reach the raw parameters and its own; a state dict restores it to the bit.

    The values that one pixel may take are {0, 1} where the traits need binary x, those of an attribute `values` where
    there is one, else any real number. `shapes` are those of x that it is tried on.
    """
    with seeded():
        for shape, lead in itertools.product(shapes, ((), (5,), (2, 5))):
            likelihood = make(option, shape=list(shape))
            p = likelihood(_raw(lead, shape, likelihood.arity))
            equal(p.event_shape, shape, "event shape of p(x|z)")
            equal(p.batch_shape, lead, "batch shape of p(x|z)")
            equal(p.log_prob(_pixels(option, likelihood, (*lead, *shape))).shape, lead, "shape of log_prob")
        for _ in range(3):
            _check_mass(option, shapes[0])
        _check_sum(option, shapes[0])
        _check_likelihood_gradients(option, shapes[0])


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
def _check_mass(option: Option, shape: Shape) -> None:
    """Everything that x can be has probability one in all."""
    one = (1,) * len(shape)
    likelihood = _trained(option, one)
    values = _values(option, likelihood)
    if values is not None and len(values) <= 4:
        likelihood = _trained(option, shape)
        images = all_images(shape, values)
        p = likelihood(_raw((), shape, likelihood.arity))
        check_frequencies(p.sample(torch.Size([10_000])), images, p.log_prob(images))
    else:
        p = likelihood(_raw((), one, likelihood.arity))
        flat = ReshapeTransform(torch.Size(one), torch.Size([1]))
        _check_pixel(p if one == (1,) else TransformedDistribution(p, flat, validate_args=False), values)


def _check_pixel(p: Distribution, values: Tensor | None) -> None:
    x = p.sample(torch.Size([50_000]))
    if values is not None:
        check_frequencies(x, values.unsqueeze(-1), p.log_prob(values.unsqueeze(-1)))
    else:
        check_integral(p, x)
        check_samples(p, x)


def _check_sum(option: Option, shape: Shape) -> None:
    """Twice the pixels, each as likely as before, have twice the log-probability: a sum, and no mean."""
    small, large = _trained(option, shape), make(option, shape=[*shape[:-1], 2 * shape[-1]])
    large.load_state_dict(small.state_dict())
    raw, x = _raw((2,), shape, small.arity), _pixels(option, small, (2, *shape))
    for training in (False, True):
        small.train(training)
        large.train(training)
        once = small(raw).log_prob(x)
        twice = large(torch.cat([raw, raw], -2)).log_prob(torch.cat([x, x], -1))
        near(twice, 2 * once, "log-probability of an image of twice the pixels, against twice that of one")


def _check_likelihood_gradients(option: Option, shape: Shape) -> None:
    for training in (True, False):
        likelihood = _trained(option, shape).train(training)
        raw, x = _raw((3,), shape, likelihood.arity), _pixels(option, likelihood, (3, *shape))
        raw.requires_grad_()
        (gradient,) = torch.autograd.grad(likelihood(raw).log_prob(x).sum(), raw)
        assert gradient.isfinite().all(), "a gradient is not finite"
        assert (gradient != 0).flatten(0, -2).any(0).all(), "some of the decoder's outputs get no gradient"
        check_gradients(likelihood, lambda: likelihood(raw.detach()).log_prob(x).sum())  # noqa: B023
    check_state(likelihood, lambda: make(option, shape=list(shape)), lambda module: module(raw).log_prob(x))
