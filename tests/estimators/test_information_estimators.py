"""The aggregate posterior by brute force, its cap at ln N, and the interval that contains a known information."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from vae_lab.distributions import diagonal, standard
from vae_lab.estimators import log_aggregate, pairwise_log_prob


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plug_in(z: Tensor, posteriors: list[Distribution]) -> float:
    """The estimate with one z for each posterior, in order."""
    own = torch.cat(
        [q.log_prob(part) for q, part in zip(posteriors, z.split([len(q.mean) for q in posteriors]), strict=True)]
    )
    return float((own - log_aggregate(z, posteriors)).mean())


@pytest.mark.parametrize("log_scale", [0.0, -4.0, -10.0, 4.0])
def test_every_pair_is_the_broadcast_log_prob(log_scale: float) -> None:
    q = diagonal(3 * some(6, 4), log_scale + 0.3 * some(6, 4, seed=1))
    z = torch.cat([q.mean + q.stddev * some(6, 4, seed=2), some(3, 4, seed=3)])
    expected = q.log_prob(z.unsqueeze(1))
    assert expected.shape == (9, 6)
    own = pairwise_log_prob(q, z)[:6].diagonal()
    assert torch.allclose(own, expected[:6].diagonal(), atol=1e-5)
    assert torch.allclose(pairwise_log_prob(q, z), expected, rtol=1e-9, atol=1e-5)


def test_float32_posteriors_are_compared_in_float64() -> None:
    q = diagonal(3 * some(6, 4).float(), -5 + 0.3 * some(6, 4, seed=1).float())
    double = diagonal(q.base_dist.loc.double(), q.base_dist.log_scale.double())
    z = q.mean + q.stddev * some(6, 4, seed=2).float()
    found = pairwise_log_prob(q, z)
    assert found.dtype == torch.float64
    assert torch.allclose(found, double.log_prob(z.double().unsqueeze(1)), rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("family", ["normal", "full"])
def test_other_families_are_broadcast(family: str) -> None:
    loc, z = some(6, 2), some(5, 2, seed=1)
    scale = torch.tensor([[1.0, 0.0], [0.7, 0.5]], dtype=torch.float64)
    q = Independent(Normal(loc, 0.5), 1) if family == "normal" else MultivariateNormal(loc, scale_tril=scale)
    expected = torch.stack([torch.stack([q.log_prob(row)[m] for m in range(6)]) for row in z])
    assert torch.allclose(pairwise_log_prob(q, z), expected)


@pytest.mark.parametrize("blocks", [[6], [2, 4], [1, 1, 4]])
def test_the_aggregate_is_the_mean_density(blocks: list[int]) -> None:
    loc, log_scale, z = some(6, 3), 0.3 * some(6, 3, seed=1), some(5, 3, seed=2)
    posteriors = [diagonal(a, b) for a, b in zip(loc.split(blocks), log_scale.split(blocks), strict=True)]
    densities = torch.stack([diagonal(loc[n], log_scale[n]).log_prob(z).exp() for n in range(6)])
    assert torch.allclose(log_aggregate(z, posteriors), densities.mean(0).log())


@pytest.mark.parametrize("n", [5, 64])
def test_separated_posteriors_carry_ln_n_and_no_more(n: int) -> None:
    """The cap: the estimate of an infinite information is ln N; of mini-batches of B it would be ln B."""
    loc = 100.0 * torch.arange(n, dtype=torch.float64).unsqueeze(1)
    z = loc + some(n, 1)
    q = diagonal(loc, torch.zeros_like(loc))
    assert plug_in(z, [q]) == pytest.approx(math.log(n), abs=1e-8)
    halves = [diagonal(part, torch.zeros_like(part)) for part in loc.tensor_split(2)]
    assert plug_in(z, halves) == pytest.approx(math.log(n), abs=1e-8)
    own = [plug_in(part, [half]) for part, half in zip(z.tensor_split(2), halves, strict=True)]
    assert max(own) <= math.log((n + 1) // 2) + 1e-8


def test_equal_posteriors_carry_nothing() -> None:
    loc = torch.zeros(50, 2, dtype=torch.float64)
    assert plug_in(some(50, 2), [diagonal(loc, loc)]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("noise", [2.0, 0.5, 0.1])
def test_the_interval_contains_a_known_information(noise: float) -> None:
    """x ~ N(0, 1), q(z|x) = N(x, s^2): I = ln(1 + 1/s^2) / 2, between the plug-in and the rate."""
    n = 2000
    x = some(n, 1)
    q = diagonal(x, torch.full_like(x, math.log(noise)))
    z = x + noise * some(n, 1, seed=1)
    ratio = q.log_prob(z) - log_aggregate(z, [q])
    error = float(ratio.std()) / n**0.5
    exact = 0.5 * math.log(1 + 1 / noise**2)
    rate = kl_divergence(q, standard(torch.zeros(1, dtype=torch.float64)))
    assert float(ratio.mean()) - 4 * error <= exact <= float(rate.mean()) + 4 * float(rate.std()) / n**0.5
    assert float(ratio.mean()) == pytest.approx(exact, abs=4 * error + 20 / n)  # far below ln N it is close
