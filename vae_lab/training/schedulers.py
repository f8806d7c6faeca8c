"""The learning rate over a run. Each function gives torch's scheduler, stepped once an update (`plateau`: once a
validation), or None; and the length of the warm-up before it.

A warm-up multiplies whatever the scheduler has set: the rate of update t, counted from 0, is that of the scheduler times
min(1, (t + 1) / W). After its W updates it is the scheduler's own, to the bit. `warmup=500` is what Goyal et al. (2017,
section 2.2) call a gradual warm-up.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from annotated_types import Interval
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from vae_lab.objectives.beta import updates
from vae_lab.settings import Count, Fraction, Span, Updates

Factor = Annotated[float, Interval(gt=0, lt=1)]
Scheduler = LRScheduler | ReduceLROnPlateau


class LearningRate(NamedTuple):
    """What sets the learning rate of a run."""

    scheduler: Scheduler | None = None
    warmup: int = 0  # updates

    def factor(self, t: int) -> float:
        """What the warm-up multiplies the rate of update t by."""
        return min(1.0, (t + 1) / self.warmup) if self.warmup else 1.0


def constant(optimizer: Optimizer, total_updates: int, warmup: Span = 0) -> LearningRate:
    """The learning rate as it is."""
    return LearningRate(None, updates(warmup, total_updates))


def step(
    optimizer: Optimizer, total_updates: int, period: Updates = 0.3333, gamma: Factor = 0.1, warmup: Span = 0
) -> LearningRate:
    """Times `gamma` every `period`."""
    return LearningRate(StepLR(optimizer, updates(period, total_updates), gamma), updates(warmup, total_updates))


def cosine(optimizer: Optimizer, total_updates: int, end: Fraction = 0.0, warmup: Span = 0) -> LearningRate:
    """Half a cosine to `end` times the learning rate (Loshchilov and Hutter 2017, Eq. 5, without restarts)."""
    scheduler = CosineAnnealingLR(optimizer, total_updates, eta_min=end * optimizer.param_groups[0]["lr"])
    return LearningRate(scheduler, updates(warmup, total_updates))


def plateau(
    optimizer: Optimizer, total_updates: int, factor: Factor = 0.5, patience: Count = 5, warmup: Span = 0
) -> LearningRate:
    """Times `factor` once `val/elbo` has not improved for `patience` validations, counted after the warm-up."""
    scheduler = ReduceLROnPlateau(optimizer, "max", factor, patience, threshold=0.0)
    return LearningRate(scheduler, updates(warmup, total_updates))


def _acts_after(patience: int = 5, **_: object) -> int:
    """One validation that is the best, as many as it is patient for, and the one that is too many."""
    return patience + 2


plateau.acts_after = _acts_after  # type: ignore[attr-defined]


def learning_rate(made: LearningRate | Scheduler | None) -> LearningRate:
    """What a scheduler's function has made; one of another package's may give torch's scheduler alone."""
    return made if isinstance(made, LearningRate) else LearningRate(made)


def warmed(step: Callable[[], Any], optimizer: Optimizer, factor: float) -> None:
    """Takes a step with the rates of an optimiser times a factor, and leaves them as its scheduler set them."""
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        step()
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
