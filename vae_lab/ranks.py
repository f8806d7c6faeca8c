"""The other processes of a run that several share: started by the first, and ended with it.

The first process is the one that was asked. It alone claims the run's directory and writes to it. The others are started
as `python -m vae_lab.other_rank`, whatever script or notebook the first one is, and build the same from the run's
`config.yaml`. Lightning's own launchers would start the person's command once more in each of them, or need a script
that can be imported.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import torch.distributed as dist

from vae_lab.request import Request
from vae_lab.training.processes import ALONE, Alone, joined
from vae_lab.training.trainer import device_of, processes_of

PATIENCE = 30.0
"""Seconds for the first process to find out by itself that another is gone."""


class ProcessLost(RuntimeError):
    """Another process of the run has ended before it."""


class Other:
    """Another process of a run. It ends when its standard input does: with the first process, however that ends."""

    def __init__(self, rank: int, size: int, directory: Path, store: Path, resume: bool) -> None:
        self.name = f"process {rank} of {size}"
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process is)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vae_lab.other_rank"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except OSError:
            self._said.close()
            raise
        job = {"rank": rank, "size": size, "directory": str(directory), "store": str(store), "resume": resume}
        self._put(json.dumps(job))

    def _put(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which is said where it is waited for
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def wait_until_ready(self) -> None:
        """Returns once it stands where the processes meet. Errors: `ProcessLost`."""
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self.wait(PATIENCE)
            raise ProcessLost(self.epitaph())

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None if it has not ended by then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def epitaph(self) -> str:
        """How it ended."""
        code = self._process.returncode or 0
        if code < 0:
            return f"{self.name} was ended by {signal.Signals(-code).name}"
        return f"{self.name} ended with code {code}: {(self.said().splitlines() or ['it said nothing'])[-1]}"

    def said(self) -> str:
        """What it wrote to its standard error."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


@contextlib.contextmanager
def together(asked: Request, resume: bool) -> Iterator[Alone]:
    """The processes of a run, of which this is the first. Errors: `ProcessLost` where another has ended too early."""
    trainer = asked.settings["trainer"]
    size = processes_of(trainer.get("devices", 1))
    if size == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        store = Path(folder, "store")
        others: list[Other] = []
        for rank in range(1, size):
            others.append(Other(rank, size, asked.directory.path, store, resume))
            stack.callback(others[-1].end)
        for other in others:
            other.wait_until_ready()
        with _watched(others), joined(store, 0, size, device_of(trainer["accelerator"])) as ranks:
            try:
                yield ranks
            except RuntimeError as error:
                if not _lost_connection(error):
                    raise
                raise _explained(error, others) from error


def _lost_connection(error: RuntimeError) -> bool:
    """Whether an exchange between processes has failed: gloo has no type of error for that."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _explained(error: RuntimeError, others: Sequence[Other]) -> RuntimeError:
    """The loss of another process, of one that was killed before one that failed; the error itself if all are there."""
    deadline = time.monotonic() + PATIENCE / 3
    codes = {other: other.wait(max(0.0, deadline - time.monotonic())) for other in others}
    gone = sorted((other for other, code in codes.items() if code), key=lambda other: codes[other] or 0)
    for other in gone:
        logging.getLogger(__name__).error("%s\n%s", other.epitaph(), other.said())
    return ProcessLost(f"{gone[0].epitaph()}; the same command goes on from the last checkpoint") if gone else error


@contextlib.contextmanager
def _watched(others: Sequence[Other]) -> Iterator[None]:
    """Ends this process if another one is gone and it does not find out: on a GPU it would wait for ever."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            lost = [other for other in others if other.wait(0.0)]
            if lost and not over.wait(PATIENCE):
                print(f"{lost[0].epitaph()}; the same command goes on from the last checkpoint", file=sys.stderr)
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
