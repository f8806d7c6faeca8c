"""Ending a run that a search holds for hopeless, and never before the run's own warm-up has ended."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from vae_lab.errors import Pruned
from vae_lab.training.callbacks import LastCheckpoint
from vae_lab.training.module import Training


class Judge(Protocol):
    """Who compares a run with the others of its search, such as an `optuna.Trial`."""

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...


class Pruning(Checkpoint):
    """Reports `val/elbo` after each validation from the moment the objective has settled, and ends the run, by raising
    `Pruned`, when its judge says so. A run that is adaptive is never reported and never ended: no moment is known at which
    its warm-up is over.

    Step k is the k-th validation since then, counted from 0: an annealed run is compared at the same number of
    validations of its final objective, not at the same age, at which it would lose to every run without annealing.
    The run is saved as it ends, after the checkpoints that it keeps anyway (which is why it is one of them), and goes on
    from there when it is asked for again.

    Arguments:
        judge: who decides. history: the rows (step, epoch, name, value) of `metrics.csv`, from which a resumed run
            reports what it had seen before it was cut; read once. sign: of what is reported, for a judge to whom less is better.
    """

    def __init__(
        self, judge: Judge, history: Callable[[], Iterable[tuple[int, int, str, float]]], sign: float = 1.0
    ) -> None:
        self._judge, self._history, self._sign = judge, history, sign
        self._seen: list[float] = []
        self._reported = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        since = pl_module.settled_at
        self._seen = [value for step, _, name, value in self._history() if name == "val/elbo" and step >= since]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        if pl_module.adaptive or not pl_module.settled:
            return
        self._seen.append(pl_module.val_elbo)
        for step in range(self._reported, len(self._seen)):
            self._judge.report(self._sign * self._seen[step], step)
        self._reported = len(self._seen)
        if self._judge.should_prune():
            self._save(trainer, pl_module.updates)
            raise Pruned(f"update {pl_module.updates}, val/elbo {self._seen[-1]:.2f}")

    def _save(self, trainer: pl.Trainer, updates: int) -> None:
        callbacks: list[Any] = trainer.checkpoint_callbacks
        for callback in callbacks:
            if isinstance(callback, LastCheckpoint):
                callback.save(trainer, updates)
