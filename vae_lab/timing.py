"""How fast a run would train, by its number of threads: a few seconds of it, thrown away. It advises and sets nothing, since
the number of threads is part of a run's name: sums in another order have other last bits."""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from vae_lab.amounts import duration
from vae_lab.build import updates_of
from vae_lab.data.dataset import DataError
from vae_lab.errors import RequestError, RunFailed, typed_line
from vae_lab.fitting import lightning_fit, make_module, make_trainer, prepared
from vae_lab.joblog import logged
from vae_lab.request import Request
from vae_lab.store import RunDirectory
from vae_lab.training.trainer import device_of, processes_of

ROUNDS, SECONDS = 5, 0.3  # of each number of threads, in turn, since other work on the machine comes and goes
WORTH = 1.1
"""How many times the updates a further number of threads must bring before it is advised."""


def candidates(settings: Mapping[str, Any], cores: int) -> list[int]:
    """Numbers of threads: the one that is set, 1, 2, 4, ... and all cores; on a GPU, and of a compiled step, which is made for
    one number, the one that is set."""
    own = int(settings["threads"])
    if settings["compile"] or device_of(settings["trainer"]["accelerator"]).type != "cpu":
        return [own]
    powers = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
    return sorted({own, *powers, cores})


def check_alone(asked: Request) -> None:
    """Errors: `RequestError` if several processes share the run."""
    devices = asked.settings["trainer"]["devices"]
    if processes_of(devices) > 1:
        raise RequestError(f"--time takes runs of one process; trainer.devices={devices} given: set it to 1")


def timed(asked: Request, threads: Sequence[int]) -> dict[int, float]:
    """Seconds of an update at each number of threads, medians of turns; validations are left out.

    Errors: `RequestError` if its data cannot be read; `RunFailed` if it cannot be trained.
    """
    turns = _Turns(threads)
    ends = {"max_time": None, "max_epochs": None, "max_steps": 10**9}
    trainer = {**asked.settings["trainer"], **ends, "limit_val_batches": 0, "enable_progress_bar": False}
    settings = {**asked.settings, "trainer": trainer, "callbacks": {}}
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        trial = replace(asked, settings=settings, directory=RunDirectory(Path(folder)), callbacks=(turns,))
        try:
            with logged(Path(folder)):
                lightning_fit(make_trainer(trial, []), prepared(trial, resume=False), trial, None)
        except DataError as error:  # what a header does not show
            raise RequestError(str(error)) from error
        except RuntimeError as error:
            raise RunFailed(typed_line(error)) from error
        finally:
            torch.set_num_threads(before)
    return {count: statistics.median(found) for count, found in turns.found.items()}


class _Turns(pl.Callback):
    """Lets each number of threads have a turn, round after round; the first round is for getting warm."""

    def __init__(self, threads: Sequence[int]) -> None:
        self.turns = [count for _ in range(ROUNDS + 1) for count in threads]
        self.found: dict[int, list[float]] = {count: [] for count in threads}
        self.warm = len(threads)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begin(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        updates = pl_module.updates - self.first
        if updates == 0 or time.perf_counter() - self.started < SECONDS:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.started
        count, self.warm = self.turns.pop(0), self.warm - 1
        if self.warm < 0:
            self.found[count].append(seconds / updates)
        trainer.should_stop = not self.turns
        if self.turns:
            self._begin(pl_module)

    def _begin(self, module: Any) -> None:
        torch.set_num_threads(self.turns[0])
        self.first, self.started = module.updates, time.perf_counter()


def is_of_a_stage(asked: Request) -> bool:
    """Whether the run's inference takes other steps later than at its beginning, which is what is timed."""
    with torch.device("meta"):
        inference = make_module(asked).inference
    return bool(inference.adaptive or inference.settled > 0)


def told(asked: Request, found: Mapping[int, float], several: bool) -> tuple[list[tuple[str, ...]], str]:
    """A table, under its titles, and one line of advice.

    Arguments:
        found: seconds of an update by the number of threads. several: whether there are runs to go side by side.
    """
    updates = updates_of(asked.settings, asked.dataset.spec())
    rows = [
        (str(count), f"{1 / seconds:.3g}", f"{found[min(found)] / seconds:.2f}", _took(updates * seconds))
        for count, seconds in found.items()
    ]
    title = ("threads", "updates/s", "times as fast", f"{updates:,} updates alone")
    return [title, *rows], advice(found, int(asked.settings["threads"]), several)


def _took(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "under 1 s"


def advice(found: Mapping[int, float], own: int, several: bool) -> str:
    """One line. Side by side what counts is what a core does; of one run by itself, how soon it ends.

    Example:
        >>> advice({1: 0.010, 2: 0.006}, own=1, several=False)
        'threads=2 is 1.7 times as fast as threads=1, if nothing else runs meanwhile; a run of it has another name'
        >>> advice({1: 0.010, 2: 0.006}, own=1, several=True)
        'threads=1 is best: a core does most with it, and runs go side by side'
    """
    if len(found) == 1:
        return f"threads={own}: no other number was tried (they are tried on the CPU, with compile=false)"
    cost = {count: seconds * (count if several else 1) for count, seconds in found.items()}
    best = min(cost)
    for count in sorted(cost):
        if cost[best] / cost[count] >= WORTH:
            best = count
    why = "a core does most with it, and runs go side by side" if several else "more bring less than a tenth"
    if best == own:
        return f"threads={own} is best: {why}"
    if several:
        return f"threads={best} is best: {why} (threads={own} is set; a run of another number has another name)"
    times = f"{found[own] / found[best]:.2g} times as fast as threads={own}"
    idle = ", if nothing else runs meanwhile" if best > own else ""
    return f"threads={best} is {times}{idle}; a run of it has another name"


def load(cores: int) -> str:
    """What is to be known of the machine: with fewer idle cores than threads these wait for each other at every operation."""
    busy = os.getloadavg()[0]
    return f"other work keeps {busy:.1f} of {cores} cores busy: more threads look worse than on an idle machine" * (
        busy > 0.5
    )
