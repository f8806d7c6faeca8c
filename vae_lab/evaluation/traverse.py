"""What each latent does: its rate over a split, where its values lie, and how x changes as it alone moves."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.distributions import per_dimension_kl, stream, stream_seed
from vae_lab.estimators import Moments
from vae_lab.evaluation.panels import mean_of
from vae_lab.models import VAE, Autoencoding, Batch


class Usage(NamedTuple):
    """Of a split: the mean rate of each latent, nats, (k,), None where the rate does not split; the variance of its
    posterior means, (k,); and draws from the aggregate posterior, one for each example, (n, k)."""

    rates: Tensor | None
    variances: Tensor
    draws: Tensor

    def order(self) -> list[int]:
        """The latents, the most used first: by rate, or by the variance of the means where the rate does not split."""
        used = self.variances if self.rates is None else self.rates
        return [int(latent) for latent in used.argsort(descending=True, stable=True)]


@torch.no_grad()
def usage(model: VAE, batches: Iterable[Batch], seed: int = 0) -> Usage:
    """Gone through once; the draws of batch b are from the stream (seed, b). A model that is told labels has those of the
    batches."""
    rates, means, draws = Moments(), Moments(), []
    for index, batch in enumerate(batches):
        at = model.given(batch.y)
        q, generator = at.encode(batch.x), stream(seed, "traversal", index, batch.x.device)
        means.update(q.mean)
        draws.append(model.posterior.reparametrize(q, model.noise(len(batch.x), 1, generator))[0])
        parts = per_dimension_kl(q, at.prior())
        if parts is not None:
            rates.update(parts)
    return Usage(rates.mean if rates.count else None, means.variance(), torch.cat(draws))


def moved(start: Tensor, latent: int, values: Tensor) -> Tensor:
    """The point (k,) with one of its latents at each of the values, (steps,): (steps, k)."""
    z = start.expand(len(values), -1).clone()
    z[:, latent] = values
    return z


@torch.no_grad()
def decoded(model: Autoencoding, z: Tensor, seed: int = 0) -> Tensor:
    """The mean of p(x|z) at points (n, k), (n, *shape); where it has none in closed form, draws with the same noise at every
    point, so that what differs is due to z."""
    mean = mean_of(model.decode(z))
    if mean is not None:
        return mean
    draws = []
    with torch.random.fork_rng():
        for point in z:
            torch.manual_seed(stream_seed(seed, "traversal pixels"))
            draws.append(model.decode(point[None]).sample())
    return torch.cat(draws)
