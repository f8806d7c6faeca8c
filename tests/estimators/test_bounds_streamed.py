"""The importance-weighted bound, streamed: any split into blocks gives the one-shot value, at any size of weight."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vae_lab.estimators import LogMeanExp, importance_bound


def streamed(log_w: Tensor, cuts: list[int]) -> LogMeanExp:
    total = LogMeanExp()
    for block in torch.tensor_split(log_w, sorted(cuts)):
        if len(block):
            total.update(block)
    return total


def log_weights(samples: int = 12, scale: float = 3.0, shift: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shift + scale * torch.randn(samples, 4, generator=generator, dtype=torch.float64)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 12), max_size=5), st.sampled_from([0.0, -1e4, 1e4]), st.sampled_from([0.1, 30.0]))
def test_any_blocks_give_the_one_shot_value(cuts: list[int], shift: float, scale: float) -> None:
    log_w = log_weights(scale=scale, shift=shift)
    total = streamed(log_w, cuts)
    assert torch.allclose(total.compute(), importance_bound(log_w), rtol=1e-13, atol=1e-10)
    assert total.samples == 12


def test_one_shot_is_the_log_of_the_mean() -> None:
    log_w = log_weights()
    assert importance_bound(log_w).numpy() == pytest.approx(np.log(np.exp(log_w.numpy()).mean(0)))


def test_one_sample_is_its_own_log_weight() -> None:
    log_w = log_weights(samples=1)
    assert torch.equal(importance_bound(log_w), log_w[0])


def test_a_weight_of_zero_counts_as_a_sample() -> None:
    log_w = torch.tensor([[0.0], [-math.inf]])
    total = LogMeanExp()
    for row in log_w:
        total.update(row.unsqueeze(0))
    assert total.compute().item() == pytest.approx(-math.log(2))
    assert total.effective_sample_size().item() == pytest.approx(1.0)


def test_many_samples_keep_float64() -> None:
    """A million equal weights, one by one in float32, would lose the last of them."""
    total = LogMeanExp()
    for _ in range(100):
        total.update(torch.full((10_000, 1), -87.3))
    assert total.compute().dtype == torch.float64
    assert total.compute().item() == pytest.approx(float(np.float32(-87.3)), abs=1e-9)
    assert total.effective_sample_size().item() == pytest.approx(1e6, rel=1e-9)


def test_effective_sample_size_by_brute_force() -> None:
    log_w = log_weights(scale=1.0, shift=-500.0)
    weights = (log_w - log_w.max()).exp()
    expected = weights.sum(0).square() / weights.square().sum(0)
    assert torch.allclose(streamed(log_w, [1, 5]).effective_sample_size(), expected)
    assert ((expected >= 1) & (expected <= 12)).all()


def test_no_samples_is_an_error() -> None:
    for ask in (LogMeanExp().compute, LogMeanExp().effective_sample_size):
        with pytest.raises(ValueError, match="no samples"):
            ask()
