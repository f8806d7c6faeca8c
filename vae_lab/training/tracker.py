"""What every experiment tracker does alike: each value once, also after a kill if it can tell what it holds, and never at
the run's cost."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers.logger import Logger

from vae_lab.errors import typed_line

Row = tuple[int, int, str, float]  # step, epoch, name, value: a row of metrics.csv
LastStep = Callable[[str], int]
NONE = -1
"""The last step of a series that a tracker holds nothing of."""


class Backend(Protocol):
    """A tracker as the lab talks to it. Any method may raise."""

    def begin(self) -> LastStep:
        """Opens the run, or goes on with it; the last step that it holds of a series, from an attempt that was cut."""

    def write(self, metrics: dict[str, float], step: int) -> None:
        """Stores one value of some series. Steps come in order, and each series has one value a step."""

    def report(self, result: Mapping[str, Any], run_dir: Path) -> None:
        """Stores what is known of a run that has ended well."""

    def close(self, exit_code: int) -> str | None:
        """Ends the run; what the person may want to type next."""


class LoggerBackend:
    """Any logger of Lightning's as a backend: the series, and the test figures at the last step.

    It cannot say what it holds, so that of a run that was cut it is handed everything again, and holds it twice unless its
    `begin` clears what there is (as that of TensorBoard does) or its store keeps one value a step.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def begin(self) -> LastStep:
        return lambda name: NONE

    def write(self, metrics: dict[str, float], step: int) -> None:
        self.logger.log_metrics(metrics, step)

    def report(self, result: Mapping[str, Any], run_dir: Path) -> None:
        self.write(test_figures(result), result["timing"]["steps"])

    def close(self, exit_code: int) -> str | None:
        self.logger.finalize("failed" if exit_code else "success")
        return None


def test_figures(result: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result["metrics"].items() if name.startswith("test/")}


def checkpoint(result: Mapping[str, Any], run_dir: Path) -> Path:
    """The checkpoint that a result is about."""
    return run_dir / "checkpoints" / f"{result['evaluation']['settings']['checkpoint']}.ckpt"


class Tracker(Logger):
    """A backend behind Lightning's interface.

    `metrics.csv` and `result.json` are the truth, and a tracker is a copy: what it raises is one line of warning, after
    which it is left alone. A run that goes on from a checkpoint first hands over what the tracker has lost, then leaves
    out what its backend says that it holds already, so that it has every value once.

    Arguments:
        backend: where the series go; name: what the person chose, as in `logger=wandb`; say: takes a line for the
            person.
    """

    def __init__(self, backend: Backend, name: str, say: Callable[[str], object]) -> None:
        super().__init__()
        self._backend, self._chosen, self._say = backend, name, say
        self._held: LastStep = lambda name: NONE
        self._begun = self._broken = False

    name = property(lambda self: self._chosen)
    broken = property(lambda self: self._broken)
    version = property(lambda self: "")

    def begin(self, history: Iterable[Row]) -> None:
        """Opens the run and hands it what `metrics.csv` holds already."""
        self._begun = True
        self._held = self._safely(self._backend.begin) or self._held
        for (step, epoch), rows in itertools.groupby(history, key=lambda row: row[:2]):
            self.log_metrics({"epoch": epoch, **{name: value for _, _, name, value in rows}}, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        new = {name: value for name, value in metrics.items() if name == "epoch" or (step or 0) > self._held(name)}
        if new.keys() - {"epoch"}:
            self._safely(self._backend.write, new, step or 0)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """A backend has the settings from the start."""

    def report(self, result: Mapping[str, Any], run_dir: Path) -> None:
        """The final figures and pictures of a run."""
        self._safely(self._backend.report, result, run_dir)

    def end(self, exit_code: int) -> None:
        """Ends the tracker's run with the run's exit code."""
        if self._broken:
            with contextlib.suppress(Exception):
                self._backend.close(exit_code)
        elif self._begun and (line := self._safely(self._backend.close, exit_code)):
            self._say(line)

    def _safely(self, action: Callable[..., Any], *args: Any) -> Any:
        if self._broken:
            return None
        try:
            return action(*args)
        except Exception as error:
            self._broken = True
            self._say(told(self._chosen, error))
            logging.getLogger(__name__).warning("%s failed", self._chosen, exc_info=True)
            return None


def told(name: str, error: Exception) -> str:
    """The one line for a tracker that failed."""
    return f"warning: {name} failed ({typed_line(error)}); the run goes on, and its own files have it all"
