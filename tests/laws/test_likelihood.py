"""The laws of likelihoods."""

import math

import pytest
import torch
from law_options import every, node_of

from vae_lab.models.likelihoods import BernoulliLikelihood, OptimalGaussianLikelihood
from vae_lab.testing import check_likelihood


@every("likelihood")
def test_a_likelihood_keeps_its_laws(name: str) -> None:
    check_likelihood(node_of("likelihood", name))


@every("likelihood", "sigma")
def test_it_keeps_them_where_sigma_is_not_one(name: str) -> None:
    check_likelihood(node_of("likelihood", name, sigma=0.2))


@pytest.mark.parametrize("logit", [-300.0, -40.0, 40.0, 300.0])
def test_a_bernoulli_is_not_clamped(logit: float) -> None:
    raw = torch.full((1, 1), logit).requires_grad_()
    log_p = BernoulliLikelihood([1])(raw).log_prob(torch.tensor([float(logit < 0)]))
    assert log_p.item() == pytest.approx(-abs(logit))
    assert torch.autograd.grad(log_p, raw)[0].abs().item() == pytest.approx(1.0)


def test_the_optimal_sigma_of_evaluation_is_the_mean_of_those_of_training() -> None:
    likelihood, raw = OptimalGaussianLikelihood([4], momentum=0.9), torch.zeros(10, 4, 1)
    x = [scale * torch.randn(10, 4, generator=torch.Generator().manual_seed(i)) for i, scale in enumerate((1.0, 2, 3))]
    for batch in x:
        likelihood(raw).log_prob(batch)
    expected = sum(float(batch.square().mean()) for batch in x) / 3
    assert likelihood.eval()(raw).stddev.square().mean().item() == pytest.approx(expected, rel=1e-5)


def test_the_optimal_sigma_forgets_the_start_of_training() -> None:
    likelihood, raw = OptimalGaussianLikelihood([4], momentum=0.9), torch.zeros(10, 4, 1)
    for error in [5.0] * 100 + [2.0] * 100:
        likelihood(raw).log_prob(torch.full((10, 4), error))
    assert likelihood.eval()(raw).stddev.mean().item() == pytest.approx(2.0, rel=1e-3)


def test_evaluation_leaves_the_optimal_sigma_alone() -> None:
    likelihood = OptimalGaussianLikelihood([4]).eval()
    before = {name: value.clone() for name, value in likelihood.state_dict().items()}
    log_p = likelihood(torch.zeros(10, 4, 1)).log_prob(7 * torch.ones(10, 4))
    assert all(torch.equal(before[name], value) for name, value in likelihood.state_dict().items())
    assert log_p[0].item() == pytest.approx(-2 * math.log(2 * math.pi) - 0.5 * 4 * 49)
