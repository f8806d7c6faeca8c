"""What the launchers share: the runs of a sweep in packs, each pack one job of the engine, and what became of them.

Its name begins with an underscore so that Hydra's scan leaves it alone: the scan executes a module a second time, and a
class that a pickle names would then be another one.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from vae_lab.errors import RequestError


@dataclass
class Pack:
    """Several runs, already composed, that one job of an engine does one after the other. Calling it does them.

    It carries what a process elsewhere needs to be like this one: the folder, the module search path, the variables that
    the engine does not hand on by itself.
    """

    runs: dict[int, DictConfig]
    context: HydraContext
    task: TaskFunction
    folder: str
    path: list[str]
    variables: dict[str, str]
    said: Path

    def __call__(self) -> "Done":
        sys.path[:] = self.path
        os.environ.update(self.variables)
        os.chdir(self.folder)
        done = Done({})
        with open(self.said, "a", buffering=1, encoding="utf-8") as file, contextlib.redirect_stdout(file):
            for number, config in self.runs.items():
                try:
                    done.returns[number] = run(config, self.context, self.task)
                except SystemExit as stop:  # of a run that failed under `fail_fast`; an engine's own has no cause
                    if stop.__cause__ is None:
                        raise
                    done.stopped = True
                    break
        return done


@dataclass
class Done:
    """What a pack returned: of each of its runs, and whether one of them stops the sweep."""

    returns: dict[int, JobReturn]
    stopped: bool = False


def run(config: DictConfig, context: HydraContext, task: TaskFunction) -> JobReturn:
    """One run in this process. Its configs stay here: the parent has them."""
    setup_globals()
    result = run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    result.cfg = result.hydra_cfg = None
    return result


Ended = Generator[tuple[Pack, Done | str] | None, None, None]
"""Packs as they end, with what they returned or why they were lost; None now and then, so that somebody can look round.
Closing it ends what still runs."""


class PackLauncher(Launcher):
    """A launcher whose engine runs packs."""

    name: ClassVar[str]
    extra: ClassVar[str]
    package: ClassVar[str]
    forwarded: ClassVar[tuple[str, ...]]
    """What the variables begin with that a pack takes along. One may hold a key, and an engine may write packs to a disk."""

    runs_per_job: int

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Errors: `RequestError` if a setting is wrong or the engine is not here."""
        from vae_lab.schema import check_arguments

        node = OmegaConf.to_container(config.hydra.launcher, resolve=True)
        assert isinstance(node, dict)
        check_arguments("hydra.launcher", {str(k): v for k, v in node.items() if k not in ("_convert_", "_recursive_")})
        if importlib.util.find_spec(self.package) is None:
            raise RequestError(f"{self.name} needs the extra {self.extra}: pip install 'vae-lab[{self.extra}]'")
        self.check_engine()
        self.config, self.context, self.task = config, hydra_context, task_function

    def check_engine(self) -> None:
        """Errors: `RequestError` if the engine is not on this machine."""

    @abstractmethod
    def work(self, packs: list[Pack], folder: Path) -> Ended:
        """Hands the packs to the engine; `folder` is the sweep's."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        points = {initial_job_idx + i: list(overrides) for i, overrides in enumerate(job_overrides)}
        configs = {number: self._compose(number, overrides) for number, overrides in points.items()}
        with tempfile.TemporaryDirectory(prefix=".said-", dir=folder) as said:
            packs = self._packs(configs, Path(said))
            jobs = f"{len(packs)} job{'s' * (len(packs) != 1)}"
            print(f"{self.name}: {len(configs)} run{'s' * (len(configs) != 1)} in {jobs}", flush=True)
            returns = self._gather(packs, folder, points)
        return [returns.get(number) or _lost(overrides) for number, overrides in points.items()]

    def _compose(self, number: int, overrides: list[str]) -> DictConfig:
        """Here and not in the job: what is edited while a job waits in the queue cannot change it."""
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        return config

    def _packs(self, waiting: dict[int, DictConfig], said: Path) -> list[Pack]:
        here = {key: value for key, value in os.environ.items() if key.startswith(self.forwarded)}
        path = [str(Path(place).absolute()) for place in sys.path]
        numbers, size = list(waiting), self.runs_per_job
        return [
            Pack(
                {number: waiting[number] for number in numbers[start : start + size]},
                self.context, self.task, str(Path.cwd()), path, here, said / str(start),
            )
            for start in range(0, len(numbers), size)
        ]  # fmt: skip

    def _gather(self, packs: list[Pack], folder: Path, points: dict[int, list[str]]) -> dict[int, JobReturn]:
        """What every pack returned. Errors: `SystemExit` as soon as a run has failed under `fail_fast`."""
        returns: dict[int, JobReturn] = {}
        heard = dict.fromkeys((pack.said for pack in packs), 0)
        with contextlib.closing(self.work(packs, folder)) as ended:
            for event in ended:
                for file in heard:
                    heard[file] = _repeat(file, heard[file])
                if event is None:
                    continue
                pack, outcome = event
                heard.pop(pack.said)
                if isinstance(outcome, str):
                    lost = "; ".join(_told_apart(points, number) for number in pack.runs)
                    print(f"{self.name}: lost: {lost}: {outcome}", file=sys.stderr, flush=True)
                    continue
                returns |= outcome.returns
                if outcome.stopped:
                    raise SystemExit(1)
        return returns


def _repeat(file: Path, start: int) -> int:
    """Prints what a job has said since it was last listened to; returns how much that is in all."""
    if not file.exists():
        return start
    with open(file, "rb") as heard:
        heard.seek(start)
        whole, end, _ = heard.read().rpartition(b"\n")
    if end:
        print(whole.decode(), flush=True)
    return start + len(whole + end)


def _told_apart(points: dict[int, list[str]], number: int) -> str:
    """The overrides of a point that not all points have."""
    shared = set.intersection(*map(set, points.values())) if len(points) > 1 else set()
    return " ".join(w for w in points[number] if w not in shared and not w.startswith("study.signature="))


def _lost(overrides: list[str]) -> JobReturn:
    """A run that did not end, and can be tried again: no figure, and no failure either."""
    result = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    result.return_value = BrokenExecutor("lost")
    return result
