"""The experiment tracker of one run: made from the group `logger`, told what it must know, and always ended."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from vae_lab.build import build
from vae_lab.config import chosen_option
from vae_lab.environment import code_version
from vae_lab.errors import Pruned
from vae_lab.options import option_name
from vae_lab.request import Request, Say
from vae_lab.training.tracker import LoggerBackend, Tracker, told


@contextlib.contextmanager
def tracked(asked: Request, say: Say) -> Iterator[Tracker | None]:
    """The tracker of a run, or None if it has none or one that cannot be made; ended with the exit code of the run."""
    tracker = _tracker(asked, say)
    code = 0
    try:
        yield tracker
    except BaseException as error:
        code = _exit_code(error)
        raise
    finally:
        if tracker is not None:
            tracker.end(code)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, Pruned):
        return 0
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


def _tracker(asked: Request, say: Say) -> Tracker | None:
    node = asked.settings["logger"]
    name = f"logger={option_name('logger', node)}"
    try:
        backend = build(node, **_context(asked))
    except Exception as error:
        say(told(name, error))
        logging.getLogger(__name__).warning("%s failed", name, exc_info=True)
        return None
    if backend is None:
        return None
    return Tracker(LoggerBackend(backend) if isinstance(backend, Logger) else backend, name, say)


def _context(asked: Request) -> dict[str, Any]:
    settings = asked.settings
    return {
        "run_dir": asked.directory.path,
        "run_name": asked.label,
        "study_name": settings["study"]["name"],
        "run_config": settings,
        "run_tags": [f"{key}={value}" for key, value in _tags(settings).items() if value],
    }


def _tags(settings: dict[str, Any]) -> dict[str, str | None]:
    return {
        "dataset": option_name("dataset", settings["dataset"]),
        "mitigation": chosen_option("mitigation", settings.get("overrides", [])),
        "commit": code_version()["commit"],
    }
