"""The laws of parametrizations, and the floors that they promise."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from law_options import every, node_of
from omegaconf import OmegaConf
from torch import Tensor

from vae_lab import compose
from vae_lab.combinations import component_traits
from vae_lab.distributions import diagonal, per_dimension_kl, standard
from vae_lab.testing import check_parametrization, make
from vae_lab.traits import conflicts

K = 5
Shape = Callable[[int], tuple[Tensor, Tensor]]


@every("parametrization")
def test_a_parametrization_keeps_its_laws(name: str) -> None:
    check_parametrization(node_of("parametrization", name), latent_dim=3)


@every("parametrization")
def test_evaluation_draws_nothing(name: str) -> None:
    module, before = part(name).eval(), torch.get_rng_state()
    module(torch.randn(4, K, generator=torch.Generator().manual_seed(0)), torch.zeros(4, K))
    assert torch.equal(torch.get_rng_state(), before)


def part(name: str, **settings: Any) -> Any:
    return make(node_of("parametrization", name, **settings), latent_dim=K)


def rates(loc: Tensor, log_scale: Tensor) -> Tensor:
    """The rate of each latent against N(0, I), (B, k)."""
    parts = per_dimension_kl(diagonal(loc, log_scale), standard(torch.zeros(K)))
    assert parts is not None
    return parts


# ---- locations normalised over a batch

normalising = pytest.mark.parametrize("name", ["batchnorm_mean", "du"])


def gaussian(loc: float, sd: float, log_scale: float) -> Shape:
    def outputs(batch: int) -> tuple[Tensor, Tensor]:
        return loc + sd * torch.randn(batch, K), log_scale + torch.randn(batch, K)

    return outputs


def one_outlier(batch: int) -> tuple[Tensor, Tensor]:
    loc = torch.zeros(batch, K)
    loc[0] = 1e-4
    return loc, torch.zeros(batch, K)


def copies(batch: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 1).expand(-1, K), torch.zeros(batch, K)


def heavy_tails(batch: int) -> tuple[Tensor, Tensor]:
    return torch.distributions.Cauchy(0.0, 1.0).sample(torch.Size([batch, K])), torch.randn(batch, K)


ENCODERS = {
    "ordinary": gaussian(0.0, 1.0, 0.0),
    "nearly collapsed": gaussian(0.0, 1e-5, 0.0),
    "nearly collapsed, off zero": gaussian(1.0, 1e-5, 0.0),
    "huge": gaussian(-1e4, 1e4, -3.0),
    "wide": gaussian(0.0, 1.0, 2.0),
    "one outlier": one_outlier,
    "copies": copies,
    "heavy tails": heavy_tails,
}
any_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


@normalising
@any_encoder
@pytest.mark.parametrize(("batch", "gamma"), [(2, 0.6), (100, 0.3), (100, 1.5)])
def test_the_rate_has_its_floor_whatever_the_encoder_says(name: str, encoder: Shape, batch: int, gamma: float) -> None:
    torch.manual_seed(0)
    module = part(name, gamma=gamma)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        loc, log_scale = module(*encoder(batch))
    assert float(loc.var(0, correction=0).mean()) == pytest.approx(gamma**2, rel=1e-3)
    assert float(rates(loc, log_scale).sum(1).mean()) >= K * gamma**2 / 2 * (1 - 1e-3)


@any_encoder
def test_batchnorm_mean_gives_every_latent_the_same_variance(encoder: Shape) -> None:
    torch.manual_seed(0)
    loc, _ = part("batchnorm_mean", gamma=0.7)(*encoder(50))
    torch.testing.assert_close(loc.var(0, correction=0), torch.full((K,), 0.49), rtol=1e-3, atol=0)
    torch.testing.assert_close(loc.mean(0), torch.zeros(K), rtol=0, atol=1e-2)


@normalising
def test_an_adversary_reaches_the_floor_and_no_less(name: str) -> None:
    """Descent on the rate itself, by all outputs of an encoder and all parameters: it ends at k gamma^2 / 2, where every
    scale is one and every shift zero."""
    torch.manual_seed(0)
    module = part(name, gamma=0.7, **({"dropout": 0.0} if name == "du" else {}))
    loc, log_scale = (torch.randn(2, 20, K) - 0.5).unbind(0)
    free = [loc.requires_grad_(), log_scale.requires_grad_(), *module.parameters()]
    adam = torch.optim.Adam(free, lr=0.05)
    for _ in range(250):
        rate = rates(*module(loc, log_scale)).sum(1).mean()
        assert float(rate.detach()) >= K * 0.49 / 2 * (1 - 1e-4)
        adam.zero_grad()
        rate.backward()
        adam.step()
    assert float(rate.detach()) == pytest.approx(K * 0.49 / 2, abs=2e-3)


@normalising
def test_evaluation_normalises_by_the_moments_of_the_data(name: str) -> None:
    torch.manual_seed(0)
    module = part(name, gamma=0.7, momentum=0.99)
    draw = lambda n: (3 + 2 * torch.randn(n, K), torch.zeros(n, K))  # noqa: E731
    for _ in range(200):
        module(*draw(50))
    with torch.no_grad():
        loc, _ = module.eval()(*draw(20_000))
    assert float(loc.mean()) == pytest.approx(0, abs=0.03)
    assert float(loc.var(0).mean()) == pytest.approx(0.49, rel=0.02)


@normalising
def test_a_batch_that_is_not_finite_leaves_no_trace(name: str) -> None:
    module = part(name)
    module(torch.randn(8, K), torch.zeros(8, K))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module(torch.full((8, K), math.nan), torch.zeros(8, K))
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), key


@normalising
def test_a_batch_of_one_has_no_variance(name: str) -> None:
    with pytest.raises(ValueError, match="at least two examples"):
        part(name)(torch.randn(1, K), torch.zeros(1, K))


@normalising
def test_a_normalised_location_has_no_gradient_along_its_own_scale_or_mean(name: str) -> None:
    """What normalisation takes away cannot be learned either."""
    torch.manual_seed(0)
    loc = torch.randn(8, K, dtype=torch.float64).requires_grad_()
    made, _ = part(name)(loc, torch.zeros(8, K))
    (gradient,) = torch.autograd.grad((made * torch.randn(8, K)).sum(), loc)
    torch.testing.assert_close(gradient.sum(0), torch.zeros(K, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close((gradient * loc).sum(0), torch.zeros(K, dtype=torch.float64), atol=1e-12, rtol=0)


# ---- DU


def test_du_scales_share_a_fixed_budget() -> None:
    torch.manual_seed(0)
    module = part("du", gamma=0.8)
    with torch.no_grad():
        module.scale.copy_(torch.tensor([3.0, -1.0, 0.5, 0.0, 2.0]))
    loc, _ = module(torch.randn(40, K), torch.zeros(40, K))
    variances = loc.var(0, correction=0)
    share = torch.tensor([9.0, 1.0, 0.25, 0.0, 4.0]) / 14.25
    torch.testing.assert_close(variances, 0.64 * K * share)


def test_du_drops_variances_to_their_floor() -> None:
    """A share p of them, in training; the others grow by 1 / (1 - p), which keeps their mean."""
    torch.manual_seed(0)
    module, zeros = part("du", alpha=2.0, dropout=0.3), torch.zeros(20_000, K)
    floor = 2 / (2 * math.pi * math.e)
    variance = module(torch.randn(20_000, K), zeros)[1].mul(2).exp() - floor
    dropped = variance < 1e-6
    assert float(dropped.double().mean()) == pytest.approx(0.3, abs=4 * (0.21 / 1e5) ** 0.5)
    torch.testing.assert_close(variance[~dropped], torch.full_like(variance[~dropped], 1 / 0.7))
    kept = module.eval()(zeros, zeros)[1].mul(2).exp()
    torch.testing.assert_close(kept, torch.full_like(kept, 1 + floor))


def test_du_keeps_every_variance_above_its_floor() -> None:
    module = part("du", alpha=1.5).eval()
    _, log_scale = module(
        torch.zeros(7, K), torch.tensor([-1e4, -50.0, -5.0, -1.0, 0.0, 1.0, 20.0])[:, None].expand(7, K)
    )
    assert log_scale.isfinite().all()
    assert float(log_scale.mul(2).exp().min()) == pytest.approx(1.5 / (2 * math.pi * math.e), rel=1e-5)


# ---- delta

NATS = {0.05: 0.785, 0.1: 0.702, 0.25: 0.549, 0.5: 0.398, 1.0: 0.229}


@pytest.mark.parametrize(("nats", "scale"), NATS.items())
def test_delta_bounds_the_scale_by_the_table(nats: float, scale: float) -> None:
    _, log_scale = part("delta", nats=nats)(torch.zeros(1, K), torch.full((1, K), 30.0))
    assert float(log_scale.max().exp()) == pytest.approx(scale, abs=6e-4)


@pytest.mark.parametrize("nats", [1e-4, *NATS, 10.0, 50.0])
def test_delta_commits_every_latent_of_every_example(nats: float) -> None:
    """At any raw scale and location the rate is at least `nats`; at a large raw scale and location zero it is `nats`."""
    torch.set_default_dtype(torch.float64)
    try:
        module, raw = part("delta", nats=nats), torch.linspace(-40, 60, 1001)[:, None].expand(-1, K)
        for loc in (0.0, -3.0):
            made = rates(*module(torch.full_like(raw, loc), raw))
            assert float(made.min()) == pytest.approx(nats + loc**2 / 2, abs=1e-9)
            assert float(made.min()) >= nats * (1 - 1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


def test_delta_is_the_harmonic_sum_smooth_and_rising() -> None:
    raw = torch.linspace(-20, 20, 401, dtype=torch.float64).requires_grad_()
    _, log_scale = part("delta", nats=0.5)(raw, raw)
    bound = 0.3982390482650344  # of the table, to more digits
    torch.testing.assert_close(1 / log_scale.exp(), 1 / raw.exp() + 1 / bound)
    (slope,) = torch.autograd.grad(log_scale.sum(), raw)
    assert ((slope > 0) & (slope < 1)).all()


# ---- fixed_scale


def test_a_fixed_scale_is_what_was_set() -> None:
    """And the rate is at least what such a scale costs at location zero, in its closed form."""
    module, loc = part("fixed_scale", sigma=0.05), torch.randn(7, K)
    for raw in (-30.0, 0.0, 30.0):
        same, log_scale = module(loc, torch.full((7, K), raw))
        assert torch.equal(same, loc)
        torch.testing.assert_close(log_scale.exp(), torch.full((7, K), 0.05))
    least = -math.log(0.05) - 0.5 + 0.05**2 / 2
    torch.testing.assert_close(rates(loc, log_scale), least + loc.square() / 2)


# ---- combinations


def refusals(*overrides: str) -> list[str]:
    settings = OmegaConf.to_container(compose(*overrides), resolve=True)
    assert isinstance(settings, dict)
    return [line for line in conflicts(component_traits(settings)) if line.startswith("parametrization")]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *itertools.product(("batchnorm_mean", "du"), ("prior=mixture", "trainer.accumulate_grad_batches=2")),
        ("delta", "prior=mixture"),
    ],
)
def test_what_voids_a_floor_is_refused(name: str, other: str) -> None:
    assert not refusals(f"parametrization={name}")
    (line,) = refusals(f"parametrization={name}", other)
    assert "N(0, I)" in line or "over the batch" in line
