"""How far a study is, from its run directories: every worker can say it, and none has to be asked."""

import time
from collections.abc import Sequence
from pathlib import Path

from vae_lab.store import RESULT, Damaged, read_json, to_json, write_atomically

_LAUNCH = ".launch.json"


def begin(study: Path, total: int, pending: Sequence[str]) -> None:
    """Notes when this launch began, of how many runs, and the signatures of those that it has to do: some of them may
    have an older result, of a failure or of another evaluation."""
    content = {"started": time.time(), "total": total, "pending": list(pending)}
    write_atomically(study / _LAUNCH, to_json(content))


def of_study(study: Path) -> str:
    """`[ 5/24, 3 min left] `, or nothing outside a study. Time left assumes runs of equal length."""
    try:
        launch = read_json(study / _LAUNCH)
        started, total, pending = float(launch["started"]), int(launch["total"]), list(launch["pending"])
    except (OSError, ValueError, KeyError, TypeError, Damaged):
        return ""
    ended = sum(_ended_since(study / name / RESULT, started) for name in pending)
    remaining = (time.time() - started) / ended * (len(pending) - ended) if ended else 0
    return f"[{total - len(pending) + ended:{len(str(total))}}/{total}{_left(remaining)}] "


def _ended_since(result: Path, started: float) -> bool:
    return result.exists() and result.stat().st_mtime >= started


def _left(seconds: float) -> str:
    return f", {duration(seconds)} left" if seconds > 0 else ""


def duration(seconds: float) -> str:
    """In minutes, or in seconds where that is short."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
