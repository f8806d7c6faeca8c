"""Moments over a dataset are those of two passes in float64, whatever the batches; active units on planted means."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_lab.estimators import Moments, active_units


def rows(offset: float, n: int = 40) -> torch.Tensor:
    return offset + torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 39), max_size=6, unique=True), st.sampled_from([0.0, 1e6, -1e8]))
def test_any_batches_give_the_two_pass_variance(cuts: list[int], offset: float) -> None:
    x, moments = rows(offset), Moments()
    for block in torch.tensor_split(x, sorted(cuts)):
        moments.update(block)
    expected = x.numpy().var(0, ddof=1)
    assert moments.count == 40
    assert moments.mean.numpy() == pytest.approx(x.numpy().mean(0), rel=1e-14)
    assert moments.variance().numpy() == pytest.approx(expected, rel=1e-6)
    assert moments.standard_error().numpy() == pytest.approx(np.sqrt(expected / 40), rel=1e-6)


def test_the_difference_of_large_sums_would_fail_here() -> None:
    x = rows(-1e8).numpy()
    naive = (x**2).mean(0) - x.mean(0) ** 2
    assert not np.allclose(naive * 40 / 39, x.var(0, ddof=1), rtol=0.1)


def test_float32_batches_are_summed_in_float64() -> None:
    x, moments = rows(1000.0).float(), Moments()
    for block in x.split(7):
        moments.update(block)
    assert moments.variance().numpy() == pytest.approx(x.double().numpy().var(0, ddof=1), rel=1e-10)


def test_a_single_row_and_scalars() -> None:
    moments = Moments()
    moments.update(torch.tensor([3.0]))
    assert float(moments.mean) == 3.0
    assert float(moments.variance()) == 0.0
    assert moments.standard_error().isnan()  # one row says nothing of it: 0 would say that the mean is exact


def test_active_units_on_planted_means() -> None:
    """Burda's definition: the variance over the data of the posterior mean, above 0.01, of unbiased variances."""
    n, generator = 2000, torch.Generator().manual_seed(0)
    white = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    white = (white - white.mean(0)) / white.std(0)
    planted = torch.tensor([1.0, 0.011, 0.01, 0.009, 0.0], dtype=torch.float64)
    moments = Moments()
    for block in (7.0 + white * planted.sqrt()).split(300):
        moments.update(block)
    variances = moments.variance()
    assert variances.numpy() == pytest.approx(planted.numpy(), abs=1e-12)
    assert active_units(variances[[0, 1, 3, 4]]) == 2
    assert active_units(variances, threshold=0.5) == 1
