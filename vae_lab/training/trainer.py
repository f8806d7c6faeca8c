"""Lightning's Trainer with the bounds of its usual arguments stated."""

from typing import Annotated, Any, Literal

import pytorch_lightning as pl
from annotated_types import Ge, Interval

from vae_lab.settings import Count, Positive
from vae_lab.training.checkpoint_io import CheckedCheckpointIO

Steps = Annotated[int, Ge(1)]


def trainer(
    *,
    accelerator: Literal["cpu", "gpu", "auto", "cuda", "mps", "tpu"] = "cpu",
    devices: Count | Literal["auto"] = 1,
    precision: str | int = "32-true",
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
    """A Trainer; `lightning` takes any further argument of Lightning's. With no limit given a run has 20 epochs."""
    if max_epochs is None:
        max_epochs = 20 if max_steps is None else -1
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=max_epochs,
        max_steps=-1 if max_steps is None else max_steps,
        gradient_clip_val=gradient_clip_val,
        accumulate_grad_batches=accumulate_grad_batches,
        check_val_every_n_epoch=check_val_every_n_epoch,
        val_check_interval=val_check_interval,
        log_every_n_steps=log_every_n_steps,
        enable_progress_bar=enable_progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        enable_checkpointing=True,
        plugins=[CheckedCheckpointIO()],
        **lightning,
    )


trainer.forwards_to = pl.Trainer.__init__  # type: ignore[attr-defined]  # where further keys are looked up
trainer.cosmetic = frozenset({"enable_progress_bar", "log_every_n_steps"})  # type: ignore[attr-defined]  # change no model
