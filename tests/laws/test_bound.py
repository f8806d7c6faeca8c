"""The laws of bounds."""

import numpy as np
import pytest
import torch
from law_options import every, node_of
from torch import Tensor

from vae_lab.objectives.rate import Identity
from vae_lab.testing import EVIDENCE, check_bound, conjugate_terms, make, weights

LOC, LOG_SCALE = torch.tensor([0.2]), torch.tensor([-0.2])


@every("bound")
def test_a_bound_keeps_its_laws(name: str) -> None:
    check_bound(node_of("bound", name))


def iwae(samples: int, noise: Tensor, loc: Tensor = LOC, log_scale: Tensor = LOG_SCALE) -> Tensor:
    bound = make(node_of("bound", "iwae", samples=samples))
    return bound(conjugate_terms(noise, loc, log_scale), weights(), Identity())


def by_numpy(noise: Tensor) -> float:
    """E log mean_k p(x, z_k) / q(z_k), written out."""
    log_scale = LOG_SCALE.double().item()
    z = LOC.double().item() + np.exp(log_scale) * noise.double().numpy()
    log_joint = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - (1.0 - z) ** 2 - 0.5 * np.log(2 * np.pi * 0.5)
    log_q = -0.5 * noise.double().numpy() ** 2 - 0.5 * np.log(2 * np.pi) - log_scale
    return float(np.log(np.exp(log_joint - log_q).mean(0)).mean())


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_the_value_of_iwae_is_the_mean_of_log_mean_weights(samples: int) -> None:
    noise = torch.randn(samples, 7, generator=torch.Generator().manual_seed(0))
    assert -iwae(samples, noise).item() == pytest.approx(by_numpy(noise), abs=1e-5)


def test_the_gap_of_iwae_falls_as_chi_square_over_2_k() -> None:
    """log p - L_K -> chi^2(p || q) / (2 K) (Domke and Sheldon 2018); both q and p(z|x) are Gaussian."""
    mean, variance, q_mean, q_variance = 2 / 3, 1 / 3, 0.2, float(np.exp(-0.4))
    wide = 2 * q_variance - variance
    chi_square = q_variance / np.sqrt(variance * wide) * np.exp((mean - q_mean) ** 2 / wide) - 1
    generator = torch.Generator().manual_seed(1)
    values = [-iwae(50, torch.randn(50, 2000, generator=generator)).item() for _ in range(50)]
    error = np.std(values) / np.sqrt(50)
    assert EVIDENCE - np.mean(values) == pytest.approx(chi_square / 100, abs=4 * error + 0.1 * chi_square / 100)


def test_with_the_exact_posterior_iwae_is_log_p_for_every_noise() -> None:
    loc, log_scale = torch.tensor([2 / 3]), 0.5 * torch.tensor([1 / 3]).log()
    noise = torch.randn(5, 9, generator=torch.Generator().manual_seed(2))
    assert -iwae(5, noise, loc, log_scale).item() == pytest.approx(EVIDENCE, abs=1e-5)


def test_the_gradient_of_iwae_is_that_of_its_value() -> None:
    """By finite differences at the same noise, float64."""
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    loc, log_scale = LOC.double().requires_grad_(), LOG_SCALE.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: iwae(5, noise, a, b), (loc, log_scale))
