"""Our Gaussians against torch's, their KLs, and the self-scaled one against its formula."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal, kl_divergence

from vae_lab.distributions import (
    Gaussian,
    SelfScaledGaussian,
    StandardGaussian,
    diagonal,
    per_dimension_kl,
    standard,
)

LOG_SCALES = [-20.0, -5.0, 0.0, 5.0]


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("log_scale", LOG_SCALES)
def test_density_and_entropy_are_torch_s(log_scale: float) -> None:
    loc, s = some(5, 3), torch.full((5, 3), log_scale, dtype=torch.float64) + 0.1 * some(5, 3, seed=1)
    ours, torchs = Gaussian(loc, s), Normal(loc, s.exp())
    x = loc + 2 * s.exp() * some(5, 3, seed=2)
    assert torch.allclose(ours.log_prob(x), torchs.log_prob(x))
    assert torch.allclose(ours.entropy(), torchs.entropy())
    assert torch.allclose(Independent(ours, 1).log_prob(x), torchs.log_prob(x).sum(-1))


@pytest.mark.parametrize("log_scale", LOG_SCALES)
def test_kl_is_torch_s(log_scale: float) -> None:
    q = Gaussian(some(5, 3), torch.full((5, 3), log_scale, dtype=torch.float64))
    p = Gaussian(some(3, seed=1), 0.3 * some(3, seed=2))
    plain_q = Normal(q.loc, q.scale)
    assert torch.allclose(kl_divergence(q, p), kl_divergence(plain_q, Normal(p.loc, p.scale)))
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    assert torch.allclose(kl_divergence(q, StandardGaussian(zero)), kl_divergence(plain_q, Normal(zero, one)))


def test_kl_of_tiny_scales_does_not_cancel_in_float32() -> None:
    """log s is kept, so that no log of an underflown exponential is taken."""
    q = Gaussian(torch.zeros(1), torch.tensor([-120.0]))
    assert kl_divergence(q, StandardGaussian(torch.zeros(1))).item() == pytest.approx(119.5)
    assert q.entropy().item() == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi) - 120)


def test_the_gradient_of_the_kl_is_exact() -> None:
    loc, log_scale = some(4).requires_grad_(), some(4, seed=1).requires_grad_()
    kl_divergence(diagonal(loc, log_scale), standard(torch.zeros(4, dtype=torch.float64))).backward()
    assert torch.allclose(loc.grad, loc)
    assert torch.allclose(log_scale.grad, (2 * log_scale).exp() - 1)


def test_expand_keeps_the_density_and_the_type() -> None:
    one = Gaussian(some(3), some(3, seed=1))
    many, x = one.expand(torch.Size([5, 3])), some(5, 3, seed=2)
    assert torch.equal(many.log_prob(x), one.log_prob(x))
    assert type(StandardGaussian(some(3)).expand(torch.Size([5, 3]))) is StandardGaussian


def test_standard_is_zero_and_one_whatever_it_is_like() -> None:
    p, x = standard(some(3)), some(3, seed=1)
    assert torch.allclose(p.log_prob(x), Normal(0.0, 1.0).log_prob(x).sum())
    assert p.log_prob(x).dtype == torch.float64


def test_log_densities_are_summed_over_every_event_dimension() -> None:
    loc, x = some(2, 1, 3, 4), some(2, 1, 3, 4, seed=1)
    p = diagonal(loc, torch.zeros_like(loc), event_dims=3)
    assert torch.allclose(p.log_prob(x), Normal(loc, 1.0).log_prob(x).sum((1, 2, 3)))


def test_a_kl_splits_only_over_products_of_the_same_coordinates() -> None:
    q = diagonal(some(5, 3), some(5, 3, seed=1))
    rates = per_dimension_kl(q, standard(torch.zeros(3, dtype=torch.float64)))
    assert rates is not None
    assert rates.shape == (5, 3)
    assert (rates >= 0).all()
    full = MultivariateNormal(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    assert per_dimension_kl(q, full) is None
    assert per_dimension_kl(diagonal(some(5, 3), some(5, 3), event_dims=2), standard(some(3))) is None
    unknown = Independent(torch.distributions.StudentT(torch.full((3,), 3.0, dtype=torch.float64)), 1)
    assert per_dimension_kl(q, unknown) is None


def test_a_kl_that_torch_knows_splits_too() -> None:
    q, p = (
        diagonal(some(5, 3), some(5, 3, seed=1)),
        Independent(Laplace(some(3), torch.ones(3, dtype=torch.float64)), 1),
    )
    rates = per_dimension_kl(q, p)
    assert rates is not None
    z = q.sample(torch.Size([200_000]))
    sampled = q.log_prob(z) - p.log_prob(z)
    assert ((sampled.mean(0) - rates.sum(-1)).abs() < 4.5 * sampled.std(0) / 200_000**0.5).all()


def test_the_self_scaled_gaussian_is_its_formula() -> None:
    """-sum log p = (N d / 2) (1 + log 2 pi MSE)."""
    loc, x = some(7, 1, 2, 3), 3 * some(7, 1, 2, 3, seed=1)
    log_p = SelfScaledGaussian(loc, event_dims=3).log_prob(x)
    assert log_p.shape == (7,)
    error = (x - loc).square().mean()
    assert torch.allclose(log_p.sum(), -0.5 * x.numel() * (1 + (2 * math.pi * error).log()))


def test_no_other_sigma_is_better_than_its_own() -> None:
    loc, x = some(7, 3), 3 * some(7, 3, seed=1)
    best = SelfScaledGaussian(loc, 1)
    own = best.best_log_scale(x)
    for shift in (-0.1, 0.1):
        other = diagonal(loc, (own + shift).expand_as(loc)).log_prob(x).sum()
        assert other < best.log_prob(x).sum()


def test_it_tells_its_scale_and_stops_at_the_floor() -> None:
    told: list[Tensor] = []
    x = some(7, 3)
    SelfScaledGaussian(x + 1e-9, 1, log_floor=-6.0, on_scale=told.append).log_prob(x)
    SelfScaledGaussian(x + 2.0, 1, on_scale=told.append).log_prob(x)
    assert [float(scale) for scale in told] == pytest.approx([-6.0, math.log(2.0)])


def test_its_gradient_is_that_of_the_error_over_its_own_variance() -> None:
    """By the envelope theorem the dependence of sigma* on the means adds nothing."""
    loc, x = some(7, 3).requires_grad_(), 3 * some(7, 3, seed=1)
    SelfScaledGaussian(loc, 1).log_prob(x).sum().backward()
    assert torch.allclose(loc.grad, ((x - loc) / (x - loc).square().mean()).detach())
