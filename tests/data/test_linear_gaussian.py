"""The closed forms of linear_gaussian hold on what it gives."""

import pytest
import torch

from vae_lab.data import DataError
from vae_lab.data.linear_gaussian import LinearGaussian
from vae_lab.estimators import linear

SPECTRUM = [4.0, 2.0, 1.0, 0.5, 0.2]


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("rotate", [True, False])
def test_moments_are_exact(split: str, rotate: bool) -> None:
    data = LinearGaussian(rotate=rotate, mean=3.0)
    x = data.load(split).x
    assert x.dtype == torch.float64
    torch.testing.assert_close(x.mean(0), data.mean, atol=1e-13, rtol=0)
    torch.testing.assert_close(data.covariance(split), data.covariance(), atol=1e-13, rtol=0)
    torch.testing.assert_close(data.eigenvalues(split), torch.tensor(SPECTRUM, dtype=torch.float64))


def test_without_exact_the_moments_are_those_of_a_sample() -> None:
    data = LinearGaussian(exact=False, train_size=20_000)
    error = (data.eigenvalues("train") / data.eigenvalues() - 1).abs()
    assert 1e-4 < float(error.max()) < 5 * (2 / 20_000) ** 0.5


def test_coordinates_are_independent_without_rotation_and_mixed_with_it() -> None:
    off = [LinearGaussian(rotate=rotate).covariance("train").fill_diagonal_(0).abs().max() for rotate in (False, True)]
    assert float(off[0]) < 1e-12 < 0.1 < float(off[1])


def test_the_rotation_is_orthogonal_and_a_function_of_the_seed() -> None:
    u = LinearGaussian().rotation()
    torch.testing.assert_close(u @ u.T, torch.eye(5, dtype=torch.float64))
    assert torch.equal(u, LinearGaussian().rotation())
    assert not torch.equal(u, LinearGaussian(split_seed=1).rotation())


def test_log_prob_is_that_of_probabilistic_pca() -> None:
    data = LinearGaussian(eigenvalues=[4.0, 2.0, 0.5, 0.5], noise=0.5, mean=1.0)
    x = data.load("val").x
    torch.testing.assert_close(data.log_prob(x), linear.log_likelihood(x, data.weight(), data.mean, data.noise))


def test_the_mean_log_prob_and_the_information_are_the_optimum_of_the_linear_vae() -> None:
    data = LinearGaussian(eigenvalues=[4.0, 2.0, 0.5, 0.5], noise=0.5)
    optimum = linear.optimum(data.eigenvalues("train"), 4, data.noise)
    assert float(data.log_prob(data.load("test").x).mean()) == pytest.approx(optimum.elbo, abs=1e-10)
    assert data.mutual_information() == pytest.approx(optimum.rate, abs=1e-10)
    assert data.weight().shape == (4, 2)
    assert linear.posterior_gap(data.weight(), data.noise) == pytest.approx(0, abs=1e-12)


def test_the_splits_are_different_draws_and_of_any_order_of_the_spectrum() -> None:
    data = LinearGaussian(eigenvalues=SPECTRUM[::-1])
    assert not torch.equal(data.load("val").x, data.load("test").x)
    assert data.spectrum.tolist() == SPECTRUM


def test_exact_moments_need_more_examples_than_coordinates() -> None:
    with pytest.raises(DataError, match=r"dataset.exact=true needs more than 5 examples in each split .* not 5: raise"):
        LinearGaussian(test_size=5)
    assert LinearGaussian(test_size=5, exact=False).load("test").x.shape == (5, 5)


def test_one_coordinate() -> None:
    data = LinearGaussian(eigenvalues=[2.0])
    assert data.covariance("train").item() == pytest.approx(2, abs=1e-13)
