"""How far a study is, from its run directories: every worker can say it, and none has to be asked."""

import time
from pathlib import Path

from vae_lab.store import RESULT, Damaged, read_plan, write_atomically

_STARTED = ".started"


def begin(study: Path) -> None:
    """Notes when this launch began and what was done already."""
    write_atomically(study / _STARTED, f"{time.time()} {len(_ended(study))}")


def of_study(study: Path) -> str:
    """`[ 5/24, 3 min left] `, or nothing outside a study. Time left assumes runs of equal length."""
    try:
        signatures, ended = _signatures(study), _ended(study)
        started, before = (study / _STARTED).read_text().split()
    except (OSError, ValueError, KeyError, Damaged):
        return ""
    fresh, left = len(ended) - int(before), len(signatures) - len(ended)
    width = len(str(len(signatures)))
    remaining = (time.time() - float(started)) / fresh * left if fresh > 0 else 0
    return f"[{len(ended):{width}}/{len(signatures)}{_left(remaining)}] "


def _left(seconds: float) -> str:
    if seconds <= 0:
        return ""
    return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"


def _signatures(study: Path) -> set[str]:
    plan = read_plan(study)
    return {cell["signature"] for cell in plan["cells"]} if plan else set()


def _ended(study: Path) -> set[str]:
    return {name for name in _signatures(study) if (study / name / RESULT).exists()}
