"""Lightning's callbacks, aware of the moment from which the objective stays as it is."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from vae_lab.settings import Count, NonNegative
from vae_lab.training.module import Training


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` every so many updates and at the end, each time over the old one.

    Where a validation follows the same update it writes after that: a run that goes on from a checkpoint does not make
    up for a validation that was due, and with it for a step of a plateau or a best model.
    """

    cosmetic = frozenset({"every_n_updates"})  # changes no model, so it is no part of a run's identity

    def __init__(self, directory: str, every_n_updates: Count = 500) -> None:
        self.path, self.every = f"{directory}/last.ckpt", every_n_updates
        self._saved, self._postponed = 0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        self._saved = pl_module.updates  # a resumed run has saved this one

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, Training)
        last = pl_module.updates == pl_module.total_updates
        due = last or (pl_module.updates % self.every == 0 and pl_module.updates > self._saved)
        self._postponed = due and _validates_now(trainer)
        if due and not self._postponed:
            self._arrive(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        if self._postponed:
            self._postponed = False
            self._arrive(trainer, pl_module)

    def _arrive(self, trainer: pl.Trainer, module: Training) -> None:
        """Saves, or at the run's last update notes how a longer run would go on: it is saved once it has ended."""
        if module.updates != module.total_updates:
            self.save(trainer, module.updates)
        elif not trainer.should_stop:  # else a longer run would stop here too
            module.note_open()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        self.save(trainer, pl_module.updates)  # after the module's `on_train_end`, which logs the last updates

    def save(self, trainer: pl.Trainer, updates: int) -> None:
        self._saved = updates
        trainer.save_checkpoint(self.path, weights_only=False)


def _validates_now(trainer: pl.Trainer) -> bool:
    """Whether a validation follows the batch that has just ended: Lightning decides by this, and has no public name
    for it."""
    loop = trainer.fit_loop
    return loop._data_fetcher is not None and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


class BestCheckpoint(ModelCheckpoint):
    """Writes `best.ckpt` when `val/elbo` (at beta = 1) is the best so far, counted from the moment the objective has
    settled: before it, an early collapsed state can look best."""

    def __init__(self, directory: str) -> None:
        super().__init__(
            directory,
            "best",
            "val/elbo",
            mode="max",
            save_weights_only=True,
            save_on_train_epoch_end=False,  # else it would not ask `on_validation_end`
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Also of a run whose directory has been moved: Lightning would forget the best score, and delete the best
        checkpoint where it was."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: self._here(state_dict[name]) for name in paths}
        scores = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        if pl_module.settled:
            super().on_validation_end(trainer, pl_module)


class SettledEarlyStopping(EarlyStopping):
    """Ends a run when `val/elbo` has not improved by `min_delta` nats for `patience` validations, counted from the
    moment the objective has settled."""

    @staticmethod
    def acts_after(patience: int = 10, **_: object) -> int:
        """One validation that is the best, and as many as it is patient for."""
        return patience + 1

    def __init__(self, patience: Count = 10, min_delta: NonNegative = 0.0) -> None:
        super().__init__("val/elbo", min_delta, patience, mode="max", check_on_train_epoch_end=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        if pl_module.settled:
            super().on_validation_end(trainer, pl_module)
