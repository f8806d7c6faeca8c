"""Contenders that are timed in turn: each in a process of its own, a block of steps at a time, so that a slow second of the
machine meets all of them.

A contender's process calls `Turns.step` after each of its steps. It imports nothing but the standard library, since a
contender may live in another environment.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


class Turns:
    """In a contender: waits for its turn before a block of steps, and tells how many seconds it took.

    What a contender prints goes to standard error; standard output is for the times.
    """

    def __init__(self) -> None:
        self._told = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._left, self._started = 0, 0.0
        self._wait()

    def step(self) -> None:
        """To be called after each step."""
        self._left -= 1
        if not self._left:
            self._settle()
            self._say(seconds=time.perf_counter() - self._started)
            self._wait()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            self._end()
        self._left, self._started = int(line), time.perf_counter()

    def _say(self, **told: float) -> None:
        print(json.dumps(told), file=self._told)

    @staticmethod
    def _settle() -> None:
        """Waits for what a GPU has still to do."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()

    @staticmethod
    def _end() -> NoReturn:
        os._exit(0)  # in the middle of whatever loop called us


@dataclass(frozen=True)
class Contender:
    """A command whose process takes turns."""

    name: str
    command: tuple[str, ...]
    threads: int

    def start(self, folder: Path) -> "subprocess.Popen[str]":
        ours = {"PYTHONPATH": str(Path(__file__).parents[1])}
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        pipes: Mapping[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with self.said(folder).open("w") as said:  # a pipe that nobody reads would fill up and stop it
            return subprocess.Popen(
                self.command, env={**os.environ, **ours, **threads}, cwd=folder, stderr=said, **pipes
            )

    def said(self, folder: Path) -> Path:
        return folder / f"{self.name}.log"


Rates = dict[str, list[float]]


def in_turn(contenders: Sequence[Contender], rounds: int, steps: int, folder: Path) -> tuple[Rates, dict[str, float]]:
    """Steps a second of each contender in each round, after a first block that does not count; and the most memory that each
    has had, megabytes.

    Errors: `RuntimeError` with what a contender that ended too early said last.
    """
    processes = {contender: contender.start(folder) for contender in contenders}
    try:
        found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for i in range(1 + rounds):
            first = i % len(contenders)  # what is left in the caches is another's in every round
            for contender in (*contenders[first:], *contenders[:first]):
                process = processes[contender]
                seconds = _block(process, steps)
                if seconds is None:
                    raise RuntimeError(f"{contender.name} ended: {contender.said(folder).read_text()[-2000:]}")
                if i:
                    found[contender.name].append(steps / seconds)
        return found, {contender.name: peak(process.pid) for contender, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def peak(pid: int) -> float:
    """The most that a process has had in memory, megabytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _block(process: "subprocess.Popen[str]", steps: int) -> float | None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended, and its output ends too
        print(steps, file=process.stdin, flush=True)
    for line in process.stdout:
        if line.startswith('{"seconds": '):  # what it printed before its first turn came here too
            return float(json.loads(line)["seconds"])
    return None
