"""`run.log`: everything that a job says."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from lightning_fabric.utilities.warnings import PossibleUserWarning

from vae_lab.store import LOG

_SPEAKERS = ("", "pytorch_lightning", "lightning.pytorch", "lightning_fabric")


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Sends everything that is logged or warned of to `run.log`; Lightning's chatter goes there only."""
    _end_line(path / LOG)
    handler = _Log(path / LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    with contextlib.ExitStack() as stack:
        stack.callback(_close, handler)
        for logger in map(logging.getLogger, _SPEAKERS):
            stack.enter_context(_listening(logger, handler))
        stack.callback(logging.captureWarnings, False)
        logging.captureWarnings(True)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")  # Lightning's own
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # of every resumed run
        warnings.simplefilter("default", PossibleUserWarning)  # advice: for the log
        warnings.filterwarnings("ignore", ".*sync_dist=True")  # every process of a run has the same figures
        yield


def _end_line(file: Path) -> None:
    """Ends a last line that a kill has cut off, so that nothing is appended to it."""
    with contextlib.suppress(FileNotFoundError), open(file, "rb+") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - 1))
        if size and log.read() != b"\n":
            log.write(b"\n")


@contextlib.contextmanager
def _listening(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """The handler hears what a logger says from INFO up; its own handlers, which write to the terminal, errors only."""
    direct = logger.name == "root" or not logger.propagate  # else the root logger passes it on
    before = logger.level, [(other, other.level) for other in logger.handlers]
    for other in logger.handlers:
        other.setLevel(logging.ERROR)
    logger.setLevel(logging.INFO)
    if direct:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        for other, level in before[1]:
            other.setLevel(level)


def _close(handler: logging.Handler) -> None:
    with contextlib.suppress(OSError):  # a full disk
        handler.close()


class _Log(logging.FileHandler):
    """`run.log`; a line that finds no room on the disk is lost."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Without the traceback that Python would print."""
