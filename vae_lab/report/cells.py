"""What a study found, read from its run directories: rows (a cell with its run), cells, arms.

Reads files only. Nothing is dropped: a run that failed, is damaged or never began is a row that says so.
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vae_lab import store
from vae_lab.errors import RequestError
from vae_lab.report import words
from vae_lab.report.statistics import Summary, Trend, choose, summarize, trend

SELECT = "val/elbo"
LOWER_IS_BETTER = {"nll", "nll_tenth", "distortion", "loss", "marginal_kl"}
NOT_BEGUN = {"new": "not begun", "cut": "begun and cut short; the same command goes on", "running": "still running"}

Series = dict[str, tuple[list[int], list[float]]]


class NoReport(RequestError):
    """A path that no report can be made of; the message is one line for the person who asked."""


@dataclass(frozen=True)
class Row:
    """One cell of a study at one value of what is crossed over all arms (a seed), and its run."""

    arm: str
    cell: str
    strength: Mapping[str, Any]
    over: Mapping[str, Any]
    run: store.RunDirectory
    status: str  # completed, failed, damaged, running, cut or new
    error: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        return self.run.signature

    @property
    def key(self) -> str:
        """What rows are paired by: the values of `over`."""
        return json.dumps(self.over, sort_keys=True, default=str)

    @property
    def is_completed(self) -> bool:
        return self.status == "completed"

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.result.get("metrics") or {}

    @property
    def over_text(self) -> str:
        return words.strength(self.over)

    def value(self, metric: str) -> float | None:
        """A measured number of a completed run; `test/rate_per_dimension/0` is the largest rate of a latent."""
        value = self.metrics.get(metric) if self.is_completed else None
        split, _, rank = metric.partition("/rate_per_dimension/")
        if rank.isdigit() and self.is_completed:
            value = dict(enumerate(sorted(self.detail(split, "rate_per_dimension"), reverse=True))).get(int(rank))
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None

    def detail(self, split: str, name: str) -> list[float]:
        """A list of the evaluation: `rate_per_dimension` (nats) or `variances`, one a latent."""
        found = self.nested("details", split, name)
        return [float(x) for x in found if isinstance(x, (int, float))] if isinstance(found, list) else []

    def nested(self, *names: str) -> Any:
        """An entry of `result.json` below the first level, or None."""
        value: Any = self.result
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @cached_property
    def series(self) -> Series:
        """Every logged series as (steps, values); a step that a resumed run logged twice counts once, the last time."""
        found: dict[str, dict[int, float]] = {}
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for step, _, name, value in self.run.history():
                if math.isfinite(value):
                    found.setdefault(name, {})[step] = value
        return {name: (sorted(points), [points[s] for s in sorted(points)]) for name, points in found.items()}

    @cached_property
    def trend(self) -> Trend | None:
        """How `val/elbo` ended."""
        return trend(*self.series.get("val/elbo", ([], [])))


@dataclass(frozen=True)
class Cell:
    """One point of an arm (one strength), with a row for every seed."""

    arm: str
    name: str
    rows: tuple[Row, ...]

    @property
    def strength(self) -> Mapping[str, Any]:
        return self.rows[0].strength

    @property
    def label(self) -> str:
        """The arm with its strength: `free_bits (rate.nats=0.1)`."""
        return f"{self.arm} ({words.strength(self.strength)})" if self.strength else self.arm

    @property
    def completed(self) -> tuple[Row, ...]:
        """The completed runs, one row each: a run that seeds share counts once."""
        return tuple({row.signature: row for row in reversed(self.rows) if row.is_completed}.values())[::-1]

    def values(self, metric: str) -> dict[str, float]:
        """Seed (or whatever `over` holds) to what its run measured."""
        found = ((row.key, row.value(metric)) for row in self.rows)
        return {key: value for key, value in found if value is not None}

    def summary(self, metric: str) -> Summary:
        found = (row.value(metric) for row in self.completed)
        return summarize([value for value in found if value is not None])

    @property
    def latents(self) -> int | None:
        """The number of latent dimensions that the evaluation saw."""
        names = ("rate_per_dimension", "variances")
        return next((len(v) for row in self.completed for name in names if (v := row.detail("test", name))), None)


@dataclass(frozen=True)
class Arm:
    """A remedy with every strength that was tried and the one chosen on validation, which alone is read on test."""

    name: str
    cells: tuple[Cell, ...]
    chosen: Cell

    @property
    def label(self) -> str:
        return self.chosen.label

    def choice(self, metric: str) -> str:
        """What was tried: `chosen of 2 on validation: rate.nats=0.1`; empty where there was nothing to choose."""
        if len(self.cells) == 1:
            return ""
        return f"chosen of {len(self.cells)} on {metric}: {words.strength(self.chosen.strength) or self.chosen.name}"


@dataclass(frozen=True)
class Study:
    """Everything that the report knows."""

    path: Path
    facts: Mapping[str, Any]
    rows: tuple[Row, ...]
    command: str | None = None
    is_planned: bool = True

    @property
    def name(self) -> str:
        return str(self.facts.get("name") or self.path.resolve().name)

    @property
    def select(self) -> str:
        """The validation metric by which a strength is chosen; test is never chosen by."""
        asked = str(self.facts.get("select") or SELECT)
        return SELECT if asked.startswith("test/") else asked

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        return tuple(self._arm(name) for name in dict.fromkeys(row.arm for row in self.rows))

    def _arm(self, name: str) -> Arm:
        grouped: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.arm == name:
                grouped.setdefault(row.cell, []).append(row)
        cells = {cell: Cell(name, cell, tuple(rows)) for cell, rows in grouped.items()}
        higher = self.select.rpartition("/")[2] not in LOWER_IS_BETTER
        best = choose({cell: found.values(self.select) for cell, found in cells.items()}, higher)
        return Arm(name, tuple(cells.values()), cells[best] if best else next(iter(cells.values())))

    @property
    def reference(self) -> Arm:
        """The arm that the others are compared with: `study.reference`, or else the first."""
        named = [arm for arm in self.arms if arm.name == self.facts.get("reference")]
        return named[0] if named else self.arms[0]

    @property
    def controls(self) -> tuple[Arm, ...]:
        """Arms that are no remedies: shown, not compared."""
        names = set(self.facts.get("controls") or [])
        return tuple(arm for arm in self.arms if arm.name in names and arm is not self.reference)

    @property
    def remedies(self) -> tuple[Arm, ...]:
        """The arms that the verdict compares with the reference; none where no plan says that they are comparable."""
        if not self.is_planned:
            return ()
        return tuple(arm for arm in self.arms if arm is not self.reference and arm not in self.controls)

    @property
    def runs(self) -> tuple[Row, ...]:
        """One row a distinct run, since cells may share runs."""
        return tuple({row.signature: row for row in reversed(self.rows)}.values())[::-1]

    @property
    def missing(self) -> tuple[Row, ...]:
        """The rows that give no numbers."""
        return tuple(row for row in self.rows if not row.is_completed)

    @property
    def metric_names(self) -> list[str]:
        """Every metric of any run, in the order in which the runs have them."""
        return list(dict.fromkeys(name for row in self.rows for name in row.metrics))

    @property
    def over_names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.over))


def read(path: Path) -> Study:
    """A study's folder (with `plan.json`), or any folder of run directories. Errors: `NoReport`."""
    if not path.is_dir():
        raise NoReport(f"{path}: no such folder")
    try:
        plan = store.read_plan(path)
        study = _planned(path, plan) if plan is not None else Study(path, {}, tuple(_found(path)), is_planned=False)
    except store.Damaged as error:
        raise NoReport(f"{error} (the study's command writes it again)") from error
    if not study.rows:
        raise NoReport(f"{path}: no runs in it")
    return study


def study_folders(path: Path) -> list[Path]:
    """The folders to report on: `path` itself, or the studies in it where it is no study but holds some (`runs/`)."""
    if (path / store.PLAN).exists():
        return [path]
    return [plan.parent for plan in sorted(path.glob(f"*/{store.PLAN}"))] or [path]


def _planned(path: Path, plan: Mapping[str, Any]) -> Study:
    cells, facts = plan.get("cells"), plan.get("study") or {}
    if not isinstance(cells, list) or not isinstance(facts, dict):
        raise store.Damaged(f"{path / store.PLAN} is damaged: it has no list of cells")
    try:
        rows = tuple(_planned_row(path, cell) for cell in cells)
    except (KeyError, TypeError, AttributeError) as error:
        raise store.Damaged(f"{path / store.PLAN} is damaged: a cell lacks {error}") from error
    return Study(path, facts, rows, _command(plan.get("command")))


def _command(command: Any) -> str | None:
    return " ".join(map(str, command)) if isinstance(command, list) else command and str(command)


def _planned_row(path: Path, cell: Mapping[str, Any]) -> Row:
    arm, over = str(cell["arm"]), dict(cell.get("over") or {})
    name = str(cell.get("cell") or arm)
    return _row(arm, name, dict(cell.get("strength") or {}), over, store.RunDirectory(path / str(cell["signature"])))


def _found(path: Path) -> Iterable[Row]:
    """Runs without a plan: the runs of one arm are a cell; where a seed comes twice, each run is an arm of its own."""
    rows = [_row("", "", {}, {}, run) for run in store.find_runs(path)]
    named = [(str(row.result.get("arm") or f"run {row.signature[:8]}"), row.result.get("seed"), row) for row in rows]
    count = Counter((arm, seed) for arm, seed, _ in named)
    twice = {arm for (arm, _), times in count.items() if times > 1}
    for arm, seed, row in sorted(named, key=lambda item: (item[0], str(item[1]))):
        label = f"{arm} {row.signature[:8]}" if arm in twice else arm
        yield Row(label, label, {}, {"seed": seed}, row.run, row.status, row.error, row.result)


def _row(arm: str, cell: str, strength: Mapping[str, Any], over: Mapping[str, Any], run: store.RunDirectory) -> Row:
    return Row(arm, cell, strength, over, run, *_outcome(run))


def _outcome(run: store.RunDirectory) -> tuple[str, str, dict[str, Any]]:
    """Status, the error's first line and the content of a run."""
    try:
        result = run.result()
    except (store.Damaged, OSError) as error:
        return "damaged", words.first_line(str(error).replace(str(run.path), run.signature)), {}
    if result is None:
        state = run.state()
        return state, NOT_BEGUN.get(state, ""), {}
    if not isinstance(result["metrics"], dict):
        return "damaged", f"{run.signature}/{store.RESULT} is damaged: its metrics are no object", {}
    if result["status"] == "completed":
        return "completed", "", result
    return str(result["status"]), words.first_line(result.get("error")) or "no error was recorded", result
