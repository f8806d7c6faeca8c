r"""The linear VAE, in closed form: what training must end at.

x | z ~ N(W z + mu, sigma^2 I), z ~ N(0, I), and q(z|x) a Gaussian with diagonal covariance. With lambda_1 >= lambda_2 >= ...
the eigenvalues of the data covariance, the optimum is probabilistic PCA (Tipping and Bishop 1999; Lucas et al. 2019),
and every method that sees the rate through its sum ends at a point of the reverse water-filling law (Cover and Thomas,
theorem 10.3.3) at some water level theta:

.. math:: R_i = \left[\tfrac12 \ln(\lambda_i / \theta)\right]_+, \qquad E\|x - \hat x\|^2 = \sum_i \min(\lambda_i, \theta)
"""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from torch import Tensor


@dataclass(frozen=True)
class LinearOptimum:
    """Where a linear VAE ends. Nats per example; `rates` in falling order, shape (k,)."""

    rates: Tensor
    distortion: float
    water_level: float

    @property
    def rate(self) -> float:
        return float(self.rates.sum())

    @property
    def elbo(self) -> float:
        return -(self.rate + self.distortion)

    @property
    def active_units(self) -> int:
        return int((self.rates > 0).sum())


def optimum(eigenvalues: Tensor, latent_dim: int, noise: float, beta: float = 1.0) -> LinearOptimum:
    r"""The optimum of distortion + beta * rate with the observation variance sigma^2 = `noise` fixed.

    The water level is theta = beta * sigma^2; of the rest,

    .. math:: D = \tfrac d2 \ln 2\pi\sigma^2 + \frac1{2\sigma^2}
              \Big(\sum_{i \le k} \min(\lambda_i, \theta) + \sum_{i > k} \lambda_i\Big)

    Arguments:
        eigenvalues: of the data covariance, shape (d,), any order.

    Example:
        >>> optimum(torch.tensor([4.0, 2, 1, 0.5, 0.2]), 5, 0.6).rates
        tensor([0.9486, 0.6020, 0.2554, 0.0000, 0.0000], dtype=torch.float64)
    """
    lam = eigenvalues.double().sort(descending=True).values
    return _at_level(lam, latent_dim, noise, theta=beta * noise)


def at_total_rate(eigenvalues: Tensor, latent_dim: int, noise: float, total: float) -> LinearOptimum:
    """The optimum when the rates must sum to `total` nats (total free bits above the natural rate, capacity)."""
    lam = eigenvalues.double().sort(descending=True).values
    used = lam[:latent_dim]
    theta = brentq(
        lambda log_t: float((0.5 * (used.log() - log_t)).clamp(min=0).sum()) - total,
        float(used.min().log()) - 2 * total - 1,
        float(used.max().log()),
        xtol=1e-14,
    )
    return _at_level(lam, latent_dim, noise, theta=math.exp(theta))


def at_distortion(eigenvalues: Tensor, latent_dim: int, noise: float, distortion: float) -> LinearOptimum:
    r"""The optimum of the rate at a given distortion in nats, constants included (GECO): the water level solves

    .. math:: \sum_{i \le k} \min(\lambda_i, \theta) + \sum_{i > k} \lambda_i
              = 2 \sigma^2 \big(D - \tfrac d2 \ln 2\pi\sigma^2\big)
    """
    lam = eigenvalues.double().sort(descending=True).values
    used, rest = lam[:latent_dim], float(lam[latent_dim:].sum())
    error = 2 * noise * (distortion - 0.5 * len(lam) * math.log(2 * math.pi * noise)) - rest
    theta = brentq(lambda t: float(used.clamp(max=t).sum()) - error, 0.0, float(used.max()), xtol=1e-14)
    return _at_level(lam, latent_dim, noise, theta)


def _at_level(lam: Tensor, latent_dim: int, noise: float, theta: float) -> LinearOptimum:
    used, rest = lam[:latent_dim], lam[latent_dim:]
    rates = (0.5 * (used / theta).log()).clamp(min=0)
    error = float(used.clamp(max=theta).sum() + rest.sum())
    distortion = 0.5 * len(lam) * math.log(2 * math.pi * noise) + 0.5 * error / noise
    return LinearOptimum(rates, distortion, theta)


def best_noise(eigenvalues: Tensor, latent_dim: int) -> float:
    """The maximum-likelihood observation variance: the mean of the eigenvalues that the latents do not reach
    (Tipping and Bishop 1999, Eq. 8). Needs latent_dim < d."""
    lam = eigenvalues.double().sort(descending=True).values
    return float(lam[latent_dim:].mean())


def log_likelihood(x: Tensor, weight: Tensor, mean: Tensor, noise: float) -> Tensor:
    r"""The exact log p(x) of each row under :math:`N(\mu, W W^T + \sigma^2 I)`, nats, float64, shape (n,).

    Arguments:
        x: (n, d); weight: W, (d, k); mean: (d,); noise: the variance sigma^2.
    """
    weight, mean = weight.double(), mean.double()
    covariance = weight @ weight.T + noise * torch.eye(weight.shape[0], dtype=torch.float64)
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x.double())


def posterior_gap(weight: Tensor, noise: float) -> float:
    r"""log p(x) - ELBO(x) at the best diagonal posterior, the same for every x: how much the off-diagonal of the true
    posterior costs. With M = W^T W + sigma^2 I,

    .. math:: \tfrac12 \Big(\sum_i \ln M_{ii} - \ln |M|\Big)
    """
    m = weight.double().T @ weight.double() + noise * torch.eye(weight.shape[1], dtype=torch.float64)
    return 0.5 * float(m.diagonal().log().sum() - torch.logdet(m))


def denoising_error(eigenvalues: Tensor, latent_dim: int, noise: float = 0.0) -> float:
    r"""The least mean of |x - r(x~)|^2 that an affine r of rank k reaches, where x~ = x + e with e ~ N(0, `noise` I): what a
    linear denoising autoencoder ends at, and at `noise` 0 a linear autoencoder (Baldi and Hornik 1989).

    .. math:: \sum_{i \le k} \frac{\lambda_i\, s^2}{\lambda_i + s^2} + \sum_{i > k} \lambda_i

    The best r is U_k U_k^T B (x~ - mu) + mu, with B = C (C + s^2 I)^{-1} the best of full rank and U_k the k leading principal
    axes (reduced-rank regression, Izenman 1975: the axes of B C, which are those of C in the same order).

    Arguments:
        eigenvalues: of the data covariance C, shape (d,), any order. noise: the variance s^2.
    """
    lam = eigenvalues.double().sort(descending=True).values
    used, rest = lam[:latent_dim], lam[latent_dim:]
    return float((used * noise / (used + noise)).sum() + rest.sum())
