"""Densities fitted to codes, against what the codes are known to be."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily, MultivariateNormal

from vae_lab.distributions import diagonal
from vae_lab.evaluation.densities import GaussianMixture, Prior, codes, fitted_mixture
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
    with pytest.raises(ValueError, match="7 given; there are 6 examples to fit them to"):
        fitted_mixture(torch.randn(6, 2), 7)
