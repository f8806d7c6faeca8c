"""A search over runs that take a moment."""

from collections.abc import Callable

from optuna.trial import FrozenTrial
from small_runs import TINY, Said

SEARCH = ["train", "-m", "hydra/sweeper=optuna", "study.name=quest", *TINY]

Search = Callable[..., Said]
Trials = Callable[..., list[FrozenTrial]]
