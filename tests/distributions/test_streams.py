"""Noise streams: named, reproducible, and unrelated to each other."""

import itertools

import torch

from vae_lab.distributions import stream, stream_seed

PURPOSES = ("posterior", "evaluation", "nll", "information", "held-out loss", "split", "panel prior")


def test_no_two_counters_share_a_seed() -> None:
    assert len({stream_seed(0, "posterior", counter) for counter in range(100_000)}) == 100_000


def test_no_two_names_share_a_seed() -> None:
    names = itertools.product(range(40), PURPOSES, range(40))
    assert len({stream_seed(*name) for name in names}) == 40 * len(PURPOSES) * 40


def test_a_seed_fits_a_generator() -> None:
    seeds = [stream_seed(seed, "posterior", counter) for seed in (0, -1, 2**63, 2**70) for counter in (0, 2**40)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_neighbours_and_purposes_are_uncorrelated() -> None:
    n = 40_000
    names = [(seed, purpose, counter) for seed in (0, 1) for purpose in PURPOSES[:2] for counter in (0, 1)]
    draws = torch.stack([torch.randn(n, generator=stream(*name)) for name in names])
    correlation = torch.corrcoef(draws) - torch.eye(len(names))
    assert correlation.abs().max() < 5 / n**0.5


def test_the_first_number_of_successive_streams_is_uniform() -> None:
    """A run takes the first numbers of stream after stream: they are a sample too (Kolmogorov and Smirnov, 1e-4)."""
    n = 20_000
    first = torch.tensor([stream_seed(3, "posterior", counter) for counter in range(n)])
    uniform = (first.double() / 2**63).sort().values
    distance = (uniform - (torch.arange(n) + 0.5) / n).abs().max()
    assert distance * n**0.5 < 2.23
    drawn = (
        torch.tensor([torch.rand((), generator=stream(3, "posterior", i)).item() for i in range(4000)]).sort().values
    )
    assert (drawn - (torch.arange(4000) + 0.5) / 4000).abs().max() * 4000**0.5 < 2.23


def test_a_stream_begins_again() -> None:
    a, b = (torch.randn(5, generator=stream(1, "nll", 2)) for _ in range(2))
    assert torch.equal(a, b)
