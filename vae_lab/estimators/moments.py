"""Means and variances over a dataset, and active units."""

import torch
from torch import Tensor

from vae_lab.metrics import ACTIVE_THRESHOLD


class Moments:
    """Mean and variance of each column over a whole dataset, in float64, merged block by block (Chan et al. 1983): no
    difference of large sums is ever taken, and the result is that of two passes over the data.

    Example:
        >>> m = Moments(); m.update(torch.tensor([[1.0], [2.0]])); m.update(torch.tensor([[6.0]]))
        >>> m.mean.item(), m.variance().item()
        (3.0, 7.0)
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def update(self, rows: Tensor) -> None:
        """Adds a block of shape (n, *columns)."""
        rows = rows.double()
        n, mean = rows.shape[0], rows.mean(0)
        squares = (rows - mean).square().sum(0)
        total = self.count + n
        delta = mean - self.mean
        self._squares = self._squares + squares + delta.square() * (self.count * n / total)
        self.mean = self.mean + delta * (n / total)
        self.count = total

    def variance(self) -> Tensor:
        """The unbiased variance (divided by n - 1); zero for a single row."""
        return self._squares / max(self.count - 1, 1)

    def standard_error(self) -> Tensor:
        """The standard error of the mean; NaN of fewer than two rows, which say nothing of it."""
        return (self.variance() / self.count).sqrt() if self.count > 1 else torch.full_like(self.mean, torch.nan)


def active_units(variances: Tensor, threshold: float = ACTIVE_THRESHOLD) -> int:
    r"""The number of latents that carry information (Burda et al. 2016, section 5.2).

    .. math:: \#\{j : \mathrm{Var}_x(E_{q(z|x)}[z_j]) > 0.01\}

    Arguments:
        variances: the variance over the dataset of each posterior mean, shape (k,).

    Example:
        >>> active_units(torch.tensor([0.5, 0.0101, 0.01, 0.0]))
        2
    """
    return int((variances > threshold).sum())
