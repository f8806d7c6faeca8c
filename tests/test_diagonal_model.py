"""Parametrizations of q end where a closed form says, on the model where each latent is alone with its coordinate; on the
full linear VAE they keep their floor and lose nothing to the diagonal solution.

With M = Var m, v the variance of q and the best decoder, a latent of eigenvalue lambda costs, beside a constant,

    lambda v / (2 sigma^2 (M + v)) + (M + v - 1 - ln v) / 2

of which each method is a minimum under a constraint of its own: none (M + v = 1, v = sigma^2 / lambda), M = gamma^2
(batchnorm_mean), the mean of M = gamma^2 (du), v <= s^2 (delta).
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from test_linear_vae import (
    DIM,
    EIGENVALUES,
    NOISE,
    exact_data,
    exact_noise,
    fit,
    linear_vae,
    objective,
    random_rotation,
)
from torch import Tensor, nn

from vae_lab.models import VAE, Batch, Terms
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import DU, BatchNormMean, Delta

LAMBDA = EIGENVALUES.numpy()
GAMMA = 0.7
CONSTANT = DIM / 2 * math.log(2 * math.pi * NOISE)
Law = tuple[np.ndarray, np.ndarray]  # M and v of each latent, in the order of the eigenvalues


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ---- the laws


def rates_of(m: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.5 * (m + v - 1 - np.log(v))


def loss_of(m: np.ndarray, v: np.ndarray) -> float:
    distortion = LAMBDA * v / (2 * NOISE * (m + v))
    return float((distortion + rates_of(m, v)).sum()) + CONSTANT


def batchnorm_law(gamma: float = GAMMA) -> Law:
    """lambda gamma^2 / (2 sigma^2 (gamma^2 + v)^2) + 1/2 = 1 / (2 v)."""
    m = gamma**2

    def slope(v: float, eigenvalue: float) -> float:
        return eigenvalue * m / (2 * NOISE * (m + v) ** 2) + 0.5 - 0.5 / v

    return np.full(DIM, m), np.array([brentq(slope, 1e-9, 1, args=(eigenvalue,)) for eigenvalue in LAMBDA])


def delta_law(nats: float) -> Law:
    """v = min(1, sigma^2 / lambda, s^2), which the loss falls towards from below; given v, the best location has
    (M + v)^2 = lambda v / sigma^2, or is zero."""
    bound = math.exp(2 * brentq(lambda u: -u + math.exp(2 * u) / 2 - 0.5 - nats, -nats - 1, 0))
    v = np.minimum(np.minimum(1, NOISE / LAMBDA), bound)
    return np.maximum(0, np.sqrt(LAMBDA * v / NOISE) - v), v


def du_law(gamma: float = GAMMA) -> Law:
    """Where the budget's multiplier is (1 - c) / 2: v = 1 - c M and (M + v)^2 = lambda v / (sigma^2 c), or M = 0 where
    lambda <= c sigma^2; c is such that the M sum to k gamma^2."""

    def means(c: float) -> np.ndarray:
        gap = lambda m, ratio: (1 + (1 - c) * m) ** 2 - ratio * (1 - c * m) / c  # noqa: E731
        return np.array([0 if ratio <= c else brentq(gap, 0, 1 / c, args=(ratio,)) for ratio in LAMBDA / NOISE])

    c = brentq(lambda c: means(c).sum() - DIM * gamma**2, 0.1, 3)
    return means(c), 1 - c * means(c)


def test_the_published_numbers_of_the_reference() -> None:
    expected = [0.9706, 0.5599, 0.3050, 0.2561, 0.2465]
    np.testing.assert_allclose(rates_of(*batchnorm_law()), expected, atol=5e-5)


@pytest.mark.parametrize("law", [batchnorm_law, du_law, lambda: delta_law(0.1), lambda: delta_law(0.5)])
def test_a_law_is_a_minimum_under_its_constraint(law: Any) -> None:
    """No small step that the constraint allows makes the loss smaller."""
    m, v = law()
    best, generator = loss_of(m, v), np.random.default_rng(0)
    for _ in range(2000):
        step_m, step_v = 0.02 * generator.standard_normal((2, DIM))
        if law is batchnorm_law:
            step_m[:] = 0
        other_m, other_v = np.clip(m + step_m, 0, None), np.clip(v + step_v, 1e-3, None)
        if law is du_law:
            other_m *= m.sum() / other_m.sum()
        elif law is not batchnorm_law:
            other_v = np.minimum(other_v, v.max())
        assert loss_of(other_m, other_v) >= best - 1e-9


# ---- training


def model_with(parametrization: nn.Module, diagonal: bool) -> VAE:
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(NOISE)), diagonal=diagonal)
    model.parametrization = parametrization
    return model


@torch.no_grad()
def trained_terms(model: VAE, x: Tensor) -> Terms:
    """As in training: locations are normalised over the whole of x."""
    return model.train().terms(Batch(x), exact_noise(DIM, len(x)))


def ends(model: VAE, x: Tensor, steps: int = 1500) -> tuple[float, Tensor, Tensor, Tensor]:
    """The loss, and M, v and the rates of each example and latent, once the model has converged."""
    loss = fit(model, objective(), x, steps=steps)
    terms = trained_terms(model, x)
    assert terms.rates is not None
    m = terms.posterior.mean.var(0, correction=0)
    return loss, m, terms.posterior.variance, terms.rates


METHODS = {
    "batchnorm_mean": (lambda: BatchNormMean(DIM, gamma=GAMMA), batchnorm_law),
    "du": (lambda: DU(DIM, gamma=GAMMA, dropout=0.0), du_law),
    "delta 0.1": (lambda: Delta(0.1), lambda: delta_law(0.1)),
    "delta 0.5": (lambda: Delta(0.5), lambda: delta_law(0.5)),
}


@pytest.mark.parametrize(("make", "law"), METHODS.values(), ids=METHODS)
def test_the_diagonal_model_ends_at_the_law(make: Any, law: Any) -> None:
    m, v = law()
    loss, found_m, found_v, rates = ends(model_with(make(), diagonal=True), exact_data(torch.eye(DIM)), steps=300)
    torch.testing.assert_close(found_m, torch.as_tensor(m), atol=4e-3, rtol=0)
    torch.testing.assert_close(found_v.mean(0), torch.as_tensor(v), atol=2e-3, rtol=0)
    torch.testing.assert_close(rates.mean(0), torch.as_tensor(rates_of(m, v)), atol=2e-3, rtol=0)
    assert loss == pytest.approx(loss_of(m, v), abs=5e-4)


def full(make: Any, seed: int) -> tuple[float, Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    return ends(model_with(make(), diagonal=False), exact_data(random_rotation(seed)), steps=300)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batchnorm_mean_on_the_full_model(seed: int) -> None:
    """Latents share a direction, and the loss is the one that was measured, below the diagonal model's."""
    loss, m, _, rates = full(METHODS["batchnorm_mean"][0], seed)
    torch.testing.assert_close(m, torch.full((DIM,), GAMMA**2), atol=1e-6, rtol=0)
    assert float(rates.sum(1).mean()) >= DIM * GAMMA**2 / 2
    assert loss == pytest.approx(7.48608, abs=1e-3)
    ordered = rates.mean(0).sort(descending=True).values
    torch.testing.assert_close(ordered, torch.tensor([0.9706, 0.2823, 0.2823, 0.2823, 0.2823]), atol=5e-3, rtol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_du_on_the_full_model(seed: int) -> None:
    loss, m, v, rates = full(METHODS["du"][0], seed)
    assert float(m.mean()) == pytest.approx(GAMMA**2, abs=1e-6)
    assert float(rates.sum(1).mean()) >= DIM * GAMMA**2 / 2
    assert float(v.min()) >= 1 / (2 * math.pi * math.e)
    assert loss <= loss_of(*du_law()) + 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delta_on_the_full_model(seed: int) -> None:
    loss, _, _, rates = full(METHODS["delta 0.5"][0], seed)
    assert float(rates.min()) >= 0.5 - 1e-9
    assert loss <= loss_of(*delta_law(0.5)) + 1e-3
