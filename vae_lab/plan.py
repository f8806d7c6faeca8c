"""What a study will run: every cell composed, checked and named before the first one starts."""

import contextlib
import itertools
import shlex
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.amounts import counted, duration
from vae_lab.arguments import expand, given, parse_overrides, varying
from vae_lab.claim import claim
from vae_lab.errors import RequestError
from vae_lab.options import folders
from vae_lab.points import composed
from vae_lab.records import loads
from vae_lab.store import PLAN, Damaged, RunDirectory, read_plan, signatures_of, to_json, write_atomically
from vae_lab.study import Point, Study, register_study

if TYPE_CHECKING:
    from vae_lab.grid import Task


@dataclass(frozen=True)
class Cell:
    """One point of the study at one value of everything that is crossed over."""

    point: Point
    over: dict[str, Any]
    task: "Task"

    @property
    def directory(self) -> RunDirectory:
        return self.task.request.directory


def plan(study: Study, overrides: list[str], config_dir: str | None = None) -> list[Cell]:
    """Every cell, composed and checked. Errors: `RequestError` for the first that makes no sense, naming it."""
    register_study(study)
    names = {point.name: point for point in study.points}
    cells = []
    words = study.command(overrides)
    swept = [o.key_or_group for o in parse_overrides(words) if o.is_sweep_override() and o.key_or_group != "arm"]
    crossed, points = {*study.over, *swept}, expand(words)
    configs = composed(points, _at_arm, config_dir)

    from vae_lab.fitting import built  # Lightning takes seconds to import: what is wrong is said before that
    from vae_lab.grid import Task
    from vae_lab.request import Requests

    checked = Requests(folders(config_dir), then=built)
    for point, config in zip(points, configs, strict=True):
        with _at_arm(point):
            asked = replace(checked(config), varying=varying(words))
        values = given(point)  # as Hydra reads them: 1e-05 is a number here, and text in plain YAML
        over = {key: values[key] for key in sorted(crossed) if key in values}
        cells.append(Cell(names[_arm(point)], over, Task(tuple(point), asked)))
    return cells


def _arm(point: list[str]) -> str:
    """The cell of a point: the option of the group `arm`, as it is written."""
    return next(word.partition("=")[2] for word in point if word.startswith("arm="))


@contextlib.contextmanager
def _at_arm(point: list[str]) -> Iterator[None]:
    """Says of a refusal in which arm it was met."""
    try:
        yield
    except RequestError as error:
        raise RequestError(f"{_arm(point)}: {error}") from error


def content_of(study: Study, cells: list[Cell], command: list[str]) -> dict[str, Any]:
    """The plan of a launch: which cell is which run."""
    content = {
        "study": study.content["study"],
        "command": shlex.join(["vae-lab", "train", "-m", *command]),
        "cells": [
            {
                "arm": cell.point.arm,
                "cell": cell.point.name,
                "strength": cell.point.strength,
                "over": cell.over,
                "signature": cell.directory.signature,
            }
            for cell in cells
        ],
    }
    return dict(loads(to_json(content)))  # as a reader of the file has it


LAUNCHES = 20  # before this one, that a plan remembers


def write_plan(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes the plan of a launch into the study's folder. Another launch of the study may do so at the same moment: each
    leaves the plans of the others in, but for those whose cells are all its own."""
    own = {cell["signature"] for cell in content["cells"]}
    with claim(folder, f"{folder}: another launch writes its plan; waiting for it"):
        try:
            before = read_plan(folder) or {}
        except Damaged:
            before = {}
        launches = [{key: before[key] for key in ("command", "cells") if key in before}, *(before.get("others") or [])]
        others = [launch for launch in launches if not own.issuperset(signatures_of(launch))]
        write_atomically(folder / PLAN, to_json({**content, "others": others[:LAUNCHES]}))


def side_by_side(threads: int, runs: int) -> int:
    """How many runs to have at once: cores over threads a run. Two runs of one thread beat one run of two by far."""
    import joblib

    return max(1, min(joblib.cpu_count() // threads, runs))  # joblib knows a container's share


def launcher(jobs: int, overrides: list[str]) -> list[str]:
    """The words that choose a launcher: joblib for runs side by side, unless the person chose one."""
    if jobs == 1 or any(word.startswith("hydra/launcher") for word in overrides):
        return []
    return ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]


# ---- what a launch would do


def described(cells: list[Cell], retry_failed: bool = False) -> list[str]:
    """One line a cell, and one of all: how much is done, what a launch leaves alone, and how long the rest will take by
    the runs that are done."""
    lines = []
    for cell in cells:
        over = " ".join(f"{key}={value}" for key, value in cell.over.items())
        size = f"{cell.task.request.parameters:,} parameters"
        lines.append(f"{cell.directory.signature}  {cell.directory.state():9}  {cell.point.name}  {over}  {size}")
    states = [cell.directory.state() for cell in cells]
    left = failed_before(0 if retry_failed else states.count("failed"))
    head = f"{counted(len(cells), 'cell')}, {states.count('completed')} done{left}"
    return [*lines, head + _estimate(cells, retry_failed)]


def failed_before(runs: int) -> str:
    """What is said of runs that a launch leaves alone."""
    return f", {runs} failed before (--retry-failed tries again)" if runs else ""


def _estimate(cells: list[Cell], retry_failed: bool) -> str:
    """From the seconds of the runs that are done: of the same arm, or of all where it has none."""
    known: dict[str, list[float]] = {}
    missing: dict[Path, Cell] = {}
    for cell in cells:
        if cell.directory.state() == "completed":
            timing = (cell.directory.result() or {})["timing"]
            known.setdefault(cell.point.arm, []).append(timing["seconds_fit"] + timing["seconds_evaluate"])
        elif retry_failed or cell.directory.state() != "failed":
            missing[cell.directory.path] = cell
    if not known or not missing:
        return ""
    overall = statistics.mean(itertools.chain(*known.values()))
    seconds = sum(statistics.mean(known.get(cell.point.arm, [overall])) for cell in missing.values())
    jobs = side_by_side(cells[0].task.request.settings["threads"], len(missing))
    return f"; about {duration(seconds / jobs)} for the other {len(missing)}, {jobs} side by side"
