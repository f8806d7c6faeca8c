"""Lightning's loop over the batches of an epoch, less what nobody listens to."""

import functools
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.trainer import call
from pytorch_lightning.utilities.model_helpers import is_overridden

LEFT_OUT = ("on_train_batch_start", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
"""Hooks of callbacks and modules that Lightning calls at every batch, and this loop and `Training` do not."""
LEFT_OUT_OF_MODULES = ("on_train_batch_end", "on_before_batch_transfer", "on_after_batch_transfer")


class EpochLoop(_TrainingEpochLoop):
    """Takes a batch as Lightning's own loop does, in less than half of the time that it adds to a step.

    Lightning calls some twenty hooks a batch, keeps a profiler's record of each, and collects what was logged: a tenth of
    a small model's step. Where nobody implements a hook that is left out here, nobody profiles and nothing was logged
    through `self.log`, the result is the same; else it is Lightning's own `advance` that runs.
    """

    def advance(self, data_fetcher: Any) -> None:
        if self.restarting or self.needs_every_hook:
            return super().advance(data_fetcher)
        trainer, progress, index = self.trainer, self.batch_progress, self.batch_idx + 1
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch = trainer.precision_plugin.convert_input(batch)
        progress.is_last_batch = data_fetcher.done
        progress.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        progress.increment_started()
        self.manual_optimization.on_run_start()
        trainer.strategy.training_step(batch, index)
        self.manual_optimization.on_run_end()
        progress.increment_processed()
        call._call_callback_hooks(trainer, "on_train_batch_end", None, batch, index)
        progress.increment_completed()
        if self._results:  # a callback has logged something
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
        return None

    @functools.cached_property
    def needs_every_hook(self) -> bool:
        """Whether somebody listens to what is left out. Callbacks are known once a fit has begun."""
        trainer, module = self.trainer, self.trainer.lightning_module
        heard = [is_overridden(hook, callback, pl.Callback) for callback in trainer.callbacks for hook in LEFT_OUT]
        heard += [is_overridden(hook, module, pl.LightningModule) for hook in (*LEFT_OUT, *LEFT_OUT_OF_MODULES)]
        return any(heard) or not isinstance(trainer.profiler, PassThroughProfiler)


def with_own_loop(trainer: pl.Trainer) -> pl.Trainer:
    """The same trainer, with the loop above in the place of Lightning's."""
    theirs = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = EpochLoop(trainer, min_steps=theirs.min_steps, max_steps=theirs.max_steps)
    return trainer


def needs_every_hook(trainer: pl.Trainer) -> bool:
    """Whether a step has to go Lightning's own ways, which call every hook: the loop is another, or somebody listens."""
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    return not isinstance(loop, EpochLoop) or loop.needs_every_hook


def counted_step(optimizer: LightningOptimizer) -> Callable[[], Any]:
    """What takes an optimiser's step and counts it as Lightning does, past the hooks."""

    def step() -> None:
        optimizer._on_before_step()
        optimizer.optimizer.step()
        optimizer._on_after_step()

    return step
