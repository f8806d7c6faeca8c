"""The closed forms of the linear VAE against numerical optimisation and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from vae_lab.estimators import linear

EIGENVALUES = torch.tensor([0.5, 4.0, 0.2, 2.0, 1.0], dtype=torch.float64)
SORTED = EIGENVALUES.sort(descending=True).values.tolist()
NOISE = 0.6


def best_direction(variance: float, beta: float) -> tuple[float, float]:
    """(rate, error) of one direction at the numerical optimum of distortion + beta * rate over encoder slope, posterior
    scale and decoder weight."""

    def parts(v: np.ndarray) -> tuple[float, float]:
        slope, log_scale, weight = v
        s2 = math.exp(2 * log_scale)
        rate = 0.5 * (slope**2 * variance + s2 - 1 - 2 * log_scale)
        return rate, variance * (1 - weight * slope) ** 2 + weight**2 * s2

    def loss(v: np.ndarray) -> float:
        rate, error = parts(v)
        return 0.5 * error / NOISE + beta * rate

    found = minimize(loss, [0.5, -0.3, 0.5], method="BFGS", options={"gtol": 1e-9})
    return parts(found.x)


@pytest.mark.parametrize("latent_dim", [2, 5])
@pytest.mark.parametrize("beta", [0.25, 1.0, 2.0])
def test_the_optimum_is_that_of_a_numerical_search(latent_dim: int, beta: float) -> None:
    found = linear.optimum(EIGENVALUES, latent_dim, NOISE, beta)
    parts = [best_direction(variance, beta) for variance in SORTED[:latent_dim]]
    error = sum(error for _, error in parts) + sum(SORTED[latent_dim:])
    assert found.rates.tolist() == pytest.approx([rate for rate, _ in parts], abs=1e-4)
    assert found.distortion == pytest.approx(2.5 * math.log(2 * math.pi * NOISE) + 0.5 * error / NOISE, abs=1e-4)
    assert found.elbo == -(found.rate + found.distortion)
    assert found.active_units == sum(variance > beta * NOISE for variance in SORTED[:latent_dim])


def test_at_beta_one_the_elbo_is_the_likelihood_of_ppca() -> None:
    """-(d ln 2 pi + ln|C| + tr C^-1 S) / 2 with C the model's covariance (Tipping and Bishop 1999, Eq. 4)."""
    model = np.maximum(SORTED, NOISE)
    expected = -0.5 * (5 * math.log(2 * math.pi) + np.log(model).sum() + (np.array(SORTED) / model).sum())
    assert linear.optimum(EIGENVALUES, 5, NOISE).elbo == pytest.approx(expected)


@pytest.mark.parametrize("total", [0.5, 1.8, 6.0])
def test_no_other_allocation_of_a_total_rate_is_better(total: float) -> None:
    found = linear.at_total_rate(EIGENVALUES, 4, NOISE, total)
    assert found.rate == pytest.approx(total)
    lam = np.array(SORTED[:4])

    def distortion(rates: np.ndarray) -> float:
        error = (lam * np.exp(-2 * rates)).sum() + SORTED[4]
        return 2.5 * math.log(2 * math.pi * NOISE) + 0.5 * error / NOISE

    assert distortion(found.rates.numpy()) == pytest.approx(found.distortion)
    others = total * np.random.default_rng(0).dirichlet(np.full(4, 0.7), size=2000)
    assert min(distortion(other) for other in others) >= found.distortion - 1e-12


def test_the_best_noise_maximises_the_likelihood() -> None:
    best = linear.best_noise(EIGENVALUES, 2)
    assert best == pytest.approx(sum(SORTED[2:]) / 3)
    elbo = {noise: linear.optimum(EIGENVALUES, 2, noise).elbo for noise in (best, 0.97 * best, 1.03 * best)}
    assert max(elbo, key=elbo.__getitem__) == best


def weights(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 2, generator=generator, dtype=torch.float64), torch.randn(
        4, generator=generator, dtype=torch.float64
    )


def test_log_likelihood_is_scipy_s_and_that_of_quadrature() -> None:
    weight, mean = weights()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = linear.log_likelihood(x, weight, mean, NOISE)
    covariance = weight.numpy() @ weight.numpy().T + NOISE * np.eye(4)
    assert found.numpy() == pytest.approx(multivariate_normal(mean.numpy(), covariance).logpdf(x.numpy()))
    line = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z, cell = torch.cartesian_prod(line, line), 2 * math.log(16 / 400)
    log_z = cell - 0.5 * z.square().sum(1) - math.log(2 * math.pi)
    p = torch.distributions.Normal(z @ weight.T + mean, math.sqrt(NOISE))
    integral = torch.stack([torch.logsumexp(p.log_prob(row).sum(1) + log_z, 0) for row in x])
    assert found.numpy() == pytest.approx(integral.numpy(), abs=1e-6)


def test_the_posterior_gap_is_that_of_the_best_diagonal_gaussian() -> None:
    """By numerical optimisation of KL(N(m, diag s^2) || p(z|x))."""
    weight, _ = weights()
    precision = (weight.T @ weight + NOISE * torch.eye(2, dtype=torch.float64)) / NOISE
    exact = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), precision_matrix=precision)

    def gap(v: np.ndarray) -> float:
        scale = torch.from_numpy(np.diag(np.exp(v[2:])))
        q = torch.distributions.MultivariateNormal(torch.from_numpy(v[:2].copy()), scale_tril=scale)
        return float(torch.distributions.kl_divergence(q, exact))

    best = minimize(gap, np.array([0.3, -0.2, -0.5, -0.5]), method="BFGS").fun
    assert linear.posterior_gap(weight, NOISE) == pytest.approx(best, abs=1e-6)
    assert linear.posterior_gap(torch.eye(2), NOISE) == pytest.approx(0.0, abs=1e-12)
