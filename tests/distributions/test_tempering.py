"""A temperature against powers of the density, and against moments of draws."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Laplace, MixtureSameFamily, MultivariateNormal

from vae_lab.distributions import diagonal, standard, tempered


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FACTOR = torch.tensor([[1.0, 0, 0], [0.5, 2, 0], [-1, 0.3, 0.7]], dtype=torch.float64)
GAUSSIANS: dict[str, Distribution] = {
    "standard": standard(torch.zeros(3, dtype=torch.float64)),
    "diagonal": diagonal(some(3), 0.5 * some(3, seed=1)),
    "full": MultivariateNormal(some(3, seed=2), scale_tril=FACTOR),
}


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("name", GAUSSIANS)
def test_a_gaussian_at_a_temperature_is_a_power_of_its_density(name: str, temperature: float) -> None:
    """log p_T(x) - log p(x) / T^2 is the same at every x, and p_T is normalised: its entropy is higher by d ln T."""
    p = GAUSSIANS[name]
    x, hot = some(20, 3, seed=3), tempered(p, temperature)
    difference = hot.log_prob(x) - p.log_prob(x) / temperature**2
    assert difference.numpy() == pytest.approx(float(difference[0]), abs=1e-9)
    assert float(hot.entropy() - p.entropy()) == pytest.approx(3 * np.log(temperature), abs=1e-9)


def test_a_mixture_keeps_its_weights_and_means_and_each_component_is_changed() -> None:
    """Mean sum_c w_c m_c; covariance sum_c w_c (T^2 S_c + m_c m_c^T) - mean mean^T."""
    w, m, t, n = torch.tensor([0.2, 0.8], dtype=torch.float64), 2 * some(2, 3, seed=4), 0.6, 200_000
    factors = torch.stack([FACTOR, 0.5 * torch.eye(3, dtype=torch.float64)])
    p = MixtureSameFamily(Categorical(w), MultivariateNormal(m, scale_tril=factors))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = tempered(p, t).sample(torch.Size([n])).numpy()
    mean = (w @ m).numpy()
    second = t**2 * factors @ factors.mT + m[:, :, None] * m[:, None, :]
    covariance = (w[:, None, None] * second).sum(0).numpy() - np.outer(mean, mean)
    sd = np.sqrt(np.diag(covariance))
    assert (np.abs(x.mean(0) - mean) / sd).max() < 5 / np.sqrt(n)
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    assert (np.abs(products.mean(0) - covariance) / (products.std(0) / np.sqrt(n))).max() < 5


def test_what_has_no_scale_that_is_known_is_refused() -> None:
    with pytest.raises(TypeError, match="tempered: Laplace has no scale that is known"):
        tempered(Laplace(0.0, 1.0), 0.5)
    p = Laplace(0.0, 1.0)
    assert tempered(p, 1) is p
