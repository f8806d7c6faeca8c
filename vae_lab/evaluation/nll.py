"""Minus the log-likelihood of held-out examples, by importance sampling."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_lab.distributions import stream
from vae_lab.estimators import LogMeanExp
from vae_lab.evaluation.noise import DrawMeter, Variances
from vae_lab.models import VAE, Batch

_BLOCK, _GPU_BLOCK = 4096, 16_384
"""Decoded examples at a time: on a CPU what stays in cache (measured); a GPU is not kept busy by so few (not measured)."""


@dataclass(frozen=True)
class NLL:
    """Of each example, float64, shape (N,): -L_K, the same from the first K/10 samples, the effective sample size, and what
    the K draws say of the Monte Carlo error of every figure."""

    nll: Tensor
    nll_tenth: Tensor
    effective_sample_size: Tensor
    variances: Variances


@torch.no_grad()
def importance_nll(model: VAE, batches: Iterable[Batch], samples: int, seed: int = 0) -> NLL:
    r"""The negated importance-weighted bound of each example (Burda et al. 2016, Eq. 8), nats.

    .. math:: -L_K = -\log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k|x)}, \qquad z_k \sim q(z|x)

    In expectation it is an upper bound of -log p(x) that falls with K. Samples are streamed in blocks, the encoder runs
    once a batch, and the sum is kept in float64: memory does not grow with K.
    """
    parts = [
        _batch_nll(model, batch, samples, stream(seed, "nll", i, batch.x.device)) for i, batch in enumerate(batches)
    ]
    return NLL(
        torch.cat([part.nll for part in parts]),
        torch.cat([part.nll_tenth for part in parts]),
        torch.cat([part.effective_sample_size for part in parts]),
        Variances(*map(torch.cat, zip(*(part.variances for part in parts), strict=True))),
    )


def _batch_nll(model: VAE, batch: Batch, samples: int, generator: torch.Generator) -> NLL:
    q, total, tenth = model.given(batch.y).encode(batch.x), LogMeanExp(), None
    draws = DrawMeter()
    first = max(1, samples // 10)
    block = max(1, (_GPU_BLOCK if batch.x.is_cuda else _BLOCK) // len(batch.x))
    while total.samples < samples:
        stop = first if total.samples < first else samples
        noise = model.noise(len(batch.x), min(block, stop - total.samples), generator)
        terms = model.terms(batch, noise, q)
        log_w = terms.log_w
        total.update(log_w)
        draws.update(terms, log_w)
        if total.samples == first:
            tenth = -total.compute()
    assert tenth is not None
    return NLL(-total.compute(), tenth, total.effective_sample_size(), draws.compute())
