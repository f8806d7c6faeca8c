"""Experiment trackers beside `metrics.csv`, imported only when used. Each function gives a Lightning logger or None."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers.logger import Logger


def csv() -> None:
    """`metrics.csv` alone."""


def tensorboard(run_dir: Path) -> Logger:
    """TensorBoard event files under `tensorboard/` of the run directory. Needs the extra `tensorboard`."""
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(run_dir, name="tensorboard", version="")


def wandb(
    run_dir: Path,
    run_name: str,
    study_name: str,
    run_config: dict[str, Any],
    mode: Literal["offline", "online", "disabled"] = "offline",
    project: str = "vae_lab",
    entity: str | None = None,
    group: str | None = None,
) -> Logger:
    """A W&B run of its own for each job (never the one that a multirun's previous job left open). Needs the extra
    `wandb`."""
    if mode != "online":  # else a look-up of its error tracker's host
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    from pytorch_lightning.loggers import WandbLogger

    class Tracker(WandbLogger):  # in here, since its base is imported only when used
        def end(self, failed: bool, say: Callable[[str], object]) -> None:
            """Ends the W&B run with the run's exit code; says how to upload it if it was offline."""
            experiment = self.experiment
            folder, offline = Path(experiment.dir).parent, bool(experiment.settings._offline)
            experiment.finish(exit_code=int(failed))
            if offline:
                say(f"wandb sync {folder}")

    tracker = Tracker(
        name=run_name,
        save_dir=run_dir.absolute(),  # its own process may have another working directory
        project=project,
        entity=entity,
        group=group or study_name,
        mode=mode,
        config=run_config,
        reinit="finish_previous",
        job_type="train",
    )
    tracker._wandb_init.pop("anonymous", None)  # W&B warns of it, and Lightning always passes it
    return tracker


tensorboard.extra = "tensorboard"  # type: ignore[attr-defined]  # what must be installed for it
wandb.extra = "wandb"  # type: ignore[attr-defined]
