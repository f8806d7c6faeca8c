"""The page while its study runs: written at the start and again as results come, by the process that launched it.

The workers train meanwhile, so the page must cost little: runs that have ended are read once, and the pause before the
next writing grows with what the last one cost.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_lab import progress, store
from vae_lab.report import PAGE, Report
from vae_lab.report.cells import Row, Study
from vae_lab.report.notes import name_of
from vae_lab.report.reading import Known, NoReport, finished, read

PAUSE = 5.0  # seconds between two writings, at least
SHARE = 0.02  # of a core, at most, in the long run
STALE = 6  # pauses after which a reader is told that the page may have been left behind
LISTED = 16  # runs under way that the page names


@contextlib.contextmanager
def kept_up_to_date(folder: Path, plan: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Writes `report.html` into a study's folder from a thread, until the block ends; where it ends with an error, an
    interrupt too, a last time, saying that the study has stopped. Nothing that goes wrong here reaches the study."""
    writer = _Writer(folder, plan)
    writer.start()
    try:
        yield
    except BaseException:
        writer.end(stopped=True)
        raise
    writer.end()


class _Writer(threading.Thread):
    def __init__(self, folder: Path, plan: Mapping[str, Any] | None) -> None:
        super().__init__(name="report", daemon=True)
        self._plan = plan
        self._folder, self._ended, self._pause = folder, threading.Event(), PAUSE
        self._known: Known = {}

    def run(self) -> None:
        while not self._ended.is_set():
            before = time.thread_time()
            self._write()
            self._pause = max(PAUSE, (time.thread_time() - before) / SHARE)
            self._ended.wait(self._pause)

    def end(self, stopped: bool = False) -> None:
        self._ended.set()
        self.join(timeout=30)
        if stopped and not self.is_alive():
            self._write(stopped=True)

    def _write(self, stopped: bool = False) -> None:
        try:
            made, self._known = build_live(self._folder, self._known, self._pause, stopped, self._plan)
            if stopped or not self._ended.is_set():
                store.write_atomically(self._folder / PAGE, made.html)
        except NoReport:  # a search that has no run yet
            pass
        except Exception as error:  # a full disk, a folder that is moved away: the study goes on
            logging.getLogger(__name__).warning("the live page could not be written: %s", error)


def build_live(
    folder: Path, known: Known, pause: float, stopped: bool = False, plan: Mapping[str, Any] | None = None
) -> tuple[Report, Known]:
    """The report of a study that runs, and what the next one need not read again.

    Arguments:
        known: as returned before; empty at first.
        pause: seconds after which a browser loads the page again.
        stopped: whether nobody will write the page again.
        plan: of the launch that runs it.
    """
    study = read(folder, known, plan)
    return Report(study, state(study, pause, stopped)), finished(study)


def state(study: Study, pause: float, stopped: bool = False) -> dict[str, Any]:
    """What a live page says of its study: how far it is, and what is under way."""
    found = progress.read(study.path)
    ended = sum(row.status in ("completed", "failed", "pruned") for row in study.runs)
    every = math.ceil(pause)
    return {
        "every": every,
        "stale": STALE * every,
        "written": time.time(),
        "stopped": stopped,
        "total": found.total if found else int(study.facts.get("trials") or len(study.runs)),
        "ended": found.ended if found else ended,
        "left": found.left if found else None,
        "running": [] if stopped else [_under_way(row) for row in study.runs if row.status == "running"][:LISTED],
    }


def _under_way(row: Row) -> dict[str, Any]:
    last = {name: values[-1] for name, (_, values) in row.series.items() if values}
    steps = max((steps[-1] for steps, _ in row.series.values() if steps), default=None)
    return {
        "name": name_of(row),
        "step": steps,
        "steps": _asked(row),
        "elbo": last.get("val/elbo"),
        "rate": last.get("val/rate"),
    }


def _asked(row: Row) -> int | None:
    """The updates that a run was asked for, where its config says so."""
    try:
        steps = row.run.config()["trainer"]["max_steps"]
    except (KeyError, TypeError):
        return None
    return steps if isinstance(steps, int) and steps > 0 else None
