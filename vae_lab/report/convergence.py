r"""Tells a run that had converged from one that had not, by the end of its `val/elbo` curve.

Progress is measured in learning rate: at update t it is :math:`\tau = \sum_{s \le t} \eta_s`, the time of the gradient flow
that training follows. Under a constant rate that is the number of updates. Under one that decays to 0 the curve ends flat
whatever is missing, so that its slope over updates says nothing, and its slope over tau does.

A decaying rate also takes away the noise of the weights, by about an amount in proportion to the rate, and that rise is no
lack of training. The line that is fitted to the end of the curve has both:

.. math:: \mathrm{elbo} = a + b\, \tau + c\, \eta
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 0.2  # the share of training over which a rise is stated, and fitted where the rate is constant
DECAYING = 0.35  # the share of tau that is fitted where it is not: two terms must be told apart
RISE = 0.25  # nats
FEWEST_VALIDATIONS = 8
FEWEST_IN_WINDOW = 4
_CONSTANT = 0.01  # the share of the highest rate by which one may vary and count as constant


@dataclass(frozen=True)
class Trend:
    """How a validation curve ends: the rise over the last fifth of training by a fitted line, and its standard error.

    It is a warning, which had better come once too often: of curves that have converged with noise of a nat, 8 % seem to
    rise (and as many to fall) where 8 validations were logged, 4 % at 40; under a cosine or steps no more (`tests/report`), where the
    noise of the weights follows the rate at once. Where it dies out slowly after a step, a converged run may be named."""

    rise: float
    error: float

    @property
    def is_rising(self) -> bool:
        """Whether it still rose by more than `RISE` nats and twice its error: more training would have helped."""
        return self.rise > max(RISE, 2 * self.error)

    @property
    def is_falling(self) -> bool:
        """Whether it still fell by as much: by overfitting, or on the way of a weight of the rate that still moved."""
        return -self.rise > max(RISE, 2 * self.error)


def trend(
    steps: Sequence[float], values: Sequence[float], rates: tuple[Sequence[float], Sequence[float]] | None = None
) -> Trend | None:
    """The end of a `val/elbo` curve (nats), or None where it has too few points to judge.

    A least-squares line through the points of the last fifth of training, four points at least; its rise is its slope
    times a fifth of training, and its error follows from the scatter about the line. Where the learning rate varied, training
    is measured in tau, and the line has a term for the rate.

    Arguments:
        steps, values: of the curve. rates: steps and learning rates; None: constant.
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    if len(x) < FEWEST_VALIDATIONS:
        return None
    tau, eta = _progress(x, *rates) if rates and len(rates[0]) else (x, np.ones_like(x))
    last = _start(tau, WINDOW, FEWEST_IN_WINDOW)
    if _varies(eta[last:], eta.max()):
        last = _start(tau, DECAYING, FEWEST_IN_WINDOW + 1)
        slope, error = _slope(y[last:], tau[last:] / tau[-1], eta[last:] / eta.max())
    else:
        slope, error = _slope(y[last:], tau[last:] / tau[-1])
    return Trend(WINDOW * slope, WINDOW * error) if math.isfinite(error) else None


def _progress(x: np.ndarray, steps: Sequence[float], rates: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Tau and the learning rate at each x; the rate is linear between the steps at which it was logged, and before the
    first of them as there."""
    at, logged = np.asarray(steps, dtype=float), np.asarray(rates, dtype=float)
    grid = np.unique(np.concatenate([[0.0], at, x]))
    eta = np.interp(grid, at, logged)
    tau = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (eta[1:] + eta[:-1]) / 2)])
    return np.interp(x, grid, tau), np.interp(x, grid, eta)


def _start(tau: np.ndarray, share: float, fewest: int) -> int:
    """The first point of the last share of tau, or of the last so many points."""
    return max(0, int(min(np.searchsorted(tau, tau[-1] * (1 - share)), len(tau) - fewest)))


def _varies(eta: np.ndarray, highest: float) -> bool:
    return bool(np.ptp(eta) > _CONSTANT * highest)


def _slope(y: np.ndarray, x: np.ndarray, beside: np.ndarray | None = None) -> tuple[float, float]:
    """The coefficient of x in a least-squares fit of y, with a constant and perhaps another term beside it, and its standard
    error: the residuals of x and y on what stands beside are fitted by a line (Frisch and Waugh 1933).
    `scipy.stats.linregress` takes ten times as long, and there may be ten thousand curves."""
    dx, dy, terms = x - x.mean(), y - y.mean(), 2
    if beside is not None:
        other, terms = beside - beside.mean(), 3
        dx, dy = (d - (other @ d) / (other @ other) * other for d in (dx, dy))
    square = float(dx @ dx)
    if square < 1e-12 * len(x):  # the two cannot be told apart, or nothing moved
        return 0.0, math.inf
    slope = float(dx @ dy) / square
    rest = float(((dy - slope * dx) ** 2).sum())
    return slope, math.sqrt(rest / (len(x) - terms) / square)
