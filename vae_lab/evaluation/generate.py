"""New examples from the model, and what lies nearest to them."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.distributions import stream_seed
from vae_lab.evaluation.panels import mean_of
from vae_lab.models import Autoencoding

_BLOCK = 1024


class Samples(NamedTuple):
    """z from the prior, (n, k), and of p(x|z) the mean, (n, *shape), None where it has none in closed form, and a draw."""

    z: Tensor
    mean: Tensor | None
    draw: Tensor


@torch.no_grad()
def sample(model: Autoencoding, count: int, seed: int = 0) -> Samples:
    """Draws z from the model's prior and decodes it; the same seed draws the same, whatever was drawn before."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, "sample"))
        z = model.draw_prior(count)
        p = model.decode(z)
        draw = p.sample()
    return Samples(z, mean_of(p), draw)


class Nearest(NamedTuple):
    """Of each example the row of its nearest neighbour, (n,), and the Euclidean distance to it, float64, (n,)."""

    rows: Tensor
    distances: Tensor


def nearest(x: Tensor, others: Tensor) -> Nearest:
    """Neighbours among `others`, (m, *shape), of each of x, (n, *shape); the first of equals."""
    flat, whole = x.flatten(1).double(), others.flatten(1)
    rows, best = torch.zeros(len(x), dtype=torch.long), torch.full((len(x),), torch.inf, dtype=torch.float64)
    for start in range(0, len(whole), _BLOCK):
        distances, found = torch.cdist(flat, whole[start : start + _BLOCK].double()).min(1)
        closer = distances < best
        rows[closer], best[closer] = found[closer] + start, distances[closer]
    return Nearest(rows, best)
