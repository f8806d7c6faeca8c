"""How far a study is, from its run directories: every worker can say it, and none has to be asked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vae_lab.amounts import duration
from vae_lab.store import RESULT, Damaged, found_at, read_json, to_json, write_atomically

_LAUNCH = ".launch.json"


def begin(study: Path, total: int, pending: Sequence[str]) -> None:
    """Notes when this launch began, of how many runs, and the signatures of those that it has to do: some of them may
    have an older result, of a failure or of another evaluation."""
    content = {"started": time.time(), "total": total, "pending": list(pending)}
    write_atomically(study / _LAUNCH, to_json(content))


@dataclass(frozen=True)
class Progress:
    """How far a launch is: runs of the study, those that have ended, and the seconds left if runs are of equal length
    (None before one has ended)."""

    total: int
    ended: int
    left: float | None


def read(study: Path) -> Progress | None:
    """The progress of a study's last launch, or None where there was none."""
    try:
        launch = read_json(study / _LAUNCH)
        started, total, pending = float(launch["started"]), int(launch["total"]), list(launch["pending"])
    except (OSError, ValueError, KeyError, TypeError, Damaged):
        return None
    ended = sum(_ended_since(study / name / RESULT, started) for name in pending)
    left = (time.time() - started) / ended * (len(pending) - ended) if ended else None
    return Progress(total, total - len(pending) + ended, left)


def of_study(study: Path) -> str:
    """`[ 5/24, 3 min left] `, or nothing outside a study. Time left assumes runs of equal length."""
    found = read(study)
    return f"[{found.ended:{len(str(found.total))}}/{found.total}{_left(found.left or 0)}] " if found else ""


def _ended_since(result: Path, started: float) -> bool:
    found = found_at(result)
    return found is not None and found.st_mtime >= started


def _left(seconds: float) -> str:
    return f", {duration(seconds)} left" if seconds > 0 else ""
