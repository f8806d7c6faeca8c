"""A study read from its run directories. Reads files only, and drops nothing: a run that failed, is damaged or never
began is a row that says so.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vae_lab import store
from vae_lab.amounts import counted
from vae_lab.errors import RequestError
from vae_lab.report import words
from vae_lab.report.cells import Row, Study
from vae_lab.report.unplanned import named

NOT_ENDED = {
    "new": "not begun",
    "cut": "begun and cut short; the same command goes on",
    "running": "still running",
    "pruned": "cut by the search that it is a trial of",
}
Known = Mapping[str, Row]  # the completed rows of an earlier reading, by signature


class NoReport(RequestError):
    """A path that no report can be made of; the message is one line for the person who asked."""


def read(path: Path, known: Known | None = None, plan: Mapping[str, Any] | None = None) -> Study:
    """A study's folder (with `plan.json`), or any folder of run directories. Errors: `NoReport`.

    Arguments:
        known: `finished(study)` of an earlier reading, whose runs are not read again.
        plan: of a launch that asks for its own cells; by default the one in the folder.
    """
    known = known or {}
    if not path.is_dir():
        raise NoReport(f"{path}: no such folder")
    try:
        plan = store.read_plan(path) if plan is None else plan
        study = _planned(path, plan, known) if plan is not None else _unplanned(path, known)
    except store.Damaged as error:
        raise NoReport(f"{error} (the study's command writes it again)") from error
    if not study.rows:
        raise NoReport(f"{path}: no runs in it")
    try:
        _ = study.is_higher_better
    except RequestError as error:
        raise NoReport(f"{path / store.PLAN}: study.select: {error}") from error
    return study


def study_folders(path: Path) -> list[Path]:
    """The folders to report on: `path` itself, or the studies in it where it is no study but holds some (`runs/`)."""
    if (path / store.PLAN).exists():
        return [path]
    return [plan.parent for plan in sorted(path.glob(f"*/{store.PLAN}"))] or [path]


def _planned(path: Path, plan: Mapping[str, Any], known: Known) -> Study:
    cells, facts = plan.get("cells"), plan.get("study") or {}
    if cells is None:
        raise store.Damaged(f"{path / store.PLAN} is damaged: it has no list of cells")
    rows = tuple(_planned_row(path, cell, known) for cell in cells)
    return Study(path, facts, rows, _command(plan.get("command")), elsewhere=tuple(_elsewhere(path, plan)))


def _elsewhere(path: Path, plan: Mapping[str, Any]) -> Iterator[str]:
    """Says what else there is of the study: cells of other launches, and runs that no launch has planned."""
    there, left = set(store.names_of_runs(path)), store.signatures_of(plan)
    with contextlib.suppress(store.Damaged):
        stored = store.read_plan(path) or {}
        for launch in [stored, *(stored.get("others") or [])]:
            others = store.signatures_of(launch) - left
            left |= others
            if others:
                done = sum((path / name / store.RESULT).exists() for name in others)
                yield f"{counted(len(others), 'run')} of another launch ({done} ended): {_command(launch.get('command'))}"
    if rest := there - left:
        yield f"{counted(len(rest), 'run')} in its folder that no launch has planned"


def _command(command: Any) -> str | None:
    return " ".join(map(str, command)) if isinstance(command, list) else command and str(command)


def _planned_row(path: Path, cell: Mapping[str, Any], known: Known) -> Row:
    arm, over = str(cell["arm"]), dict(cell.get("over") or {})
    name = str(cell.get("cell") or arm)
    run = store.RunDirectory(path / str(cell["signature"]))
    return _row(arm, name, dict(cell.get("strength") or {}), over, run, known)


def _unplanned(path: Path, known: Known) -> Study:
    """Any runs; those of a search with what it optimises."""
    facts = store.read_search(path) or {}
    study = Study(path, facts, (), _command(facts.get("command")), is_planned=False)
    rows = [_row("", "", {}, {}, run, known) for run in store.find_runs(path)]
    return replace(study, rows=tuple(named(rows, study.objectives)))


def _row(
    arm: str, cell: str, strength: Mapping[str, Any], over: Mapping[str, Any], run: store.RunDirectory, known: Known
) -> Row:
    stamp = _stamp(run)
    before = known.get(run.signature)
    if before is not None and before.stamp == stamp:
        if (before.arm, before.cell, before.strength, before.over) == (arm, cell, strength, over):
            return before
        return Row(arm, cell, strength, over, run, before.status, before.error, before.result, stamp)
    return Row(arm, cell, strength, over, run, *_outcome(run, planned=bool(arm)), stamp)


def finished(study: Study) -> dict[str, Row]:
    """The completed rows by signature, for the next `read`."""
    return {row.signature: row for row in study.rows if row.is_completed}


def _stamp(run: store.RunDirectory) -> tuple[int, int] | None:
    """What changes when the result of a run is written anew."""
    try:
        found = (run.path / store.RESULT).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _outcome(run: store.RunDirectory, planned: bool) -> tuple[str, str, dict[str, Any]]:
    """State, what a reader is told of it, and the content of a run's result."""
    recorded, result, error, _ = run.recorded(planned)
    state = store.state_now(run.path, recorded)
    if state == "completed":
        return state, "", result
    told = words.first_line(error.replace(str(run.path), run.signature)) or "no error was recorded"
    return state, NOT_ENDED.get(state, told), result
