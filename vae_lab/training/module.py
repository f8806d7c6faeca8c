"""One training run as a LightningModule."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vae_lab.distributions import stream_seed
from vae_lab.models import VAE, Batch
from vae_lab.objectives import Objective
from vae_lab.training.corruption import Clean
from vae_lab.training.held_out import batch_loss, weighted_mean
from vae_lab.training.inference import Amortized
from vae_lab.training.ledger import Ledger
from vae_lab.training.loop import counted_step, needs_every_hook
from vae_lab.training.processes import ALONE, Alone
from vae_lab.training.schedulers import LearningRate, Scheduler, learning_rate, warmed
from vae_lab.training.step import CompiledStep, Step, StepInputs, StepResult
from vae_lab.training.weights import coefficients, counts_in_full, rate_weight
from vae_lab.training.window import Window

_PLAIN = frozenset({"_current_fx_name", "updates", "batches", "_bad", "_ends_update", "_shares", "_weight", "_loss"})


class Meter(Protocol):
    """What is reported of a split, fed batch by batch; it knows the model and nothing of the objective."""

    def update(self, model: VAE, batch: Batch, index: int) -> object: ...

    def compute(self) -> dict[str, float]: ...


class Training(pl.LightningModule):
    """Trains a model by an objective.

    A step is a pure function of parameters, batch, noise, coefficients; noise comes from the stream named by the seed
    and the number of the batch, so that a resumed run takes the very steps of an uncut one. `updates`, the number of
    updates, is the objective's t.

    Arguments:
        model, objective: what is trained, and by what; the model's inference says how; corruption: of what the encoder
            sees in training.
        optimizer: makes the optimiser from parameters; scheduler: makes its scheduler, or None, from the optimiser, and
            says how long the learning rate warms up. What
            the objective trains beside the model (`Objective.parameter_groups`) has an Adam of its own, which steps with
            it and which neither the scheduler nor clipping nor weight decay reaches.
        meter: makes a fresh `Meter` for a validation.
        seed: of the noise.
        ledger: counts the updates really taken.
        information: the mutual information of x and z over batches, for an inference that asks for it.
        processes: those that share the run; the first of them validates and writes.
        gradient_clip_val: the largest norm of a gradient, or None; accumulate: batches an update. Both are Lightning's
            settings of the trainer, honoured here: optimisation is manual, which saves a quarter of the time that
            Lightning adds to a small model's step, and is what several optimisers and inner loops need.
        compiled: whether the step is one compiled graph.
        total_updates: where the run ends, if nothing ends it before; its checkpoint then says how to go on.
    """

    def __init__(
        self,
        model: VAE,
        objective: Objective,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LearningRate | Scheduler | None],
        meter: Callable[[], Meter],
        seed: int,
        ledger: Ledger | None = None,
        gradient_clip_val: float | None = None,
        accumulate: int = 1,
        corruption: nn.Module | None = None,
        information: Callable[[VAE, Iterable[Batch]], float] | None = None,
        processes: Alone = ALONE,
        compiled: bool = False,
        total_updates: int | None = None,
    ) -> None:
        super().__init__()
        self._compiled = compiled
        self.model, self.objective = model, objective
        self.corruption = corruption or Clean()
        self.updates, self.batches, self._shares = 0, 0, 1
        self.gradient_clip_val, self.accumulate = gradient_clip_val, accumulate
        self._make_optimizer, self._make_scheduler, self._make_meter = optimizer, scheduler, meter
        self._seed, self._ledger, self._processes = seed, ledger, processes
        self._weight: float | Tensor = 1.0  # of the rate, in the last update
        self.total_updates = total_updates
        self._loss: Tensor | None = None
        self._open: dict[str, Any] | None = None
        self._window = Window()
        self._generator: torch.Generator | None = None
        self._bad: Any = None
        self._log_every = 1
        self._scheduler: Any = None
        self.learning_rate = LearningRate()
        self._information: Any = information
        self._beside: Iterator[Batch] | None = None
        self._first = {name: copy.deepcopy(getattr(model, name).state_dict()) for name in self.inference.resets}
        self.automatic_optimization = False
        processes.split(model)

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the running hook on the module some forty times a step, each time through the search for
        parameters and modules of `nn.Module.__setattr__`; a plain value needs none of it."""
        if name in _PLAIN:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # ---- training

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self._seed_step(stream_seed(self._seed, "step", self.batches))
        self._ends_update = (batch_idx + 1) % self.accumulate == 0 or self.trainer.is_last_batch
        left = int(self.trainer.num_training_batches) - batch_idx + batch_idx % self.accumulate
        self._shares = min(self.accumulate, left)  # the last update of an epoch may have fewer batches
        self.inference.step(self, batch)

    def _seed_step(self, seed: int) -> None:
        """For whatever else draws: dropout, corruption, prior samples. (`torch.manual_seed` would take a hundred times as
        long.)"""
        torch.default_generator.manual_seed(seed)
        if not self._on_host:
            torch.cuda.manual_seed(seed)

    def descend(self, batch: Batch, frozen: Iterable[nn.Parameter] = ()) -> None:
        """One batch of descent on the objective by everything but `frozen`: an inference's usual step."""
        self._weight = rate_weight(self.model, self.objective, self.updates)  # before a controller moves on
        found = self._differentiate(batch, "posterior", self.batches, frozen)
        self.batches += 1
        self._window.note(*found)
        self._loss = found.loss
        if counts_in_full(self.model, self.updates):  # a controller learns nothing of a stage that leaves it out
            self.objective.observe(found.distortion, found.rate)
        if self._ends_update:
            self._update()

    def inner_step(self, counter: int, frozen: Iterable[nn.Parameter]) -> float:
        """A step between two updates on a batch of its own, number `counter`, by everything but `frozen`; its loss. No
        update is counted."""
        found = self._differentiate(self._fresh(counter), "inner posterior", counter, frozen)
        self._step(self._optimizer.optimizer.step)
        return float(found.loss)

    def _differentiate(self, batch: Batch, purpose: str, counter: int, frozen: Iterable[nn.Parameter]) -> StepResult:
        """The loss of a batch, whose gradient goes to everything but `frozen`."""
        inputs = self.step_inputs(batch, self._noise_stream(purpose, counter))
        found = self._batch_step.differentiate(inputs, self._shares)
        self._note_whether_finite(found.loss)
        for parameter in frozen:
            parameter.grad = None
        return found

    def _fresh(self, counter: int) -> Batch:
        """Batch `counter` of a pass over the training data beside the run's own."""
        if self._beside is None:
            loader: Any = self.trainer.train_dataloader
            self._beside = loader.beside("inner", counter)
        return self._in_precision(next(self._beside))

    def reset(self, name: str) -> None:
        """Returns a part of the model to the weights it was made with, and makes the optimiser forget it."""
        part = getattr(self.model, name)
        part.load_state_dict(self._first[name])
        for parameter in part.parameters():
            state = self._optimizer.optimizer.state.get(parameter, {})
            for value in (v for v in state.values() if isinstance(v, Tensor)):
                value.zero_()  # and not taken away: a fused step wants a state of all parameters, or of none

    def mutual_information(self) -> float:
        """Of x and z under q over the validation split, nats."""
        batches = map(self._in_precision, cast(Iterable[Batch], self.trainer.val_dataloaders))
        return self._processes.first(lambda: self._information(self.model, batches))

    def step_inputs(self, batch: Batch, generator: torch.Generator) -> StepInputs:
        """What a step of training is a function of."""
        noise = self.model.noise(len(batch.x), self.objective.samples, generator)
        weights = coefficients(self.model, self.objective, self.updates)
        return StepInputs(batch.x, batch.y, self.corruption(batch.x), noise, weights)

    def _noise_stream(self, purpose: str, counter: int) -> torch.Generator:
        if self._generator is None or self._generator.device != self.device:
            self._generator = torch.Generator(self.device)
        return self._generator.manual_seed(stream_seed(self._seed, purpose, counter))

    def _note_whether_finite(self, loss: Tensor) -> None:
        """1 in `_bad` once a loss since the last update was not finite: 0 * loss is then NaN, else 0. It stays on the
        device, where a look would make the host wait; on the CPU there is no wait."""
        if self._on_host:
            self._bad = self._bad or not math.isfinite(loss)
        else:
            bad = (loss * 0).ne(0).float()
            self._bad = bad if self._bad is None else torch.maximum(self._bad, bad)

    def _update(self) -> None:
        self._step(self._counted_step)
        self.updates += 1
        if self._ledger is not None:
            self._ledger.count_update()
        if self._scheduler is not None and not isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step()
        if self.updates % self._log_every == 0:  # here, before any callback saves a checkpoint
            self._log_window()

    def _step(self, step: Callable[[], Any]) -> None:
        """One `step` of the optimiser, which leaves everything as it is where a loss was not finite: a fused one is told
        so on the device (the mechanism that loss scaling uses), and a step without gradients does nothing."""
        self._processes.average(self._trained)
        self._clip()
        self._stop_what_is_not_finite()
        for own in self._own:
            self._step_beside(own)
        factor = self.learning_rate.factor(self.updates)
        if factor == 1:
            step()
        else:
            warmed(step, self._optimizer.optimizer, factor)
        self._clear_gradients()
        self._bad = None

    def _step_beside(self, own: Optimizer) -> None:
        """Past Lightning, which would count it as one more step of the run. A loss scaler looks for what is not finite among
        an optimiser's own gradients, where a loss that was not need not show."""
        if self._scaler is None:
            own.step()
            return
        for parameter in (p for group in own.param_groups for p in group["params"] if p.grad is not None):
            if torch.is_tensor(self._bad):
                parameter.grad.masked_fill_(self._bad.bool(), torch.nan)
        self._scaler.step(own)

    def _clip(self) -> None:
        if self.gradient_clip_val is not None:
            scale = self._scaler.get_scale() if self._scaler is not None else 1.0  # the gradients are still scaled
            nn.utils.clip_grad_norm_(self._clipped, self.gradient_clip_val * scale)

    def _stop_what_is_not_finite(self) -> None:
        if self._on_host:
            if self._bad:
                self._clear_gradients()
        else:
            for optimizer in (self._optimizer.optimizer, *self._own):
                optimizer.found_inf = self._bad

    def _clear_gradients(self) -> None:
        """As `Optimizer.zero_grad` does, in a twentieth of its time."""
        for parameter in self._trained:
            parameter.grad = None

    @property
    def inference(self) -> Amortized:
        return cast(Amortized, self.model.inference)

    def _log_window(self) -> None:
        series = {**self._window.close(self.updates), "beta": float(self._weight), **self.inference.facts()}
        group = self._optimizer.optimizer.param_groups[0]
        series["lr"] = float(group["lr"]) * self.learning_rate.factor(self.updates)
        self._write({f"train/{name}": value for name, value in series.items()})

    def _write(self, metrics: dict[str, float]) -> None:
        """To every logger at once: `self.log` on each step would cost more than a small model's step."""
        for logger in self.loggers:
            logger.log_metrics({**metrics, "epoch": self.current_epoch}, step=self.updates)

    # ---- validation: the plain model, at beta = 1

    def on_validation_epoch_start(self) -> None:
        self._meter = self._make_meter()
        self._losses: list[tuple[int, float]] = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if self._processes.rank:
            return
        self._meter.update(self.model, batch, batch_idx)
        self._losses.append((len(batch.x), batch_loss(self.model, self.objective, batch, batch_idx, self.updates)))

    def on_validation_epoch_end(self) -> None:
        metrics = self._processes.first(self._validated)
        self.val_elbo = metrics["val/elbo"]  # in full: what Lightning hands on is rounded to 32 bits
        self.log("val/elbo", self.val_elbo, logger=False, prog_bar=True)
        self._write(metrics)
        self.inference.validated(self)
        if isinstance(self._scheduler, ReduceLROnPlateau) and self.settled and self.warm:
            self._scheduler.step(self.val_elbo)

    def _validated(self) -> dict[str, float]:
        metrics = {f"val/{name}": value for name, value in self._meter.compute().items()}
        metrics["val/loss"] = weighted_mean(self._losses)
        metrics["val/beta"] = float(rate_weight(self.model, self.objective, self.updates))
        return metrics

    # ---- what Lightning asks for

    @property
    def settled(self) -> bool:
        """Whether objective and inference stay as they are from here on: models are selected only then."""
        return self.updates >= self.settled_at

    @property
    def last_loss(self) -> float:
        """The loss of the last batch; on a GPU a look makes the host wait."""
        return math.nan if self._loss is None else float(self._loss)

    @property
    def warm(self) -> bool:
        """Whether the learning rate has warmed up: a plateau means something only then."""
        return self.updates >= self.learning_rate.warmup

    @property
    def settled_at(self) -> int:
        """The first update from which they do."""
        return max(self.objective.settled, self.inference.settled)

    @property
    def adaptive(self) -> bool:
        """Whether either follows what it measures, so that nobody knows when its warm-up has ended."""
        return self.objective.adaptive or self.inference.adaptive

    def configure_optimizers(self) -> Any:
        own = self.objective.parameter_groups()
        apart = {id(parameter) for group in own for parameter in group["params"]}
        optimizer = self._make_optimizer([p for p in self.parameters() if id(p) not in apart])
        beside = [torch.optim.Adam(own, fused=True)] if own else []
        self.learning_rate = learning_rate(self._make_scheduler(optimizer))
        scheduler = self.learning_rate.scheduler
        return [optimizer, *beside], [] if scheduler is None else [scheduler]

    def on_train_start(self) -> None:
        """Looked up once: each of these costs a search on every step."""
        optimizers: Any = self.optimizers()
        self._optimizer, *beside = optimizers if isinstance(optimizers, list) else [optimizers]
        self._own: list[Any] = [wrapped.optimizer for wrapped in beside]
        self._clipped = [p for group in self._optimizer.optimizer.param_groups for p in group["params"]]
        self._scheduler = self.lr_schedulers()
        self._trained = list(self.parameters())
        self._on_host = self.device.type == "cpu"
        self._log_every = getattr(self.trainer, "log_every_n_steps", 50)
        self._in_precision = getattr(self.trainer.precision_plugin, "convert_input", lambda batch: batch)
        self._scaler: Any = getattr(self.trainer.precision_plugin, "scaler", None)
        hooked = self._scaler is not None or needs_every_hook(self.trainer)
        self._counted_step = self._optimizer.step if hooked else counted_step(self._optimizer)
        backward = self.manual_backward if hooked else Tensor.backward
        plain = Step(self.model, self.objective, backward)
        self._batch_step = CompiledStep(self.model, self.objective) if self._compiled else plain

    def on_train_end(self) -> None:
        if self._window:
            self._log_window()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch  # the loader keeps its data there

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["vae_lab"] = {
            "updates": self.updates,
            "batches": self.batches,
            "window": self._window.means(),
            "weight": float(self._weight),
            "history": self._history_size(),
            **({"open": self._open} if self._open else {}),
        }

    def _history_size(self) -> int:
        return sum(getattr(logger, "size", 0) for logger in self.loggers)

    def note_open(self) -> None:
        """Keeps what a longer run would have here, and the end of this one does away with: the batches since the last log,
        and the place in the epoch."""
        loops = self.trainer._checkpoint_connector._get_loops_state_dict()
        window = self._window.means()
        self._open = {"window": window, "history": self._history_size(), "loops": copy.deepcopy(loops)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["vae_lab"]
        self.updates, self.batches = state["updates"], state["batches"]
        self._window.restore(state["window"])
        self._weight = state.get("weight", 1.0)  # older checkpoints have none


def reopened(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of a run that has taken all of its updates, as that of a longer run at the same update; None if it is
    no such checkpoint."""
    state = dict(checkpoint["vae_lab"])
    before_end = state.pop("open", None)
    if before_end is None:
        return None
    loops = before_end.pop("loops")
    return {**checkpoint, "loops": loops, "vae_lab": {**state, **before_end}}
