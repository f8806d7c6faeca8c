"""Monte Carlo errors: what another seed of the evaluation would move a figure by, the examples staying the same."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.estimators import Moments
from vae_lab.models import Terms
from vae_lab.models.vae import closed_rate

_GROUPS = 10


class Variances(NamedTuple):
    """Of each example, float64, (B,): the variance over z ~ q(z|x) of one draw of its elbo, rate and distortion, and that of
    its importance-weighted bound of all K draws. NaN where one draw is all there is."""

    elbo: Tensor
    rate: Tensor
    distortion: Tensor
    nll: Tensor


class DrawMeter:
    """Accumulates the variances over draws for the examples of one batch: `update` takes a block of draws."""

    def __init__(self) -> None:
        self._elbo, self._rate, self._distortion = Moments(), Moments(), Moments()
        self._sums: list[Tensor] = []  # log sum w, (B,), of the draws k, k + 10, k + 20 ...
        self._is_closed = False

    def update(self, terms: Terms, log_w: Tensor) -> None:
        """Adds K draws, with their log-weights, (K, B)."""
        self._is_closed = terms.rates is not None or closed_rate(terms.posterior, terms.prior) is not None
        log_w = log_w.double()
        for k in range(_GROUPS):
            rows = log_w[(k - self._elbo.count) % _GROUPS :: _GROUPS]
            self._add(k, rows)
        self._distortion.update(terms.distortion)
        self._elbo.update(log_w)
        self._rate.update(-log_w - terms.distortion)

    def _add(self, group: int, rows: Tensor) -> None:
        if not len(rows):
            return
        total = torch.logsumexp(rows, 0)
        if group < len(self._sums):
            self._sums[group] = torch.logaddexp(self._sums[group], total)
        else:
            self._sums.append(total)

    def compute(self) -> Variances:
        """The variances. A rate in closed form has none, and leaves the ELBO that of the distortion."""
        distortion = self._distortion.variance()
        if self._elbo.count < 2:
            unknown = torch.full_like(distortion, torch.nan)
            return Variances(unknown, unknown, unknown, unknown)
        bound = self._bound()
        if self._is_closed:
            return Variances(distortion, torch.zeros_like(distortion), distortion, bound)
        return Variances(self._elbo.variance(), self._rate.variance(), distortion, bound)

    def _bound(self) -> Tensor:
        r"""The variance of L = log mean w by the jackknife over G groups of draws (Efron and Tibshirani 1993, section 11.5).

        .. math:: \frac{G-1}{G} \sum_g (L_{(-g)} - \bar L_{(\cdot)})^2

        The delta method, 1/ESS - 1/K, is half of it and less where few weights carry the sum, as they often do.
        """
        sums, count = torch.stack(self._sums), self._elbo.count
        others = [torch.cat([sums[:g], sums[g + 1 :]]).logsumexp(0) for g in range(len(sums))]
        sizes = [count - len(range(g, count, _GROUPS)) for g in range(len(sums))]
        without = torch.stack([total - math.log(size) for total, size in zip(others, sizes, strict=True)])
        return without.var(0, correction=0) * (len(sums) - 1)


def monte_carlo_errors(variances: Variances, elbo_samples: int) -> dict[str, float]:
    """The Monte Carlo standard error of each figure: of a mean over examples, each of `elbo_samples` draws."""
    draws = {"elbo": elbo_samples, "rate": elbo_samples, "distortion": elbo_samples, "nll": 1}
    return {
        f"{name}_mcse": float((variance.sum() / draws[name]).sqrt() / len(variance))
        for name, variance in variances._asdict().items()
    }
