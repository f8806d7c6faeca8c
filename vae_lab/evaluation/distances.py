"""How far two sets of examples are apart as distributions, on features of them."""

from typing import NamedTuple

import torch
from torch import Tensor

BLOCKS, _LARGEST = 10, 1000


def frechet_distance(x: Tensor, y: Tensor) -> float | None:
    r"""The squared Frechet (2-Wasserstein) distance of the Gaussians with the means and covariances (over n - 1) of two
    sets, in squared units of the features (Dowson and Landau 1982; Heusel et al. 2017).

    .. math:: |m_1 - m_2|^2 + \mathrm{tr}\, S_1 + \mathrm{tr}\, S_2 - 2\, \mathrm{tr} (S_1 S_2)^{1/2}

    With roots S = R^T R the last trace is the sum of the singular values of R_1 R_2^T, and no root of a matrix is taken: a
    singular covariance does no harm. A finite n biases it upwards, the more the fewer examples for each feature (Chong and
    Forsyth 2020), so that only figures of equal n go together.

    Arguments:
        x, y: features, (n, d) and (m, d).

    Returns:
        None with fewer than two of either.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> frechet_distance(x, 3 * x + 1)  # N(1, 1) and N(4, 9)
        13.0
    """
    if min(len(x), len(y)) < 2:
        return None
    (m1, r1), (m2, r2) = _moments(x), _moments(y)
    common = torch.linalg.svdvals(r1 @ r2.T).sum()
    squared = (m1 - m2).square().sum() + r1.square().sum() + r2.square().sum() - 2 * common
    return float(squared.clamp(min=0))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, (d,), and a root R, (min(n, d), d), of the covariance R^T R; float64."""
    x = x.double()
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / (len(x) - 1) ** 0.5, mode="r").R


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


def kernel_distance(x: Tensor, y: Tensor) -> Estimate | None:
    r"""The squared maximum mean discrepancy of two sets under the kernel k(x, y) = (x^T y / d + 1)^3, unbiased: of equal
    distributions its expectation is 0, and it may be negative (Binkowski et al. 2018; Gretton et al. 2012, Eq. 3).

    .. math:: \frac1{n(n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac1{m(m-1)} \sum_{i \ne j} k(y_i, y_j)
              - \frac2{nm} \sum_{i,j} k(x_i, y_j)

    The mean over disjoint blocks, ten or as many as none has more than 1,000 examples; since they share nothing, the
    standard error is that of a mean of independent numbers.

    Arguments:
        x, y: features, (n, d) and (m, d), in random order.

    Returns:
        None with fewer than twenty of either, two a block.
    """
    blocks = max(BLOCKS, -(-max(len(x), len(y)) // _LARGEST))
    if min(len(x), len(y)) < 2 * blocks:
        return None
    pairs = zip(x.double().tensor_split(blocks), y.double().tensor_split(blocks), strict=True)
    values = torch.stack([_discrepancy(a, b) for a, b in pairs])
    return Estimate(float(values.mean()), float(values.std() / blocks**0.5))


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * _kernel(x, y).mean()


def _mean_of_pairs(x: Tensor) -> Tensor:
    k = _kernel(x, x)
    return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
