"""A grid of runs on any launcher: only what is not done is launched, what another process holds is left to it, and the
loss of a worker costs no more than what it was at."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from joblib.externals.loky import get_reusable_executor

from vae_lab.claim import Held, is_claimed
from vae_lab.errors import RequestError, typed_line
from vae_lab.request import Request
from vae_lab.run import forget, is_done
from vae_lab.store import LAST, RESULT, found_at

Launch = Callable[[list[list[str]], int], Sequence[Any]]
"""A launcher: points, each a list of overrides, and the number of the first; what their jobs returned."""

SWEEPER = "vae_lab_grid"
PATIENCE = 3
"""Launches in a row that brought nothing forward, after which a grid is given up."""
_POLL = 1.0


@dataclass(frozen=True)
class Task:
    """One point of a grid: the words that compose it, and the checked request that they make."""

    words: tuple[str, ...]
    request: Request

    @property
    def path(self) -> Path:
        return self.request.directory.path

    def point(self) -> list[str]:
        """For a launcher: it composes the words again, later; the signature says what they meant at the launch, and what
        varies is said on the job's line."""
        plain = [word for word in handed_out(self.words, self.request) if not word.startswith("hydra")]
        signature = self.request.directory.signature
        varying = [f"+study.varying=[{','.join(self.request.varying)}]"] if self.request.varying else []
        return [
            *plain,
            *varying,
            f"study.signature='{signature}'",
        ]  # quoted, since 31e5125000 would be read as a number


def handed_out(words: Sequence[str], asked: Request) -> list[str]:
    """Words for a job. With `rerun=true` the launch forgets its runs, once, and a job goes on with what it finds: an engine
    may bring it more than once."""
    if not asked.settings["rerun"]:
        return list(words)
    return [*(word for word in words if word.lstrip("+").partition("=")[0] != "rerun"), "rerun=false"]


def forget_before(asked: Request) -> None:
    """What a launch does to a run before its first job, if that was asked. What another process holds is left to it."""
    if asked.settings["rerun"]:
        with suppress(Held):
            forget(asked, wait=False)


def stamp(run: Path) -> int | None:
    """What changes when a run ends."""
    return _written(run / RESULT)


def _written(file: Path) -> int | None:
    found = found_at(file)
    return found.st_mtime_ns if found else None


def to_do(tasks: Sequence[Task], retry_failed: bool) -> list[Task]:
    """Every run that a launch has to make, once: the longest first, so that none of them begins when the others have ended,
    and else in their own order. A run that failed is left alone unless it is to be tried again."""
    once = {task.path: task for task in tasks}.values()
    left = [
        task
        for task in once
        if not is_done(task.request) and (retry_failed or task.request.directory.state() != "failed")
    ]
    return sorted(left, key=lambda task: -task.request.work)


_tasks: list[Task] = []


@contextmanager
def handed_over(tasks: Sequence[Task]) -> Iterator[None]:
    """Hands tasks to the sweeper that Hydra makes meanwhile, which is an option as long as there are any."""
    _tasks[:], options = tasks, ConfigStore.instance()
    options.store(SWEEPER, {"_target_": "hydra_plugins.hydra_vae_lab_grid.GridSweeper"}, group="hydra/sweeper")
    try:
        yield
    finally:
        _tasks.clear()
        del options.repo["hydra"]["sweeper"][f"{SWEEPER}.yaml"]


def is_handed_over() -> bool:
    """Whether the sweeper has tasks."""
    return bool(_tasks)


def run_grid(launch: Launch) -> None:
    """Launches the tasks that were handed over until each has ended, here or in another process.

    A lost worker takes those beside it along (joblib gives up its whole pool): all that did not end is launched again,
    and goes on from its last checkpoint, as long as anything comes forward. Errors: `RequestError` of a job; what workers
    were lost by, if that happens time and again.
    """
    todo, launched, fruitless = list(_tasks), 0, 0
    for task in todo:
        forget_before(task.request)
    before = {task.path: stamp(task.path) for task in todo}
    while todo:
        free = [task for task in todo if not is_claimed(task.path)]
        if not free:
            time.sleep(_POLL)
        else:
            work = _work(before)
            loss = _launched(launch, free, launched)
            launched += len(free)
            taken = all(is_claimed(task.path) for task in free)
            fruitless = 0 if taken or _work(before) != work else fruitless + 1
            if fruitless and (loss is None or fruitless == PATIENCE):
                if loss is not None:
                    raise loss
                return
        todo = [task for task in todo if stamp(task.path) == before[task.path]]


def _launched(launch: Launch, tasks: list[Task], first: int) -> Exception | None:
    """One launch of several tasks; what a worker was lost by, or ran into outside a run, where any did. Errors:
    `RequestError` of a job, and what ends the launch."""
    loss: Exception | None = None
    try:
        for task, returned in zip(tasks, launch([task.point() for task in tasks], first), strict=True):
            loss = _loss(task, returned) or loss
    except BrokenExecutor as lost:
        loss = lost
        print("a worker was lost (killed, or out of memory); going on without it", file=sys.stderr, flush=True)
    except MemoryError as lost:  # of the launcher's own part of a job, which ends the whole batch
        loss = lost
        print("a worker was out of memory outside a run; going on without it", file=sys.stderr, flush=True)
    if loss is not None:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)  # with the claims that they could not give back
    return loss


def _loss(task: Task, returned: JobReturn) -> Exception | None:
    """What a job raised, which stands in one line; None if nothing."""
    error = returned._return_value  # the public name prints a heading of Hydra's before it raises
    if returned.status != JobStatus.FAILED or not isinstance(error, Exception):
        return None
    if isinstance(error, RequestError):
        raise error
    text = "out of memory" if isinstance(error, MemoryError) else typed_line(error)
    print(f"{task.request.label}: {text}, outside the run; it is tried again", file=sys.stderr, flush=True)
    return error


def _work(runs: dict[Path, int | None]) -> list[tuple[int | None, int | None]]:
    """What has been done for good: it changes with every checkpoint and every end, and not with what a loss undoes."""
    return [(stamp(path), _written(path / LAST)) for path in runs]
