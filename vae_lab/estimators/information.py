"""The aggregate posterior q(z) = mean_n q(z|x_n) of a whole split, from which information estimates follow."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_lab.distributions import Gaussian, diagonal

_CANCELS = 1e9  # squares of this size leave 7 decimals of a nat in float64


def pairwise_log_prob(q: Distribution, z: Tensor) -> Tensor:
    """log q_m(z_n) for every pair, shape (n, m), float64, for a batch of m distributions and n points.

    Diagonal Gaussians take three matrix products, unless their scales are so small beside their means that the expanded
    square would cancel; they and any other family are broadcast.
    """
    z = z.double()
    base = q.base_dist if isinstance(q, Independent) else None
    if not isinstance(base, Gaussian):
        return q.log_prob(z.unsqueeze(1).to(q.mean.dtype)).double()
    loc, log_scale = base.loc.double(), base.log_scale.double().expand_as(base.loc)
    precision = (-2 * log_scale).exp()
    if (loc.square() * precision).max() > _CANCELS:
        return diagonal(loc, log_scale).log_prob(z.unsqueeze(1))
    square = z.square() @ precision.T - 2 * z @ (loc * precision).T + (loc.square() * precision).sum(1)
    return -0.5 * square - log_scale.sum(1) - 0.5 * loc.shape[1] * math.log(2 * math.pi)


def log_aggregate(z: Tensor, posteriors: list[Distribution]) -> Tensor:
    r"""The log density of the aggregate posterior at each point, nats, shape (n,).

    .. math:: \log \hat q(z) = \log \frac1N \sum_{n=1}^N q(z \mid x_n)

    Arguments:
        z: points, shape (n, k).
        posteriors: the posteriors of all N examples of the split, in blocks; *all* of them, since an aggregate over a
            mini-batch of B caps every information estimate at log B.
    """
    total = sum(q.batch_shape[0] for q in posteriors)
    result = torch.full((z.shape[0],), -math.inf, dtype=torch.float64, device=z.device)
    for q in posteriors:
        result = torch.logaddexp(result, torch.logsumexp(pairwise_log_prob(q, z), 1))
    return result - math.log(total)
