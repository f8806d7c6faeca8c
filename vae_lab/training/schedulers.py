"""The learning rate over a run. Each function gives torch's scheduler, stepped once an update (`plateau`: once a
validation), or None."""

from typing import Annotated

from annotated_types import Interval
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from vae_lab.objectives.beta import updates
from vae_lab.settings import Count, Fraction, Updates

Factor = Annotated[float, Interval(gt=0, lt=1)]


def constant(optimizer: Optimizer) -> None:
    """The learning rate as it is."""


def step(optimizer: Optimizer, total_updates: int, period: Updates = 0.3333, gamma: Factor = 0.1) -> LRScheduler:
    """Times `gamma` every `period`."""
    return StepLR(optimizer, updates(period, total_updates), gamma)


def cosine(optimizer: Optimizer, total_updates: int, end: Fraction = 0.0) -> LRScheduler:
    """Half a cosine to `end` times the learning rate (Loshchilov and Hutter 2017, Eq. 5, without restarts)."""
    return CosineAnnealingLR(optimizer, total_updates, eta_min=end * optimizer.param_groups[0]["lr"])


def plateau(optimizer: Optimizer, factor: Factor = 0.5, patience: Count = 5) -> ReduceLROnPlateau:
    """Times `factor` once `val/elbo` has not improved for `patience` validations."""
    return ReduceLROnPlateau(optimizer, "max", factor, patience, threshold=0.0)
