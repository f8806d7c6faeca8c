"""How far a training is, on a terminal and in a log."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from vae_lab.amounts import counted, duration
from vae_lab.training.module import Training

FIRST, SLOWER, RAREST = 10.0, 2.0, 600.0
"""Seconds to the first line, the factor by which each next one waits longer, and the longest wait."""


class Progress(pl.Callback):
    """How far a training is: a bar that ends with the run on a terminal; elsewhere a line at the start, one after some seconds,
    and then ever rarer ones. The lines are in the log in any case.

    Arguments:
        say: takes the lines, None for none; label: the run's name, which begins each; bar: whether there is a bar instead;
            start: whether the first line is said too; now: a clock.
    """

    def __init__(
        self,
        say: Callable[[str], object] | None,
        label: str,
        bar: bool = False,
        start: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._label, self._start, self._now = say, label, start, now
        self._bar: Any = _bar() if bar else None
        self._began, self._due, self._wait, self._first = 0.0, 0.0, FIRST, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        self._began, self._first = self._now(), pl_module.updates
        self._wait, self._due = FIRST, self._began + FIRST
        since = f", from update {self._first} on" if self._first else ""
        by_steps = trainer.max_steps == pl_module.total_updates
        epochs = f" ({counted(ends, 'epoch')})" if (ends := trainer.max_epochs or 0) > 0 and not by_steps else ""
        self._tell(f"trains {pl_module.total_updates} updates{epochs}{since}", self._start and self._bar is None)
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("training", total=pl_module.total_updates, completed=self._first, loss="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, Training)
        now = self._now()
        if now < self._due:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=pl_module.updates, loss=f"loss {pl_module.last_loss:.2f}")
            self._due = now + 0.1
            return
        self._tell(self._line(pl_module, now), True)
        self._wait = min(self._wait * SLOWER, RAREST)
        self._due = now + self._wait

    def _line(self, module: Training, now: float) -> str:
        done, total = module.updates, module.total_updates or module.updates
        left = (now - self._began) / max(1, done - self._first) * (total - done)
        return f"update {done} of {total} ({done / total:.0%}), loss {module.last_loss:.2f}, {duration(left)} left"

    def _tell(self, text: str, aloud: bool) -> None:
        logging.getLogger(__name__).info(text)
        if aloud and self._say is not None:
            self._say(f"{self._label}: {text}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._bar is not None:
            assert isinstance(pl_module, Training)
            if self._bar.tasks:
                self._bar.update(self._task, completed=pl_module.updates)
            self._bar.stop()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    return Bar(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr))
