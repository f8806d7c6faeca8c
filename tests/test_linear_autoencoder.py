"""The linear autoencoder and the linear denoiser end where the closed form says (`linear.denoising_error`).

As in `test_linear_vae`, the loss is taken over exact moments: of the data, and here of the noise on them.
"""

import math

import pytest
import torch
from test_linear_vae import DIM, EIGENVALUES, exact_data, exact_noise, random_rotation
from torch import Tensor, nn

from vae_lab.estimators import linear
from vae_lab.models import VAE, Batch
from vae_lab.models.decoders import LinearDecoder
from vae_lab.models.encoders import LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import FixedScale
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior
from vae_lab.objectives import Objective
from vae_lab.objectives.beta import Constant
from vae_lab.objectives.bounds import ELBO
from vae_lab.objectives.objective import Coefficients
from vae_lab.objectives.rate import Identity


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def noisy(x: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """Pairs (x, x~), (2 d n, d) each, in which the moments of the noise are exact."""
    noise = math.sqrt(DIM * variance) * torch.cat([torch.eye(DIM), -torch.eye(DIM)])
    return x.repeat_interleave(len(noise), 0), (x[:, None] + noise).flatten(0, 1)


def autoencoder(latent_dim: int) -> VAE:
    posterior, shape = DiagonalPosterior(latent_dim), [DIM]
    encoder, decoder = LinearEncoder(shape, posterior.outputs), LinearDecoder(latent_dim, shape, 1)
    return VAE(
        encoder, FixedScale(1e-4), posterior, decoder, GaussianLikelihood(shape), StandardNormalPrior(latent_dim)
    )


def fitted(latent_dim: int, x: Tensor, seen: Tensor) -> VAE:
    """By the objective of the preset: the distortion of x at q(z|seen), and no weight on the rate."""
    model, loss_of = autoencoder(latent_dim), Objective(ELBO(), Constant(0.0), Identity())
    noise = exact_noise(latent_dim, len(x))
    weights = Coefficients(*(number.double() for number in loss_of.coefficients(0)))

    def loss_with_gradient() -> Tensor:
        model.zero_grad()
        loss = loss_of(model.terms(Batch(x), noise, model.encode(seen)), weights)
        loss.backward()
        return loss.detach()

    for _ in range(5):
        lbfgs = torch.optim.LBFGS(
            model.parameters(), max_iter=200, history_size=50, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
        )
        lbfgs.step(loss_with_gradient)
    return model.eval()


@torch.no_grad()
def map_of(model: VAE) -> tuple[Tensor, Tensor]:
    """The affine map x~ to the decoder's mean: its matrix (d, d), acting on columns, and its value at 0."""
    points = torch.cat([torch.eye(DIM), torch.zeros(1, DIM)])
    made = model.decode(model.encode(points).mean).mean
    return (made[:-1] - made[-1]).T, made[-1]


@torch.no_grad()
def error_of(model: VAE, x: Tensor, seen: Tensor) -> float:
    return float((model.decode(model.encode(seen).mean).mean - x).square().sum(1).mean())


@pytest.mark.parametrize("latent_dim", [2, 3, DIM])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_autoencoder_ends_at_the_principal_components(seed: int, latent_dim: int) -> None:
    torch.manual_seed(seed)
    axes = random_rotation(seed)
    x = exact_data(axes) + 3
    model = fitted(latent_dim, x, x)
    matrix, _ = map_of(model)
    principal = axes[:, :latent_dim]
    torch.testing.assert_close(matrix, principal @ principal.T, atol=1e-3, rtol=0)
    error = error_of(model, x, x)
    assert error == pytest.approx(float(EIGENVALUES[latent_dim:].sum()), abs=1e-5)
    assert error == pytest.approx(linear.denoising_error(EIGENVALUES, latent_dim), abs=1e-5)


@pytest.mark.parametrize("latent_dim", [2, DIM])
@pytest.mark.parametrize("variance", [0.3, 2.0])
def test_a_linear_denoiser_ends_at_the_closed_form(variance: float, latent_dim: int) -> None:
    """mu + C (C + s^2 I)^-1 (x~ - mu), projected on the leading axes where the code is narrow."""
    torch.manual_seed(0)
    axes = random_rotation(4)
    x, seen = noisy(exact_data(axes) + 3, variance)
    model = fitted(latent_dim, x, seen)
    covariance = axes * EIGENVALUES @ axes.T
    best = covariance @ torch.linalg.inv(covariance + variance * torch.eye(DIM))
    projection = axes[:, :latent_dim] @ axes[:, :latent_dim].T
    matrix, at_zero = map_of(model)
    torch.testing.assert_close(matrix, projection @ best, atol=1e-3, rtol=0)
    mean = torch.full((DIM,), 3.0)
    torch.testing.assert_close(at_zero + matrix @ mean, mean, atol=1e-3, rtol=0)
    error = error_of(model, x, seen)
    assert error == pytest.approx(linear.denoising_error(EIGENVALUES, latent_dim, variance), abs=1e-5)


def test_no_affine_map_of_that_rank_denoises_better() -> None:
    """Random maps around the best one, and far from it, are all worse than the closed form."""
    variance, k = 0.7, 2
    x, seen = noisy(exact_data(random_rotation(1)), variance)
    u, v = torch.randn(2000, DIM, k), torch.randn(2000, k, DIM)
    axes = random_rotation(1)[:, :k]
    shrunk = EIGENVALUES[:k] / (EIGENVALUES[:k] + variance)
    u, v = (torch.cat([near + 0.05 * far, far]) for near, far in ((axes * shrunk, u), (axes.T, v)))
    errors = (x[:, None] - torch.einsum("mdk,mke,ne->nmd", u, v, seen)).square().sum(-1).mean(0)
    least = linear.denoising_error(EIGENVALUES, k, variance)
    assert float(errors.min()) > least
    assert float(errors.min()) == pytest.approx(least, rel=0.1)


def test_an_encoder_of_any_kind_has_the_scale_that_was_set() -> None:
    model = autoencoder(2)
    nn.init.constant_(model.encoder[1].bias, 5.0)
    assert (model.encode(torch.randn(4, DIM)).stddev - 1e-4).abs().max() < 1e-12  # type: ignore[attr-defined]
