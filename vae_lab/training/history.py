"""`metrics.csv`: every logged series in long form."""

import csv
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

HEADER = "step,epoch,name,value\n"


class HistoryLogger(Logger):
    """Appends rows step, epoch, name, value. A resumed run first takes back what its checkpoint does not know of,
    so that the file is that of an uncut run.

    Arguments:
        guard: called before anything is written; it raises if this process may no longer write to the run.
    """

    def __init__(self, path: Path, guard: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.path, self._guard = path, guard

    name = property(lambda self: "csv")
    version = property(lambda self: "")

    @property
    def size(self) -> int:
        """Of the file in bytes: what a checkpoint that is about to be written remembers of it."""
        self._guard()
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size: int, say: Callable[[str], None] = print) -> None:
        """Takes back what was written after the file had so many bytes. One that is shorter has lost rows, since a machine
        went down before they were on its disk: that is said, and its last line, if it has no end, is taken out."""
        if self.size < size:
            say(f"{self.path}: {size - self.size} bytes are missing at its end; those rows of its history are lost")
            size = 1 + self.path.read_bytes().rfind(b"\n") if self.path.exists() else 0
        if self.size > size:
            os.truncate(self.path, size)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._guard()
        epoch = int(metrics.get("epoch", 0))
        rows = [(step, epoch, name, repr(float(value))) for name, value in metrics.items() if name != "epoch"]
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(HEADER)
            csv.writer(file, lineterminator="\n").writerows(rows)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The settings are in `config.yaml`."""
