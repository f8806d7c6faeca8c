"""One training run as a LightningModule."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vae_lab.distributions import stream, stream_seed
from vae_lab.models import VAE, Batch
from vae_lab.objectives import Objective
from vae_lab.training.ledger import Ledger

Scheduler = LRScheduler | ReduceLROnPlateau


class Meter(Protocol):
    """What is reported of a split, fed batch by batch; it knows the model and nothing of the objective."""

    def update(self, model: VAE, batch: Batch, index: int) -> None: ...

    def compute(self) -> dict[str, float]: ...


class Diverged(RuntimeError):
    """The loss stayed NaN or infinite for a whole logging interval."""


class Training(pl.LightningModule):
    """Trains a model by an objective.

    A step is a pure function of parameters, batch, noise, coefficients; noise comes from the stream named by the seed
    and the number of the batch, so that a resumed run takes the very steps of an uncut one. `updates`, the number of
    updates, is the objective's t.

    Arguments:
        model, objective: what is trained, and by what.
        optimizer: makes the optimiser from parameters; scheduler: makes its scheduler, or None, from the optimiser.
        meter: makes a fresh `Meter` for a validation.
        seed: of the noise.
        ledger: counts the updates really taken.
    """

    def __init__(
        self,
        model: VAE,
        objective: Objective,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], Scheduler | None],
        meter: Callable[[], Meter],
        seed: int,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.updates, self.batches, self.validations = 0, 0, 0
        self._make_optimizer, self._make_scheduler, self._make_meter = optimizer, scheduler, meter
        self._seed, self._ledger = seed, ledger
        self._window: list[tuple[Tensor, Tensor, Tensor]] = []  # (loss, rate, distortion) since the last log
        self._generator: torch.Generator | None = None
        self._bad: Tensor | None = None
        self._stepped_at = 0
        self._log_every = 1

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the running hook on the module some forty times a step, each time through the search for
        parameters and modules of `nn.Module.__setattr__`; a plain value needs none of it."""
        if name == "_current_fx_name" or isinstance(value, int):
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # ---- training

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        noise = self.model.noise(len(batch.x), self.objective.samples, self._noise_stream())
        terms = self.model.terms(batch, noise)
        loss = self.objective(terms, self.objective.coefficients(self.updates))
        self.batches += 1
        self._window.append((loss.detach(), terms.rate.detach(), terms.distortion.detach()))
        self._skip_unless_finite(loss.detach())
        return loss

    def _noise_stream(self) -> torch.Generator:
        if self._generator is None or self._generator.device != self.device:
            self._generator = torch.Generator(self.device)
        return self._generator.manual_seed(stream_seed(self._seed, "posterior", self.batches))

    def _skip_unless_finite(self, loss: Tensor) -> None:
        """Tells the fused optimiser, on the device, to leave everything as it is if the loss is not finite (the
        mechanism that loss scaling uses): 0 * loss is 0 for a finite loss and NaN otherwise."""
        bad = (loss * 0).ne(0).float()
        self._bad = bad if self._bad is None else torch.maximum(self._bad, bad)
        optimizer = self.trainer.optimizers[0]
        optimizer.found_inf = self._bad  # type: ignore[attr-defined]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.updates += 1
        self._bad = None
        if self._ledger is not None:
            self._ledger.count_update()
        if self.updates % self._log_every == 0:  # here, before any callback saves a checkpoint
            self._log_window()

    def _means(self) -> Tensor:
        """The mean loss, rate and distortion of each batch since the last log, (n, 3)."""
        rows = [torch.stack([value.mean() for value in row]) for row in self._window]
        return torch.stack(rows) if rows else torch.zeros(0, 3)

    def _log_window(self) -> None:
        window = self._means().double().cpu()
        self._window.clear()
        finite = window.isfinite().all(1)
        if not finite.any():
            raise Diverged(
                f"the loss was NaN or infinite for {len(window)} batches in a row (until update {self.updates}), and each "
                "of those updates was skipped. Try a smaller optimizer.lr or trainer.gradient_clip_val=1"
            )
        loss, rate, distortion = window[finite].mean(0).tolist()
        beta = self.objective.beta(self.updates)
        series = {"loss": loss, "elbo": -(rate + distortion), "rate": rate, "distortion": distortion, "beta": beta}
        series["skipped_updates"] = float((~finite).sum())
        self._write({f"train/{name}": value for name, value in series.items()})

    def _write(self, metrics: dict[str, float]) -> None:
        """To every logger at once: `self.log` on each step would cost more than a small model's step."""
        for logger in self.loggers:
            logger.log_metrics({**metrics, "epoch": self.current_epoch}, step=self.updates)

    def on_train_start(self) -> None:
        self._log_every = getattr(self.trainer, "log_every_n_steps", 50)

    # ---- validation: the plain model, at beta = 1

    def on_validation_epoch_start(self) -> None:
        self._meter = self._make_meter()
        self._losses: list[tuple[int, float]] = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._meter.update(self.model, batch, batch_idx)
        self._losses.append((len(batch.x), _batch_loss(self.model, self.objective, batch, batch_idx, self.updates)))

    def on_validation_epoch_end(self) -> None:
        metrics = {f"val/{name}": value for name, value in self._meter.compute().items()}
        metrics["val/loss"] = _weighted_mean(self._losses)
        metrics["val/beta"] = self.objective.beta(self.updates)
        self.validations += 1
        self.log("val/elbo", metrics["val/elbo"], logger=False, prog_bar=True)
        self._write(metrics)

    # ---- what Lightning asks for

    @property
    def settled(self) -> bool:
        """Whether the objective stays as it is from here on: models are selected only then."""
        return self.updates >= self.objective.settled

    def configure_optimizers(self) -> Any:
        optimizer = self._make_optimizer([*self.model.parameters(), *self.objective.parameters()])
        scheduler = self._make_scheduler(optimizer)
        if scheduler is None:
            return optimizer
        plan: dict[str, Any] = {"scheduler": scheduler, "interval": "step"}
        if isinstance(scheduler, ReduceLROnPlateau):
            plan |= {"monitor": "val/elbo", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """A plateau counts validations, and only those after the objective has settled; others count updates."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
        elif metric is not None and self.settled and self.validations > self._stepped_at:
            self._stepped_at = self.validations
            scheduler.step(metric)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch  # the loader keeps its data there

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["vae_lab"] = {
            "updates": self.updates,
            "batches": self.batches,
            "validations": self.validations,
            "stepped_at": self._stepped_at,
            "window": self._means(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["vae_lab"]
        self.updates, self.batches = state["updates"], state["batches"]
        self.validations, self._stepped_at = state["validations"], state["stepped_at"]
        self._window = [(loss, rate, distortion) for loss, rate, distortion in state["window"]]


@torch.no_grad()
def objective_loss(model: VAE, objective: Objective, batches: Iterable[Batch], updates: int) -> float:
    """The trained loss at update t over a split, nats per example. It is what the objective makes of the model, bent as
    its settings say, and comparable with nothing else."""
    indexed = enumerate(batches)
    return _weighted_mean([(len(b.x), _batch_loss(model, objective, b, i, updates)) for i, b in indexed])


def _batch_loss(model: VAE, objective: Objective, batch: Batch, index: int, updates: int) -> float:
    noise = model.noise(len(batch.x), objective.samples, stream(0, "held-out loss", index, batch.x.device))
    return float(objective(model.terms(batch, noise), objective.coefficients(updates)))


def _weighted_mean(values: list[tuple[int, float]]) -> float:
    return sum(n * value for n, value in values) / sum(n for n, _ in values)


def total_updates(max_epochs: int | None, max_steps: int | None, batches: int, accumulate: int) -> int:
    """How many updates a run takes at most, from the limits of its trainer and the batches of an epoch.

    Example:
        >>> total_updates(2, None, 10, 4)
        6
    """
    by_epochs = max_epochs * math.ceil(batches / accumulate) if max_epochs is not None and max_epochs >= 0 else None
    by_steps = max_steps if max_steps is not None and max_steps >= 0 else None
    limits = [limit for limit in (by_epochs, by_steps) if limit is not None]
    return min(limits) if limits else 20 * math.ceil(batches / accumulate)
