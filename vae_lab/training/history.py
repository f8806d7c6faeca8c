"""`metrics.csv`: every logged series in long form."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

HEADER = "step,epoch,name,value\n"


class HistoryLogger(Logger):
    """Appends rows step, epoch, name, value. A resumed run first takes back what its checkpoint does not know of,
    so that the file is that of an uncut run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    name = property(lambda self: "csv")
    version = property(lambda self: "")

    def rewind(self, step: int) -> None:
        """Drops the rows after `step`, and a last line that a kill has cut."""
        if not self.path.exists():
            return
        with open(self.path, newline="", encoding="utf-8") as file:
            kept = [line for line in file if line == HEADER or (line.endswith("\n") and _step_of(line) <= step)]
        self.path.write_text("".join(kept), encoding="utf-8")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        epoch = int(metrics.get("epoch", 0))
        rows = [(step, epoch, name, repr(float(value))) for name, value in metrics.items() if name != "epoch"]
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(HEADER)
            csv.writer(file, lineterminator="\n").writerows(rows)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The settings are in `config.yaml`."""


def _step_of(line: str) -> float:
    head = line.partition(",")[0]
    return int(head) if head.isdigit() else float("inf")
