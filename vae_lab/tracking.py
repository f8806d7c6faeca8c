"""The experiment trackers of one run: made from the group `logger`, told what they must know, and always ended."""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from vae_lab.build import build
from vae_lab.config import chosen_option
from vae_lab.environment import code_version
from vae_lab.errors import Pruned
from vae_lab.identity import without_defaults
from vae_lab.options import option_name
from vae_lab.request import Request, Say
from vae_lab.store import MISSING, RESULT, TRACKED, write_atomically
from vae_lab.targets import Node, locate, parts
from vae_lab.training.tracker import LoggerBackend, Tracker, told

Trackers = dict[str, Tracker]
"""The trackers of a run by their settings, written on a line."""


@contextlib.contextmanager
def tracked(asked: Request, say: Say, only: Iterable[str] | None = None) -> Iterator[Trackers]:
    """The trackers of a run, or `only` those of some settings, without any that cannot be made; ended with the exit code of
    the run."""
    nodes = _nodes(asked.settings["logger"])
    made = {line: _tracker(asked, nodes[line], say) for line in (nodes if only is None else only)}
    trackers = {line: tracker for line, tracker in made.items() if tracker is not None}
    code = 0
    try:
        yield trackers
    except BaseException as error:
        code = _exit_code(error)
        raise
    finally:
        for tracker in trackers.values():
            tracker.end(code)


def report(asked: Request, trackers: Trackers, result: Mapping[str, Any]) -> None:
    """Hands the final figures of a run to its trackers, and notes which of them have all of it."""
    for tracker in trackers.values():
        tracker.report(result, asked.directory.path)
    if trackers:
        whole = [line for line, tracker in trackers.items() if not tracker.broken]
        lines = dict.fromkeys([*(_noted(asked) or []), *whole])
        write_atomically(asked.directory.path / TRACKED, "".join(f"{line}\n" for line in lines))


# ---- a run that is done


def untracked(asked: Request, result: Mapping[str, Any]) -> list[str]:
    """The trackers that are asked for and have not got a finished run."""
    noted = _noted(asked)
    have = _nodes(result["settings"].get("logger", {})) if noted is None else noted
    return [line for line in _nodes(asked.settings["logger"]) if line not in have]


def replay(asked: Request, result: Mapping[str, Any], lines: Iterable[str], say: Say) -> None:
    """Hands a finished run to trackers that have not got it: its series from `metrics.csv`, its figures from `result.json`."""
    with tracked(asked, say, lines) as trackers:
        for tracker in trackers.values():
            tracker.begin(asked.directory.history())
        report(asked, trackers, result)
        for tracker in trackers.values():
            if not tracker.broken:
                say(f"{asked.label}: was trained before; {tracker.name} has its history and its figures now")
    os.utime(asked.directory.path / RESULT)  # a launch that waits for it sees that something was done


def _noted(asked: Request) -> list[str] | None:
    """The trackers that are noted to have a run; None of a run of before there were notes."""
    try:
        return (asked.directory.path / TRACKED).read_text(encoding="utf-8").splitlines()
    except MISSING:
        return None


def _nodes(logger: Node) -> dict[str, Node]:
    """The trackers of a group `logger`, but for those that do nothing."""
    real = (
        node
        for node in parts(logger).values()
        if not getattr(locate("logger", str(node["_target_"])), "neutral", False)
    )
    return {json.dumps(without_defaults(node), sort_keys=True): node for node in real}


# ---- one tracker


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, Pruned):
        return 0
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


def _tracker(asked: Request, node: Node, say: Say) -> Tracker | None:
    name = f"logger={option_name('logger', node)}"
    try:
        backend = build(node, **_context(asked))
    except Exception as error:
        say(told(name, error))
        logging.getLogger(__name__).warning("%s failed", name, exc_info=True)
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
