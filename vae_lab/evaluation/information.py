"""What the latent code carries: mutual information and the aggregate posterior's distance from the prior."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_lab.distributions import stream
from vae_lab.estimators import Moments, log_aggregate
from vae_lab.models import VAE, Batch
from vae_lab.models.labels import Labelled

_ROWS = 512  # points whose density under the aggregate is computed at a time


@dataclass(frozen=True)
class Information:
    """log q(z|x) - log q(z) of each example, in the order of the split, float64, shape (N,); its mean is the plug-in mutual
    information."""

    log_ratio: Tensor

    @property
    def plug_in(self) -> float:
        return float(self.log_ratio.mean())

    @property
    def standard_error(self) -> float:
        moments = Moments()
        moments.update(self.log_ratio)
        return float(moments.standard_error())


@torch.no_grad()
def information(model: VAE, batches: Iterable[Batch], samples: int = 1, seed: int = 0) -> Information:
    r"""The plug-in estimate of the mutual information of x and z under q, over the *whole* split.

    .. math:: \hat I = \frac1N \sum_n E_{q(z|x_n)}\left[\log q(z|x_n) - \log \frac1N \sum_m q(z|x_m)\right]

    In expectation it is a lower bound of I(x; z) (Poole et al. 2019, Eq. 10, with the true conditional as critic) and
    cannot exceed ln N; the rate is an upper bound, since rate = I + KL(q(z) || p(z)) (Hoffman and Johnson 2016). An
    aggregate over a mini-batch of B would cap it at ln B. The posteriors' parameters of the split are held in memory.

    Where each label has a prior of its own, it is that of x and z given the label, q(z) that of the examples of the same
    label, and rate = I(x; z | y) + E KL(q(z|y) || p(z|y)).
    """
    if not isinstance(model.prior, Labelled):
        return Information(_log_ratio(model, batches, samples, seed))
    whole = list(batches)
    ratios = torch.cat([_log_ratio(model, group, samples, seed) for group in by_label(whole)])
    order = torch.cat([batch.y for batch in whole if batch.y is not None]).argsort(stable=True)
    return Information(torch.empty_like(ratios).index_copy(0, order, ratios))


def by_label(batches: Iterable[Batch]) -> list[list[Batch]]:
    """The same examples in a group for each label."""
    whole = list(batches)
    x, y = torch.cat([batch.x for batch in whole]), torch.cat([batch.y for batch in whole if batch.y is not None])
    size = max(len(batch.x) for batch in whole)
    return [
        [Batch(part, label.expand(len(part))) for part in x[y == label].split(size)] for label in y.unique(sorted=True)
    ]


def _log_ratio(model: VAE, batches: Iterable[Batch], samples: int, seed: int) -> Tensor:
    encoded = [(model.given(batch.y).encode(batch.x), len(batch.x), batch.x.device) for batch in batches]
    posteriors, ratios = [q for q, _, _ in encoded], []
    for i, (q, n, device) in enumerate(encoded):
        noise = model.noise(n, samples, stream(seed, "information", i, device))
        z = model.posterior.reparametrize(q, noise)
        log_aggregates = torch.cat([log_aggregate(rows, posteriors) for rows in z.flatten(0, 1).split(_ROWS)])
        ratios.append((q.log_prob(z).double() - log_aggregates.view(samples, n)).mean(0))
    return torch.cat(ratios)
