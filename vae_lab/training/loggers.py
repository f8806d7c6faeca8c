"""Experiment trackers beside `metrics.csv`, imported only when used. Each function gives a `Backend` (or any logger of
Lightning's), or None."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len

from vae_lab.training.tracker import Backend, LastStep, LoggerBackend

Tag = Annotated[str, Len(1, 64)]  # as W&B has it


def csv() -> None:
    """`metrics.csv` alone."""


def tensorboard(run_dir: Path) -> Backend:
    """TensorBoard event files under `tensorboard/` of the run directory. Needs the extra `tensorboard`."""
    from pytorch_lightning.loggers import TensorBoardLogger

    class Events(LoggerBackend):
        """Event files that hold each value once: a run that goes on writes them anew, since what was buffered when it
        was cut is lost, and what came after its checkpoint would be there twice."""

        def begin(self) -> LastStep:
            shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)
            return super().begin()

    return Events(TensorBoardLogger(run_dir, name="tensorboard", version=""))


def wandb(
    run_dir: Path,
    run_name: str,
    study_name: str,
    run_config: dict[str, Any],
    run_tags: list[str],
    mode: Literal["offline", "online", "disabled"] = "offline",
    project: str = "vae_lab",
    entity: str | None = None,
    group: str | None = None,
    tags: list[Tag] = [],
    log_model: bool = False,
) -> Backend:
    """A W&B run for each job. Needs the extra `wandb`.

    Arguments:
        group: null for the study's name; tags: the person's own, beside those of the run; log_model: keeps the last checkpoint as an artifact of the run.
    """
    if mode != "online":  # else a look-up of its error tracker's host
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    from vae_lab.training.wandb_run import WandbRun

    about = {
        "name": run_name,
        "project": project,
        "entity": entity,
        "group": group or study_name,
        "job_type": "train",
        "tags": [*run_tags, *tags],
        "config": run_config,
        "mode": mode,
    }
    return WandbRun(run_dir.absolute(), f"{study_name}-{run_dir.name}", about, log_model)


def mlflow(
    run_dir: Path,
    run_name: str,
    study_name: str,
    run_config: dict[str, Any],
    run_tags: list[str],
    tracking_uri: str | None = None,
    tags: list[Tag] = [],
    log_model: bool = False,
) -> Backend:
    """An MLflow run in the experiment named by the study. Needs the extra `mlflow`.

    Arguments:
        tracking_uri: of a store or server, without a password; null for that of `MLFLOW_TRACKING_URI`, or the file
            `mlflow.db` beside the studies; tags: the person's own, beside those of the run; log_model: keeps the last checkpoint as an artifact of the run.
    """
    from vae_lab.training.mlflow_run import MLflowRun

    return MLflowRun(run_dir.absolute(), run_name, study_name, run_config, [*run_tags, *tags], tracking_uri, log_model)


csv.neutral = True  # type: ignore[attr-defined]  # nothing is to be made for it
tensorboard.extra = "tensorboard"  # type: ignore[attr-defined]  # what must be installed for it
wandb.extra = "wandb"  # type: ignore[attr-defined]
mlflow.extra = "mlflow"  # type: ignore[attr-defined]
