"""New examples from the model, and what lies nearest to them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.distributions import stream_seed, tempered
from vae_lab.evaluation.panels import mean_of
from vae_lab.models import VAE, Autoencoding

_BLOCK = 1024
_DECODED = 500  # at a time


class Samples(NamedTuple):
    """z, (n, k), and of p(x|z) the mean, (n, *shape), None where it has none in closed form, and a draw."""

    z: Tensor
    mean: Tensor | None
    draw: Tensor


@torch.no_grad()
def sample(
    model: VAE,
    count: int,
    seed: int = 0,
    temperature: float = 1.0,
    density: Distribution | None = None,
    y: Tensor | None = None,
) -> Samples:
    """Draws z and decodes it; the same seed draws the same, whatever was drawn before.

    Arguments:
        temperature: of z alone, see `tempered`; p(x|z) is the model's own.
        density: that z is drawn from, where it is not the model's prior.
        y: labels, (count,), of a model that is told any.

    Errors: TypeError for a temperature other than 1 of a density whose scale is not known.
    """
    p = tempered(model.given(y).prior() if density is None else density, temperature)
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, "sample"))
        z = p.sample() if p.batch_shape else p.sample(torch.Size([count]))
        rows = torch.arange(count).split(_DECODED)
        made = [_decoded(model.given(None if y is None else y[part]), z[part]) for part in rows]
    means, draws = zip(*made, strict=True)
    return Samples(z, None if means[0] is None else torch.cat(means), torch.cat(draws))


def _decoded(model: Autoencoding, z: Tensor) -> tuple[Tensor | None, Tensor]:
    p = model.decode(z)
    return mean_of(p), p.sample()


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
