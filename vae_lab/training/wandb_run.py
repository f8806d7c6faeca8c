"""One W&B run for one run of the lab. Imported only when it is used: W&B is an extra."""

import json
import math
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.util import get_core_path

from vae_lab.links import pictures_in
from vae_lab.training.tracker import NONE, LastStep, checkpoint

PER_DIMENSION = "val/rate_per_dimension/"


class WandbRun:
    """A W&B run whose step is the lab's: the number of updates.

    A run that goes on keeps its id. Online the server knows where it stands; offline W&B begins a second folder with the
    same id, and what the first one holds is read from it. A run that begins anew, such as one with `rerun=true`, has no
    such folder: W&B begins anew too, in the place of what it has under that id.

    Arguments:
        run_dir: the run's directory; W&B writes into its folder `wandb`.
        run_id: the id; a sweep's agent has one of its own for each job, which goes first.
        about: further arguments of `wandb.init`.
        log_model: whether to keep the last checkpoint as an artifact.
    """

    def __init__(self, run_dir: Path, run_id: str, about: dict[str, Any], log_model: bool) -> None:
        self._dir, self._id, self._about, self._log_model = run_dir, run_id, about, log_model
        self._run: Any = None

    def begin(self) -> LastStep:
        swept = "WANDB_SWEEP_ID" in os.environ
        run_id = os.environ.get("WANDB_RUN_ID", self._id) if swept else self._id
        before = list(self._dir.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb"))
        self._run = wandb.init(
            **self._about,
            id=None if swept else run_id,
            resume="allow" if before and not swept else None,
            dir=self._dir,  # absolute: W&B's own process may have another working directory
            reinit="create_new",  # never the run that a person has open, nor a job's that came before
            settings=wandb.Settings(console="off"),  # what a run says is in run.log
        )
        if self._run.offline:
            steps = last_steps(before)
            return lambda name: steps.get(name, NONE)
        return lambda name: self._run.starting_step - 1 if self._run.resumed else NONE

    def write(self, metrics: dict[str, float], step: int) -> None:
        data: dict[str, Any] = dict(metrics)
        rates = [value for name, value in metrics.items() if name.startswith(PER_DIMENSION)]
        self._run.log(data | histogram(PER_DIMENSION.rstrip("/"), rates), step=step)

    def report(self, result: Mapping[str, Any], run_dir: Path) -> None:
        final: dict[str, Any] = {f"figures/{file.stem}": wandb.Image(str(file)) for file in pictures_in(run_dir)}
        final |= histogram("test/rate_per_dimension", result["details"]["test"]["rate_per_dimension"])
        self._run.log(
            final, step=result["timing"]["steps"], commit=True
        )  # before the summary, which it would overwrite
        self._run.summary.update(result["metrics"])
        if self._log_model:
            model = wandb.Artifact(self._id, type="model", metadata={"signature": result["signature"]})
            model.add_file(str(checkpoint(result, self._dir)), policy="immutable", skip_cache=True)
            self._run.log_artifact(model)

    def close(self, exit_code: int) -> str | None:
        if self._run is None:
            return None
        folder, offline = Path(self._run.dir).parent, self._run.offline and not self._run.disabled
        self._run.finish(exit_code=exit_code)
        return f"wandb sync {folder}" if offline else None


def histogram(name: str, rates: Any) -> dict[str, Any]:
    """The rates of the latents under a name; nothing where a rate is no sum over latents (it is null then), or not finite."""
    whole = isinstance(rates, list) and rates and all(rate is not None and math.isfinite(rate) for rate in rates)
    return {name: wandb.Histogram(rates)} if whole else {}


def last_steps(files: Iterable[Path]) -> dict[str, int]:
    """The last step of each series in the files that attempts before this one have left. (W&B writes them every few
    seconds, so a killed run has lost some.)"""
    found: dict[str, int] = {}
    for file in files:
        for record in records(file):
            if record["type"] == "history":
                item = record["history"]["item"]
                found |= {name: max(item["_step"], found.get(name, 0)) for name in item}
    return found


def records(file: Path) -> list[dict[str, Any]]:
    """The records of a `.wandb` file, by W&B's own reader (`wandb leet inspect --json`); of a file that was cut those
    that are whole."""
    command = [get_core_path(), "leet", "inspect", "--json", "--no-observability", "--run-file", str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]
