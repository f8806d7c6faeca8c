"""Importance-weighted bounds on log p(x), one shot and streamed."""

import math

import torch
from torch import Tensor


def importance_bound(log_w: Tensor) -> Tensor:
    r"""The importance-weighted lower bound of each example (Burda et al. 2016, Eq. 8), nats.

    .. math:: L_K = \log \frac1K \sum_{k=1}^K w_k, \qquad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}

    Arguments:
        log_w: log-weights, shape (K, B).

    Returns: shape (B,). In expectation it rises with K towards log p(x); for K = 1 it is the one-sample ELBO.

    Example:
        >>> importance_bound(torch.tensor([[-1.0], [-1.0]]))
        tensor([-1.])
    """
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])


class LogMeanExp:
    """`importance_bound` streamed over blocks of samples: memory does not grow with K, sums are kept in float64.

    `update(log_w)` takes a block (k, B); `compute()` gives the bound and `effective_sample_size()` Kish's
    (sum w)^2 / sum w^2, each of shape (B,).
    """

    def __init__(self) -> None:
        self.samples = 0
        self._first: Tensor | None = None  # log sum w
        self._second: Tensor | None = None  # log sum w^2

    def update(self, log_w: Tensor) -> None:
        log_w = log_w.double()
        first, second = torch.logsumexp(log_w, 0), torch.logsumexp(2 * log_w, 0)
        self._first = first if self._first is None else torch.logaddexp(self._first, first)
        self._second = second if self._second is None else torch.logaddexp(self._second, second)
        self.samples += log_w.shape[0]

    def compute(self) -> Tensor:
        if self._first is None:
            raise ValueError("no samples were given")
        return self._first - math.log(self.samples)

    def effective_sample_size(self) -> Tensor:
        if self._first is None or self._second is None:
            raise ValueError("no samples were given")
        return (2 * self._first - self._second).exp()
