"""The loader by itself: sizes at the edges, what it remembers, what it costs."""

import time

import pytest
import torch

from vae_lab.data import Batches

X = torch.arange(10, dtype=torch.uint8)[:, None].expand(10, 3)


@pytest.mark.parametrize(("batch_size", "length", "last"), [(1, 10, 1), (3, 4, 1), (5, 2, 5), (10, 1, 10), (99, 1, 10)])
def test_an_evaluation_ends_with_what_is_left(batch_size: int, length: int, last: int) -> None:
    loader = Batches(X, batch_size=batch_size)
    served = list(loader)
    assert len(loader) == len(served) == length
    assert len(served[-1].x) == last


@pytest.mark.parametrize(("batch_size", "length", "size"), [(1, 10, 1), (3, 3, 3), (5, 2, 5), (6, 1, 6), (99, 1, 10)])
def test_training_serves_full_batches_only(batch_size: int, length: int, size: int) -> None:
    loader = Batches(X, batch_size=batch_size, shuffle=True)
    served = list(loader)
    assert len(loader) == len(served) == length
    assert {len(batch.x) for batch in served} == {size}


def test_rows_and_labels_go_together() -> None:
    for batch in Batches(X, torch.arange(10) * 2, batch_size=3, shuffle=True):
        assert batch.index is not None
        assert torch.equal(batch.x[:, 0].long(), batch.index)
        assert torch.equal(batch.y, batch.index * 2)
        assert batch.mask is None


def test_every_example_comes_in_its_turn_when_the_last_batch_is_dropped() -> None:
    loader = Batches(X, batch_size=4, shuffle=True)
    counts = torch.zeros(10)
    for _ in range(500):
        for batch in loader:
            counts[batch.index] += 1
    assert (counts - 400).abs().max() < 5 * (500 * 0.8 * 0.2) ** 0.5


def test_a_broken_off_epoch_goes_on_where_it_stopped() -> None:
    loader, whole = (Batches(X, batch_size=2, shuffle=True) for _ in range(2))
    first = [batch.index for batch, _ in zip(loader, range(2), strict=False)]
    assert loader.served in (2, 3)  # zip takes one more before it stops
    rest = [batch.index for batch in loader]
    assert torch.equal(torch.cat(first + rest[-2:]), torch.cat([b.index for i, b in enumerate(whole) if i != 2]))


def test_a_batch_in_use_counts_as_served() -> None:
    loader = Batches(X, batch_size=2, shuffle=True)
    states = [loader.state_dict()["served"] for _ in loader]
    assert states == [1, 2, 3, 4, 5]


def test_what_is_served_belongs_to_the_one_who_asked() -> None:
    loader = Batches(torch.ones(10, 3), batch_size=5)
    for batch in loader:
        batch.x.zero_()
    assert all(batch.x.eq(1).all() for batch in loader)


def test_float64_is_served_as_float32() -> None:
    assert next(iter(Batches(torch.ones(4, 2, dtype=torch.float64), batch_size=2))).x.dtype == torch.float32


def test_a_batch_costs_little() -> None:
    """Far above what is measured on a quiet core (65 us), far below what per-example Python would take (2 ms)."""
    x = torch.randint(0, 256, (4000, 1, 28, 28), dtype=torch.uint8)
    loader, times = Batches(x, batch_size=20, levels=255, shuffle=True, redraw=True), []
    for _ in range(5):
        start = time.perf_counter()
        batches = sum(1 for _ in loader)
        times.append((time.perf_counter() - start) / batches)
    assert min(times) < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_order_is_the_same_on_a_gpu() -> None:
    here, there = (
        Batches(X, batch_size=2, levels=9, shuffle=True, redraw=True, device=device) for device in ("cpu", "cuda")
    )
    for a, b in zip(here, there, strict=True):
        assert b.x.is_cuda
        assert torch.equal(a.index, b.index.cpu())
