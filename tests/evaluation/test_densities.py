"""Densities fitted to codes, against what the codes are known to be."""

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily, MultivariateNormal

from vae_lab.distributions import diagonal
from vae_lab.evaluation import densities
from vae_lab.evaluation.densities import Flow, GaussianMixture, Prior, codes, fitted_flow, fitted_mixture
from vae_lab.models import VAE, Batch
from vae_lab.models.decoders import LinearDecoder
from vae_lab.models.encoders import LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior


def linear_model(a: Tensor, log_scale: Tensor) -> VAE:
    """q(z|x) = N(A x, diag s^2) for A, (2, 3)."""
    encoder = LinearEncoder([3], 4)
    weight, bias = encoder.parameters()
    with torch.no_grad():
        weight.copy_(torch.cat([a, torch.zeros_like(a)]).view_as(weight))
        bias.copy_(torch.cat([torch.zeros(2), log_scale]))
    decoder = LinearDecoder(2, [3], 1)
    return VAE(encoder, Plain(), DiagonalPosterior(2), decoder, GaussianLikelihood([3]), StandardNormalPrior(2))


A = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.8, -1.0]])
LOG_SCALE = torch.tensor([-0.5, 0.2])


def batches(n: int, seed: int = 0) -> list[Batch]:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return [Batch(part) for part in x.split(997)]


def test_codes_of_a_linear_model_have_the_moments_of_the_aggregate_posterior() -> None:
    """x ~ N(0, I): q(z) = N(0, A A^T + diag s^2)."""
    n = 40_000
    z = codes(linear_model(A, LOG_SCALE), batches(n)).double().numpy()
    covariance = (A @ A.T + (2 * LOG_SCALE).exp().diag()).double().numpy()
    sd = np.sqrt(np.diag(covariance))
    spread = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / n)
    assert (np.abs(z.mean(0)) / sd).max() < 5 / np.sqrt(n)
    assert (np.abs(np.cov(z.T) - covariance) / spread).max() < 5


def test_one_component_is_the_aggregate_posterior_of_a_linear_model() -> None:
    """A mixture of one is N(mean, covariance) of the codes (over n), which for data with exact moments is N(A m, ...)."""
    n = 40_000
    model = linear_model(A, LOG_SCALE)
    p = GaussianMixture(components=1, seed=3)(model, batches(n))
    assert isinstance(p, MixtureSameFamily)
    z = codes(model, batches(n), seed=3).double()
    assert p.mean.numpy() == pytest.approx(z.mean(0).numpy(), abs=1e-5)
    (one,) = p.component_distribution.covariance_matrix
    assert one.numpy() == pytest.approx(np.cov(z.numpy().T, bias=True), abs=1e-4)
    truth = A @ A.T + (2 * LOG_SCALE).exp().diag()
    assert one.numpy() == pytest.approx(truth.numpy(), abs=0.08)


def test_a_mixture_that_was_planted_is_found() -> None:
    rng = np.random.default_rng(0)
    means, weights = np.array([[-6.0, 0], [6, 6], [0, -8]]), np.array([0.5, 0.3, 0.2])
    which = rng.choice(3, 6000, p=weights)
    factor = np.array([[1.0, 0], [0.8, 0.5]])
    z = torch.from_numpy(means[which] + rng.normal(size=(6000, 2)) @ factor.T)
    p = fitted_mixture(z, 3)
    found = p.component_distribution
    assert isinstance(found, MultivariateNormal)
    order = [int(((found.loc - torch.from_numpy(m)) ** 2).sum(1).argmin()) for m in means]
    assert sorted(order) == [0, 1, 2]
    assert found.loc[order].numpy() == pytest.approx(means, abs=0.12)
    assert p.mixture_distribution.probs[order].numpy() == pytest.approx(weights, abs=5 * np.sqrt(0.25 / 6000))
    for covariance in found.covariance_matrix:
        assert covariance.numpy() == pytest.approx(factor @ factor.T, abs=0.15)


def test_its_density_is_scikit_learns() -> None:
    from sklearn import mixture

    from vae_lab.distributions import stream_seed

    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = mixture.GaussianMixture(4, random_state=stream_seed(2, "mixture") % 2**32).fit(z.numpy())
    assert fitted_mixture(z, 4, seed=2).log_prob(z).numpy() == pytest.approx(theirs.score_samples(z.numpy()), abs=1e-8)


def test_the_prior_looks_at_no_example() -> None:
    model = linear_model(A, LOG_SCALE)
    z = torch.randn(5, 2)
    expected = diagonal(torch.zeros(2), torch.zeros(2)).log_prob(z)
    assert torch.allclose(Prior()(model, iter([])).log_prob(z), expected)


def test_em_that_has_not_converged_warns_nobody_and_gives_a_density() -> None:
    z = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = fitted_mixture(z, 40)
    assert p.log_prob(z).isfinite().all()


def test_more_components_than_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="7 components cannot be fitted to 6 examples"):
        fitted_mixture(torch.randn(6, 2), 7)


def ring(n: int, seed: int) -> Tensor:
    """About (5, 0), ten times as high as wide."""
    angle, radius = torch.rand(2, n, generator=torch.Generator().manual_seed(seed))
    radius = 3 + 0.5 * radius
    turned = 2 * np.pi * angle
    return torch.stack([radius * turned.cos() + 5, 10 * radius * turned.sin()], 1)


def hills(n: int, seed: int) -> Tensor:
    """Two, of one dimension."""
    rng = np.random.default_rng(seed)
    z = np.where(rng.random((n, 1)) < 0.3, -400.0, 400.0) + 50 * rng.normal(size=(n, 1))
    return torch.from_numpy(z.astype(np.float32))


def test_a_flow_finds_a_gaussian_of_odd_units_and_correlations() -> None:
    factor = torch.tensor([[3.0, 0, 0], [-2, 0.05, 0], [1, 1, 200]])
    true = MultivariateNormal(torch.tensor([50.0, -7, 1000]), scale_tril=factor)
    noise = torch.randn(8000, 3, generator=torch.Generator().manual_seed(0))
    z, unseen = (true.mean + noise @ factor.T).split(4000)
    p = fitted_flow(z)
    assert (p.batch_shape, p.event_shape) == ((), (3,))
    assert float(p.log_prob(unseen).mean()) == pytest.approx(float(true.log_prob(unseen).mean()), abs=0.05)
    drawn = p.sample(torch.Size([20_000]))
    sd = true.stddev
    assert ((drawn.mean(0) - true.mean) / sd).abs().max() < 0.1
    found, expected = torch.cov(drawn.T) / torch.outer(sd, sd), true.covariance_matrix / torch.outer(sd, sd)
    assert torch.allclose(found, expected, atol=0.12)


@pytest.mark.slow
def test_a_flow_is_a_density_that_bends_as_no_gaussian_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "UPDATES", 300)
    z, unseen = ring(3000, 0), ring(3000, 1)
    p = fitted_flow(z)
    single = fitted_mixture(z, 1)
    assert float((p.log_prob(unseen) - single.log_prob(unseen)).mean()) > 1
    x, y = torch.linspace(-1, 11, 301), torch.linspace(-60, 60, 301)
    grid = torch.cartesian_prod(x, y)
    total = p.log_prob(grid).double().exp().view(301, 301)
    assert float(torch.trapezoid(torch.trapezoid(total, y.double()), x.double())) == pytest.approx(1, abs=0.01)
    drawn = p.sample(torch.Size([5000]))
    radius = torch.hypot(drawn[:, 0] - 5, drawn[:, 1] / 10)
    assert float(((radius > 2.5) & (radius < 4)).float().mean()) > 0.9


@pytest.mark.slow
def test_a_flow_may_be_of_one_dimension() -> None:
    z, unseen = hills(3000, 0), hills(3000, 1)
    p = fitted_flow(z)
    found, single = float(p.log_prob(unseen).mean()), float(fitted_mixture(z, 1).log_prob(unseen).mean())
    true = -np.log(50 * np.sqrt(2 * np.pi * np.e)) + 0.3 * np.log(0.3) + 0.7 * np.log(0.7)
    assert found == pytest.approx(true, abs=0.15)
    assert found > single + 1
    x = torch.linspace(-1500, 1500, 20_001)
    assert float(torch.trapezoid(p.log_prob(x[:, None]).double().exp(), x.double())) == pytest.approx(1, abs=1e-3)
    drawn = p.sample(torch.Size([5000]))
    assert float((drawn < 0).float().mean()) == pytest.approx(0.3, abs=0.05)


def test_a_flow_that_is_not_trained_is_the_gaussian_of_its_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "UPDATES", 1)
    z = ring(500, 0).double()
    expected = MultivariateNormal(z.mean(0), torch.cov(z.T)).log_prob(z)
    assert fitted_flow(z).log_prob(z).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_flow_does_not_overfit() -> None:
    """Of few Gaussian codes the best on those held out is hardly more than where it starts."""
    z, unseen = torch.randn(5200, 6, generator=torch.Generator().manual_seed(0)).split([200, 5000])
    start = float(fitted_mixture(z, 1).log_prob(unseen).mean())
    assert float(fitted_flow(z).log_prob(unseen).mean()) > start - 0.1


def test_a_flow_is_the_same_again_and_leaves_the_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "UPDATES", 100)
    model = linear_model(A, LOG_SCALE)
    state = torch.get_rng_state()
    first = Flow(seed=2)(model, batches(300))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    z = torch.randn(50, 2)
    found = first.log_prob(z)
    assert not found.requires_grad
    assert torch.equal(found, Flow(seed=2)(model, batches(300)).log_prob(z))
    assert Flow.note == GaussianMixture.note


def test_codes_that_do_not_vary_have_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densities, "UPDATES", 100)
    z = torch.randn(300, 1, generator=torch.Generator().manual_seed(0))
    p = fitted_flow(torch.cat([z, torch.full_like(z, 7), 2 * z], 1))
    drawn = p.sample(torch.Size([100]))
    assert (drawn[:, 1] - 7).abs().max() < 1e-3
    assert torch.allclose(drawn[:, 2], 2 * drawn[:, 0], atol=0.05)


def test_what_no_flow_can_be_fitted_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="it is fitted to 20 examples or more, and there are 19"):
        fitted_flow(torch.randn(19, 2))
    with pytest.raises(ValueError, match="the codes are no numbers: the training of the model has diverged"):
        fitted_flow(torch.full((30, 2), torch.nan))
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(ValueError, match=r"^it needs a package: pip install 'vae-lab\[flow\]'$"):
        fitted_flow(torch.randn(30, 2))
