"""A search over runs that take a moment."""

from collections.abc import Callable

from optuna.trial import FrozenTrial
from small_runs import TINY, Said

_SEARCH = ["train", "-m", "hydra/sweeper=optuna", "study.name=quest", *TINY]


def command(*words: str) -> list[str]:
    """The search named `quest` with further words, which replace its own where they name the same key."""
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in _SEARCH if word.partition("=")[0] not in given), *words]


Search = Callable[..., Said]
Trials = Callable[..., list[FrozenTrial]]
