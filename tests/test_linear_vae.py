"""The linear VAE ends where the closed form says (`vae_lab.estimators.linear`).

The loss is taken over exact moments: data whose empirical covariance is the wished one, full batches, and as many noise
vectors as make their empirical covariance the identity, so that training is deterministic and converges.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from vae_lab.estimators import linear
from vae_lab.models import VAE, Batch
from vae_lab.models.decoders import DiagonalDecoder, LinearDecoder
from vae_lab.models.encoders import DiagonalEncoder, LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood, OptimalGaussianLikelihood, SharedGaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior
from vae_lab.objectives import Objective
from vae_lab.objectives.beta import Constant
from vae_lab.objectives.bounds import ELBO
from vae_lab.objectives.objective import Coefficients
from vae_lab.objectives.rate import FreeBits, Identity

EIGENVALUES = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)
NOISE = 0.6
DIM = len(EIGENVALUES)


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def exact_data(rotation: Tensor) -> Tensor:
    """2 d points of mean zero whose covariance is rotation diag(EIGENVALUES) rotation^T exactly."""
    axes = rotation * (DIM * EIGENVALUES).sqrt()
    return torch.cat([axes.T, -axes.T])


def random_rotation(seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(seed))).Q


def exact_noise(k: int, batch: int) -> Tensor:
    """2 k noise vectors for each example, (2 k, B, k), of mean zero and covariance the identity exactly: the mean of a
    quadratic form over them is its expectation."""
    axes = math.sqrt(k) * torch.eye(k)
    return torch.cat([axes, -axes]).unsqueeze(1).expand(-1, batch, -1)


def linear_vae(latent_dim: int, likelihood: nn.Module, diagonal: bool = False) -> VAE:
    shape, posterior = [DIM], DiagonalPosterior(latent_dim)
    if diagonal:
        encoder, decoder = DiagonalEncoder(shape, posterior.outputs, latent_dim), DiagonalDecoder(latent_dim, shape, 1)
    else:
        encoder, decoder = LinearEncoder(shape, posterior.outputs), LinearDecoder(latent_dim, shape, 1)
    return VAE(encoder, Plain(), posterior, decoder, likelihood, StandardNormalPrior(latent_dim))


def fit(model: VAE, objective: Objective, x: Tensor, steps: int = 1500) -> float:
    """Trains to convergence and returns the loss: Adam with a falling rate, which passes kinks (floors on rates) and
    saddles, then L-BFGS for the last digits."""
    batch, noise = Batch(x), exact_noise(model.posterior.noise_dim, len(x))
    parameters = list(model.parameters())

    def loss_with_gradient() -> Tensor:
        for parameter in parameters:
            parameter.grad = None
        weights = Coefficients(*(number.double() for number in objective.coefficients(0)))
        loss = objective(model.terms(batch, noise), weights)
        loss.backward()
        return loss.detach()

    adam = torch.optim.Adam(parameters, lr=0.03)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.03 * (1 - step / steps) ** 2
        loss_with_gradient()
        adam.step()
    lbfgs = torch.optim.LBFGS(
        parameters, max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    lbfgs.step(loss_with_gradient)
    return float(loss_with_gradient())


@torch.no_grad()
def measure(model: VAE, x: Tensor) -> tuple[Tensor, float]:
    """Rates per latent in falling order, and the distortion, at beta = 1 and without any floor."""
    terms = model.eval().terms(Batch(x), exact_noise(model.posterior.noise_dim, len(x)))
    assert terms.rates is not None
    return terms.rates.mean(0).sort(descending=True).values, float(terms.distortion.mean())


def objective(beta: float = 1.0, rate: nn.Module | None = None) -> Objective:
    return Objective(ELBO(), Constant(beta), rate or Identity())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_elbo_and_beta_end_at_the_water_filling_rates(beta: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = exact_data(random_rotation(seed))
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(NOISE)))
    fit(model, objective(beta), x)
    rates, distortion = measure(model, x)
    truth = linear.optimum(EIGENVALUES, DIM, NOISE, beta)
    torch.testing.assert_close(rates, truth.rates, atol=1e-3, rtol=0)
    assert distortion == pytest.approx(truth.distortion, abs=1e-3)
    assert int((rates > 1e-3).sum()) == truth.active_units


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fewer_latents_than_dimensions(seed: int) -> None:
    torch.manual_seed(seed)
    x = exact_data(random_rotation(seed))
    model = linear_vae(2, GaussianLikelihood([DIM], math.sqrt(NOISE)))
    loss = fit(model, objective(), x)
    truth = linear.optimum(EIGENVALUES, 2, NOISE)
    torch.testing.assert_close(measure(model, x)[0], truth.rates, atol=1e-3, rtol=0)
    assert -loss == pytest.approx(truth.elbo, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("likelihood", [SharedGaussianLikelihood, OptimalGaussianLikelihood])
def test_learned_sigma_ends_at_maximum_likelihood(likelihood: type[nn.Module], seed: int) -> None:
    """sigma^2 = mean of the eigenvalues that the latents do not reach (Tipping and Bishop 1999, Eq. 8)."""
    torch.manual_seed(seed)
    x = exact_data(random_rotation(seed))
    model = linear_vae(3, likelihood([DIM]))
    fit(model, objective(), x)
    for _ in range(2000):  # the running variance forgets the steps of the line search
        model.train().terms(Batch(x), exact_noise(3, len(x)))
    noise = linear.best_noise(EIGENVALUES, 3)
    truth = linear.optimum(EIGENVALUES, 3, noise)
    rates, distortion = measure(model, x)
    torch.testing.assert_close(rates, truth.rates, atol=1e-3, rtol=0)
    assert distortion == pytest.approx(truth.distortion, abs=1e-3)


@pytest.mark.parametrize("sigma_squared", [3.9, 4.1])
def test_collapse_threshold(sigma_squared: float) -> None:
    """A fixed sigma^2 above the largest eigenvalue leaves no latent active, from any start; one below it leaves one."""
    torch.manual_seed(0)
    x = exact_data(random_rotation(0))
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(sigma_squared)))
    fit(model, objective(), x)
    rates, _ = measure(model, x)
    assert int((rates > 1e-4).sum()) == int((sigma_squared < EIGENVALUES).sum())
    assert float(rates[0]) == pytest.approx(max(0.0, 0.5 * math.log(4 / sigma_squared)), abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_total_free_bits_above_the_natural_rate_fill_the_water_level(seed: int) -> None:
    torch.manual_seed(seed)
    x = exact_data(random_rotation(seed))
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(NOISE)))
    target = 2.3
    loss = fit(model, objective(rate=FreeBits(DIM, nats=target, granularity="total")), x, steps=3000)
    truth = linear.at_total_rate(EIGENVALUES, DIM, NOISE, target)
    assert loss == pytest.approx(-truth.elbo, abs=1e-3)
    rates, _ = measure(model, x)
    torch.testing.assert_close(rates, truth.rates, atol=1e-2, rtol=0)


def test_free_bits_per_dimension_on_the_diagonal_model() -> None:
    """Every latent ends at max(lambda, natural rate), needed or not; the loss is that of science section 5.2."""
    x = exact_data(torch.eye(DIM))
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(NOISE)), diagonal=True)
    loss = fit(model, objective(rate=FreeBits(DIM, nats=0.25)), x)
    expected = linear.optimum(EIGENVALUES, DIM, NOISE).rates.clamp(min=0.25)
    torch.testing.assert_close(measure(model, x)[0], expected, atol=2e-3, rtol=0)
    assert loss == pytest.approx(7.47740, abs=2e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_free_bits_per_dimension_on_the_full_model(seed: int) -> None:
    """Latents share a direction, each within its free nats: no latent is under its floor, and the loss is at one of the
    two ends that were measured, both below the diagonal model's."""
    torch.manual_seed(seed)
    x = exact_data(random_rotation(seed))
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(NOISE)))
    loss = fit(model, objective(rate=FreeBits(DIM, nats=0.25)), x, steps=2500)
    rates, _ = measure(model, x)
    assert float(rates.min()) >= 0.25 - 5e-3
    assert min(abs(loss - 7.38400), abs(loss - 7.40012)) < 2e-3


def test_the_bound_is_tight_at_the_optimum_and_off_by_the_posterior_gap_elsewhere() -> None:
    """log p(x) - ELBO(x) at the best diagonal posterior is the same for every x (science section 5.1)."""
    generator = torch.Generator().manual_seed(0)
    weight, mean = torch.randn(DIM, 3, generator=generator), torch.randn(DIM, generator=generator)
    model = linear_vae(3, GaussianLikelihood([DIM], math.sqrt(NOISE)))
    m = weight.T @ weight + NOISE * torch.eye(3)
    v = torch.linalg.solve(m, weight.T)
    with torch.no_grad():
        model.decoder.net.weight.copy_(weight)
        model.decoder.net.bias.copy_(mean)
        log_scale = 0.5 * (NOISE / m.diagonal()).log()
        model.encoder[1].weight.copy_(torch.cat([v, torch.zeros_like(v)]))
        model.encoder[1].bias.copy_(torch.cat([-v @ mean, log_scale]))
    x = torch.randn(7, DIM, generator=generator)
    exact = linear.log_likelihood(x, weight, mean, NOISE)
    elbo = model.terms(Batch(x), exact_noise(3, 7)).elbo
    gap = linear.posterior_gap(weight, NOISE)
    assert gap > 0.05
    torch.testing.assert_close(exact - elbo, torch.full((7,), gap), atol=1e-10, rtol=0)
