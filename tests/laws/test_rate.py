"""The laws of what is done to the rate."""

import itertools

import pytest
import torch
from law_options import every, node_of
from torch import Tensor

from vae_lab.testing import check_rate, make, rate_terms

K, GROUP, NATS = 8, 4, 0.5
GROUPS = {"dim": 1, "group": GROUP, "total": K}
KINDS = list(itertools.product(GROUPS, ("batch", "example")))
kinds = pytest.mark.parametrize(("granularity", "reduction"), KINDS)


@every("rate")
def test_a_transform_keeps_its_laws(name: str) -> None:
    check_rate(node_of("rate", name))


@kinds
def test_free_bits_keeps_them_at_every_setting(granularity: str, reduction: str) -> None:
    check_rate(node_of("rate", "free_bits", granularity=granularity, reduction=reduction))


def free_bits(rates: Tensor, granularity: str, reduction: str, nats: float = NATS) -> Tensor:
    node = node_of("rate", "free_bits", granularity=granularity, reduction=reduction, nats=nats, group_size=GROUP)
    return make(node, latent_dim=K)(rate_terms(rates), torch.tensor(0.0))


def brute_force(rates: Tensor, size: int, reduction: str) -> float:
    """max(lambda, R_g) summed over groups of `size` latents, with R_g a mean over the batch or an example's own."""
    batch, groups = len(rates), K // size
    own = [[sum(rates[b, g * size + j].item() for j in range(size)) for g in range(groups)] for b in range(batch)]
    if reduction == "batch":
        return sum(max(NATS, sum(row[g] for row in own) / batch) for g in range(groups))
    return sum(max(NATS, value) for row in own for value in row) / batch


def some_rates(scale: float) -> Tensor:
    return scale * torch.rand(6, K, generator=torch.Generator().manual_seed(0)).square()


@kinds
@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
def test_free_bits_is_the_double_loop(granularity: str, reduction: str, scale: float) -> None:
    rates = some_rates(scale)
    assert free_bits(rates, granularity, reduction).item() == pytest.approx(
        brute_force(rates, GROUPS[granularity], reduction), rel=1e-5
    )


@kinds
def test_no_pressure_below_the_floor_and_full_pressure_above(granularity: str, reduction: str) -> None:
    size = GROUPS[granularity]
    for scale, slope in ((0.5 * NATS / size, 0.0), (2 * NATS / size, 1 / 6)):
        rates = torch.full((6, K), scale).requires_grad_()
        value = free_bits(rates, granularity, reduction)
        (gradient,) = torch.autograd.grad(value, rates)
        assert torch.allclose(gradient, torch.full_like(gradient, slope))
        assert value.item() == pytest.approx(K // size * max(NATS, scale * size))


@kinds
def test_never_below_the_floor_nor_the_rate(granularity: str, reduction: str) -> None:
    for scale in (0.0, 0.1, 1.0):
        value = free_bits(some_rates(scale), granularity, reduction).item()
        assert value >= K // GROUPS[granularity] * NATS - 1e-6
        assert value >= some_rates(scale).sum(1).mean().item() - 1e-5


@pytest.mark.parametrize("granularity", GROUPS)
def test_a_floor_for_each_example_costs_more_than_one_for_the_batch(granularity: str) -> None:
    """E max(lambda, R) >= max(lambda, E R), by Jensen; here strictly."""
    rates = some_rates(4.0 * NATS / GROUPS[granularity])
    example, batch = (free_bits(rates, granularity, reduction).item() for reduction in ("example", "batch"))
    assert example > batch


@kinds
def test_no_floor_is_the_identity(granularity: str, reduction: str) -> None:
    rates = some_rates(1.0)
    identity = make(node_of("rate", "identity"))(rate_terms(rates), torch.tensor(0.0))
    assert torch.allclose(free_bits(rates, granularity, reduction, nats=0.0), identity)
