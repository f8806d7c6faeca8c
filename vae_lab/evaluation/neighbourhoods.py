"""Fidelity and diversity apart: whether samples lie among the examples, and examples among the samples."""

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 1024


class Neighbourhoods(NamedTuple):
    r"""With B(a) the closed ball about a whose radius is the distance to the k-th nearest other of its own set, reals
    x_1..x_n and samples y_1..y_m:

    .. math::
        \text{precision} &= \tfrac1m \sum_j 1[y_j \in \textstyle\bigcup_i B(x_i)], &
        \text{recall} &= \tfrac1n \sum_i 1[x_i \in \textstyle\bigcup_j B(y_j)] \\
        \text{density} &= \tfrac1{km} \sum_{i,j} 1[y_j \in B(x_i)], &
        \text{coverage} &= \tfrac1n \sum_i 1[\exists j: y_j \in B(x_i)]

    (Kynkaanniemi et al. 2019; Naeem et al. 2020). Each is in [0, 1] but the density, which
    may exceed 1 where samples lie where reals are dense. One outlier among the reals has a wide ball, which counts as much
    as any in precision, and as one of n k in density.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real: Tensor, samples: Tensor, k: int = 5) -> Neighbourhoods | None:
    """The four measures on features (n, d) and (m, d), Euclidean; memory grows with n + m and not with their product.

    Returns:
        None where either set has no k-th neighbour, n or m <= k.
    """
    if min(len(real), len(samples)) <= k:
        return None
    real, samples = real.double(), samples.double()
    around_real, around_samples = _radii(real, k), _radii(samples, k)
    hits, precise = 0, 0
    recalled, covered = torch.zeros(2, len(real), dtype=torch.bool)
    for rows, radii in zip(samples.split(_BLOCK), around_samples.split(_BLOCK), strict=True):
        distances = torch.cdist(rows, real)
        inside = distances <= around_real
        hits, precise = hits + int(inside.sum()), precise + int(inside.any(1).sum())
        covered |= inside.any(0)
        recalled |= (distances <= radii[:, None]).any(0)
    n = len(samples)
    return Neighbourhoods(precise / n, float(recalled.double().mean()), hits / (k * n), float(covered.double().mean()))


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each to its k-th nearest other, (n,); the nearest of all is itself. A hair more, since the balls are
    closed and the same distance computed twice may differ in its last bits."""
    radii = torch.cat([torch.cdist(rows, x).topk(k + 1, largest=False).values[:, -1] for rows in x.split(_BLOCK)])
    return radii * (1 + 1e-9)
