"""Whatever holds the rate, or the distortion, through its sum ends at the reverse water-filling law on the linear VAE, and
its multiplier at the closed form's: theta = beta * sigma^2 (`vae_lab.estimators.linear`).

The full model, random rotations of the data, exact moments, float64, from the usual random start. At 3 nats four of five
latents are active, one of them useless to the plain ELBO.
"""

import math

import pytest
import torch
from scipy.optimize import brentq
from test_linear_vae import DIM, EIGENVALUES, NOISE, exact_data, exact_noise, linear_vae, measure, random_rotation
from torch import Tensor

from vae_lab.estimators import linear
from vae_lab.models import Batch
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.objectives import Objective
from vae_lab.objectives.beta import Constant, Weight
from vae_lab.objectives.bounds import ELBO
from vae_lab.objectives.controllers import PI, Geco, SoftFreeBits, TargetRate
from vae_lab.objectives.rate import Capacity, Hinge, Identity, Transform

NATS = 3.0
TRUTH = linear.at_total_rate(EIGENVALUES, DIM, NOISE, NATS)
BETA = TRUTH.water_level / NOISE
CONSTANT = 0.5 * DIM * math.log(2 * math.pi * NOISE)  # of the distortion
seeds = pytest.mark.parametrize("seed", [0, 1, 2])


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(
    seed: int, beta: Weight | None = None, rate: Transform | None = None, steps: int = 700
) -> tuple[Tensor, float]:
    """Rates and distortion after training; a controller observes each step. The falling learning rate passes the kinks of
    absolute values."""
    torch.manual_seed(seed)
    x = exact_data(random_rotation(seed))
    model = linear_vae(DIM, GaussianLikelihood([DIM], math.sqrt(NOISE)))
    objective = Objective(ELBO(), beta or Constant(), rate or Identity())
    adam = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99), fused=True)
    batch, noise = Batch(x), exact_noise(DIM, len(x))
    for t in range(steps):
        adam.param_groups[0]["lr"] = 0.05 * min(1.0, 2.5 * (1 - t / steps)) ** 2
        adam.zero_grad()
        terms = model.terms(batch, noise)
        objective(terms, objective.coefficients(t)).backward()
        objective.observe(terms.distortion, terms.rate)
        adam.step()
    return measure(model, x)


def assert_ends_at(found: tuple[Tensor, float], truth: linear.LinearOptimum, tolerance: float) -> None:
    rates, distortion = found
    torch.testing.assert_close(rates, truth.rates, atol=tolerance, rtol=0)
    assert distortion == pytest.approx(truth.distortion, abs=tolerance)
    assert int((rates > tolerance).sum()) == truth.active_units == 4


def test_the_closed_forms_agree() -> None:
    """A rate, a distortion and a weight name the same optimum; the values are those of science section 5.2."""
    for beta in (0.2, 0.7, 1.0, 2.0):
        for latent_dim in (2, 3, 5):
            by_weight = linear.optimum(EIGENVALUES, latent_dim, NOISE, beta)
            for again in (
                linear.at_total_rate(EIGENVALUES, latent_dim, NOISE, by_weight.rate),
                linear.at_distortion(EIGENVALUES, latent_dim, NOISE, by_weight.distortion),
            ):
                torch.testing.assert_close(again.rates, by_weight.rates, atol=1e-9, rtol=0)
    by_error = linear.at_distortion(EIGENVALUES, DIM, NOISE, CONSTANT + 2.0 / (2 * NOISE))
    assert by_error.water_level == pytest.approx(0.45)
    expected = torch.tensor([1.0924, 0.7458, 0.3993, 0.0527, 0.0])
    torch.testing.assert_close(by_error.rates, expected, atol=1e-4, rtol=0)


@seeds
def test_target_rate(seed: int) -> None:
    controller = TargetRate(NATS, speed=0.01)
    assert_ends_at(trained(seed, controller), TRUTH, 1e-3)
    assert float(controller.multiplier) == pytest.approx(1 - BETA, abs=1e-3)


@seeds
def test_pi(seed: int) -> None:
    controller = PI(NATS, integral=0.01)
    assert_ends_at(trained(seed, controller), TRUTH, 1e-3)
    assert float(controller(0)) == pytest.approx(BETA, abs=1e-3)


@seeds
def test_geco(seed: int) -> None:
    target = CONSTANT + 1.5 / (2 * NOISE)
    truth = linear.at_distortion(EIGENVALUES, DIM, NOISE, target)
    controller = Geco(target, speed=0.02, momentum=0.9)
    assert_ends_at(trained(seed, controller), truth, 1e-3)
    assert float(controller.multiplier) == pytest.approx(NOISE / truth.water_level, abs=1e-3)


@seeds
def test_soft_free_bits(seed: int) -> None:
    """It rests somewhere in its band, at the optimum of that rate."""
    controller = SoftFreeBits(NATS, speed=0.005)
    found = trained(seed, controller)
    rate = float(found[0].sum())
    assert NATS - 1e-3 <= rate <= 1.05 * NATS + 1e-3
    truth = linear.at_total_rate(EIGENVALUES, DIM, NOISE, rate)
    assert_ends_at(found, truth, 1e-3)
    assert float(controller(0)) == pytest.approx(truth.water_level / NOISE, abs=1e-3)


@seeds
def test_capacity_squared(seed: int) -> None:
    """A spring: its slope 2 gamma (R - C) is the weight, so the rate ends beta / (2 gamma) above C."""
    gamma = 1.0

    def rate(beta: float) -> float:
        return linear.optimum(EIGENVALUES, DIM, NOISE, beta).rate

    beta = brentq(lambda b: rate(b) - NATS - b / (2 * gamma), 0.01, 5.0)
    truth = linear.optimum(EIGENVALUES, DIM, NOISE, beta)
    assert truth.rate > NATS + 0.2
    assert_ends_at(trained(seed, rate=Capacity(2, NATS, start=NATS, gamma=gamma)), truth, 1e-3)


@seeds
def test_capacity_absolute(seed: int) -> None:
    """Exact with gamma between beta and 2 beta."""
    assert_ends_at(trained(seed, rate=Capacity(2, NATS, start=NATS, gamma=1.5 * BETA, power=1)), TRUTH, 1e-2)


@seeds
def test_hinge(seed: int) -> None:
    """It holds the rate where its price is above 1 - beta."""
    assert_ends_at(trained(seed, rate=Hinge(NATS, eta=0.8)), TRUTH, 1e-2)
