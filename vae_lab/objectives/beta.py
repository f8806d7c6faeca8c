"""Who sets the weight of the rate at update t. A schedule's `forward(t)` is a plain number.

A schedule is a function of t and of the length of the run alone, so that a resumed run goes on where it was. `settled`
is the first update from which the weight stays as it is: models are selected only from there on.
"""

import math

from torch import Tensor, nn

from vae_lab.settings import Count, Fraction, NonNegative, Span, Updates
from vae_lab.traits import Traits

WEIGHTED = Traits(
    needs={"additive_rate": "it weights the rate"},
    forbids={"rate_in_full": "it weights the rate, at times perhaps by less than is taken away"},
)


def updates(span: int | float, total: int) -> int:
    """A span of training in updates: an int as it is, a float as a fraction of `total`.

    Example:
        >>> updates(0.25, 1000), updates(30, 1000)
        (250, 30)
    """
    return span if isinstance(span, int) else max(min(1, math.ceil(span)), round(span * total))


class Weight(nn.Module):
    """What the objective may rely on."""

    settled = 0  # the first update from which the weight stays as it is, or from which its controller is left to work
    adaptive = False  # whether it follows what it measures, so that nobody knows when its warm-up has ended

    def forward(self, t: int) -> float | Tensor:
        """The weight of the rate relative to the distortion's at update t."""
        raise NotImplementedError

    def weights(self, t: int) -> tuple[float | Tensor, float | Tensor]:
        """The weights (a_D, a_R) of the distortion and of the rate at update t."""
        return 1.0, self(t)

    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        """What a controller learns from a step: the batch's mean distortion and rate, nats per example, detached."""


class Schedule(Weight):
    """A weight that is known before the run begins."""

    def forward(self, t: int) -> float:
        raise NotImplementedError


class Constant(Schedule):
    """The same weight throughout. 1 is the ELBO; above, beta-VAE (Higgins et al. 2017, Eq. 4); below, a weaker pull to
    the prior. With a Gaussian of variance s^2 fixed it acts as the variance beta * s^2."""

    settled = 0

    @classmethod
    def traits_of(cls, value: float = 1.0) -> Traits:
        return Traits() if value == 1 else WEIGHTED

    def __init__(self, value: NonNegative = 1.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, t: int) -> float:
        return self.value


class Linear(Schedule):
    r"""`start` for `delay`, then a straight line to `end` over `warmup`, then `end` (Bowman et al. 2016, section 3.1;
    Sonderby et al. 2016).

    .. math:: \beta_t = b_0 + (b_1 - b_0) \min(1, \max(0, t - t_0) / T)
    """

    traits = WEIGHTED

    def __init__(
        self,
        total_updates: int,
        warmup: Updates = 0.25,
        start: NonNegative = 0.0,
        end: NonNegative = 1.0,
        delay: Span = 0,
    ) -> None:
        super().__init__()
        self.delay, self.warmup = updates(delay, total_updates), updates(warmup, total_updates)
        self.settled, self.start, self.end = self.delay + self.warmup, start, end

    def forward(self, t: int) -> float:
        return self.start + (self.end - self.start) * min(1.0, max(0, t - self.delay) / self.warmup)


class Sigmoid(Schedule):
    r"""A logistic curve around `midpoint` (Bowman et al. 2016, section 3.1 and figure 2).

    .. math:: \beta_t = \sigma\!\left(\frac{t - t_0}{w}\right)

    It never is exactly 0 or 1; it counts as settled ten widths after the midpoint, 5e-5 below 1, or at the
    run's end. `midpoint=2500 width=400` are the values of a widely used sentence VAE.
    """

    traits = WEIGHTED

    def __init__(self, total_updates: int, midpoint: Updates = 0.125, width: Updates = 0.0125) -> None:
        super().__init__()
        self.midpoint, self.width = updates(midpoint, total_updates), updates(width, total_updates)
        self.settled = min(self.midpoint + 10 * self.width, total_updates)

    def forward(self, t: int) -> float:
        x = (min(t, self.settled) - self.midpoint) / self.width
        return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


class Cosine(Schedule):
    r"""Half a cosine over `warmup`, then 1: :math:`\beta_t = \tfrac12 (1 - \cos \pi \min(1, t / T))`."""

    traits = WEIGHTED

    def __init__(self, total_updates: int, warmup: Updates = 0.25) -> None:
        super().__init__()
        self.settled = updates(warmup, total_updates)

    def forward(self, t: int) -> float:
        return 0.5 * (1 - math.cos(math.pi * min(1.0, t / self.settled)))


class Cyclical(Schedule):
    r"""A ramp from 0 to 1, repeated (Fu et al. 2019, Eqs. 6 and 7, with a linear ramp).

    .. math:: \tau = \frac{t \bmod \lceil T / M \rceil}{T / M}, \qquad \beta_t = \min(1, \tau / R)

    Arguments:
        cycles: M, how many ramps there are in the run.
        ratio: R, the part of a cycle that is ramp; the rest of it is at 1.

    The learning rate is left alone (the paper's own script restarts it with each cycle, which confounds the two).
    """

    traits = WEIGHTED

    def __init__(self, total_updates: int, cycles: Count = 4, ratio: Fraction = 0.5) -> None:
        super().__init__()
        if total_updates < 2 * cycles:
            raise ValueError(
                f"beta.cycles: {cycles} given; a run of {total_updates} updates has room for {total_updates // 2}"
            )
        self.period, self.ratio = math.ceil(total_updates / cycles), ratio
        self.length = total_updates / cycles
        self.settled = (cycles - 1) * self.period + math.ceil(ratio * self.length)

    def forward(self, t: int) -> float:
        tau = (t % self.period) / self.length
        return min(1.0, tau / self.ratio) if self.ratio > 0 and t < self.settled else 1.0
