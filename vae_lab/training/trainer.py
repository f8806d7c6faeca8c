"""Lightning's Trainer with the bounds of its usual arguments stated."""

from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Interval, MinLen
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Checkpoint

from vae_lab.settings import Count, NonNegativeInt, Positive
from vae_lab.training.checkpoint_io import CheckedCheckpointIO
from vae_lab.training.loop import with_own_loop

Steps = Annotated[int, Ge(1)]
Precision = Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"]

Accelerator = Literal["cpu", "gpu", "cuda", "auto"]


def device_of(accelerator: Accelerator) -> torch.device:
    """Where a run trains and is evaluated: `gpu` is CUDA, and `auto` is CUDA where it is."""
    wants = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if wants else "cpu")


Devices = Count | Annotated[list[NonNegativeInt], MinLen(1)]


def processes_of(devices: Devices) -> int:
    """How many processes share a run: one for each of its devices, of which the CPU is as many as are wished."""
    return devices if isinstance(devices, int) else len(devices)


def own_device(accelerator: Accelerator, devices: Devices, rank: int) -> Devices:
    """The device of one process of several."""
    if device_of(accelerator).type == "cpu":
        return 1
    return [rank if isinstance(devices, int) else devices[rank]]


def trainer(
    *,
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    precision: Precision = "32-true",
    max_epochs: Steps | None = None,
    max_steps: Steps | None = None,
    gradient_clip_val: Positive | None = None,
    accumulate_grad_batches: Count = 1,
    check_val_every_n_epoch: Count | None = 1,
    val_check_interval: Count | Annotated[float, Interval(gt=0, le=1)] | None = None,
    log_every_n_steps: Count = 50,
    enable_progress_bar: bool = True,
    **lightning: Any,
) -> pl.Trainer:
    """A Trainer of one process; `lightning` takes any further argument of Lightning's. With no limit given a run has 20
    epochs. With several `devices` the lab starts a process for each (see `processes`).

    `gradient_clip_val` and `accumulate_grad_batches` are honoured by `Training`: Lightning refuses them under manual
    optimisation.
    """
    if max_epochs is None:
        max_epochs = 20 if max_steps is None else -1
    made = pl.Trainer(
        accelerator=device_of(accelerator).type,
        devices=devices,
        precision=precision,
        max_epochs=max_epochs,
        max_steps=-1 if max_steps is None else max_steps,
        check_val_every_n_epoch=check_val_every_n_epoch,
        val_check_interval=val_check_interval,
        log_every_n_steps=log_every_n_steps,
        enable_progress_bar=enable_progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in lightning.get("callbacks", [])),
        plugins=[CheckedCheckpointIO(), LightningEnvironment()],  # in a SLURM job too, a run is no task of several
        **lightning,
    )
    return with_own_loop(made)


trainer.forwards_to = pl.Trainer.__init__  # type: ignore[attr-defined]  # where further keys are looked up
trainer.cosmetic = frozenset(  # type: ignore[attr-defined]  # change no model
    [
        "enable_progress_bar",
        "log_every_n_steps",
        "profiler",  # it measures,
        "detect_anomaly",  # and this one looks
        "enable_autolog_hparams",
        "model_registry",
        "limit_test_batches",  # the lab evaluates by itself
        "limit_predict_batches",
    ]
)


def _revision_of(precision: Precision = "32-true", **other: Any) -> int | None:
    """q is float32 under mixed precision, and was not."""
    return 1 if precision.endswith("-mixed") else None


trainer.revision_of = _revision_of  # type: ignore[attr-defined]

_PROCESSES = "trainer.devices says how many processes share every batch of a run, on one machine"
trainer.withheld = {  # type: ignore[attr-defined]  # what the lab decides, and how else to have it
    "barebones": "use trainer=debug, or callbacks and logger",
    "callbacks": "use the group callbacks",
    "default_root_dir": "use runs_dir",
    "enable_checkpointing": "use the group callbacks",
    "enable_model_summary": "the model is in config.yaml",
    "fast_dev_run": "use trainer=debug, or trainer.max_steps",
    "inference_mode": "an inference may refine q by gradients, in a validation too",
    "limit_train_batches": "an epoch is one pass over the data; use trainer.max_steps",
    "logger": "use the group logger",
    "num_nodes": _PROCESSES,
    "num_sanity_val_steps": "use trainer=debug",
    "overfit_batches": "use a small dataset, and trainer.max_steps",
    "plugins": "the lab has its own, for checkpoints that are whole or not there",
    "reload_dataloaders_every_n_epochs": "the data stay in memory",
    "strategy": _PROCESSES,
    "use_distributed_sampler": _PROCESSES,
}
