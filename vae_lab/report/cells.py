"""What a study found: rows (a cell with its run), cells, arms. `reading` makes them of run directories."""

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from vae_lab import store
from vae_lab.metrics import better
from vae_lab.report import words
from vae_lab.report.convergence import Trend, trend
from vae_lab.report.statistics import Summary, choose, summarize
from vae_lab.settings import flatten

SELECT = "val/elbo"

Series = dict[str, tuple[list[int], list[float]]]
Runs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """One cell of a study at one value of what is crossed over all arms (a seed), and its run."""

    arm: str
    cell: str
    strength: Mapping[str, Any]
    over: Mapping[str, Any]
    run: store.RunDirectory
    status: str  # completed, failed, damaged, running, pruned, cut or new
    error: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    stamp: tuple[int, int] | None = None  # of `result.json`
    varied: Mapping[str, Any] = field(
        default_factory=dict
    )  # without a plan: the settings in which it differs from others

    @property
    def signature(self) -> str:
        return self.run.signature

    @cached_property
    def key(self) -> str:
        """What rows are paired by: the values of `over`."""
        return json.dumps(self.over, sort_keys=True, default=str)

    @property
    def is_completed(self) -> bool:
        return self.status == "completed"

    @property
    def is_pruned(self) -> bool:
        return self.status == "pruned"

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The nested settings of the run, ended or not."""
        return self.result.get("settings") or self.run.config()

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """The figures of the evaluation, and those of every use that the run was put to, as `use/number`."""
        used = {
            f"{use}/{name}": value
            for use, told in self.used.items()
            for name, value in flatten(told["numbers"]).items()
        }
        return {**(self.result.get("metrics") or {}), **used}

    @cached_property
    def used(self) -> Mapping[str, Any]:
        """What the run was put to: the content of its `uses/NAME.json` by name; one that is damaged is none."""
        return self.run.used() if self.is_completed else {}

    @property
    def over_text(self) -> str:
        return words.strength(self.over)

    def value(self, metric: str) -> float | None:
        """A measured number of a completed run; `test/rate_per_dimension/0` is the largest rate of a latent."""
        value = self.metrics.get(metric) if self.is_completed else None
        if value is None and self.is_completed and "/rate_per_dimension/" in metric:
            split, _, rank = metric.partition("/rate_per_dimension/")
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
        with contextlib.suppress(OSError, UnicodeDecodeError, store.Damaged):
            for step, _, name, value in self.run.history():
                if math.isfinite(value):
                    found.setdefault(name, {})[step] = value
        return {name: (sorted(points), [points[s] for s in sorted(points)]) for name, points in found.items()}

    @cached_property
    def trend(self) -> Trend | None:
        """How `val/elbo` ended; None where that cannot be judged, as of a run whose learning rate decayed and was not
        logged. It is asked of every run, of which there may be ten thousand, so it reads two series and keeps none."""
        text = ""
        with contextlib.suppress(OSError, UnicodeDecodeError, store.Damaged):
            text = store.read_text(self.run.path / store.HISTORY, self.run.path)
        rates = _series(text, "train/lr")
        scheduler = str(self.nested("settings", "scheduler", "_target_") or "constant")
        if not rates[0] and not scheduler.endswith("constant"):
            return None
        return trend(*_series(text, "val/elbo"), rates)


def _series(text: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and finite values of one series of a history; of a step that is there twice, the last."""
    points: dict[int, float] = {}
    for before, after in pairwise(text.split(f",{name},")):  # lines of step, epoch, name, value
        with contextlib.suppress(ValueError):
            step = store.step_of(before.rpartition("\n")[2].partition(",")[0])
            points[step] = float(after.partition("\n")[0])
    steps = sorted(step for step, value in points.items() if math.isfinite(value))
    return steps, [points[step] for step in steps]


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

    @cached_property
    def completed(self) -> tuple[Row, ...]:
        """The completed runs, one row each: a run that seeds share counts once."""
        return tuple({row.signature: row for row in reversed(self.rows) if row.is_completed}.values())[::-1]

    def values(self, metric: str) -> dict[str, float]:
        """Seed (or whatever `over` holds) to what its run measured."""
        if metric not in self._values:
            found = ((row.key, row.value(metric)) for row in self.rows)
            self._values[metric] = {key: value for key, value in found if value is not None}
        return self._values[metric]

    @cached_property
    def _values(self) -> dict[str, dict[str, float]]:
        return {}

    @cached_property
    def signatures(self) -> dict[str, str]:
        """Seed (or whatever `over` holds) to its run."""
        return {row.key: row.signature for row in self.rows}

    @cached_property
    def runs(self) -> Runs:
        """The run of each seed, by which two cells may be known to share all of them."""
        return tuple(sorted(self.signatures.items()))

    def summary(self, metric: str) -> Summary:
        if metric not in self._summaries:
            found = (row.value(metric) for row in self.completed)
            self._summaries[metric] = summarize([value for value in found if value is not None])
        return self._summaries[metric]

    @cached_property
    def _summaries(self) -> dict[str, Summary]:
        return {}

    @property
    def latents(self) -> int | None:
        """The number of latent dimensions that the evaluation saw."""
        names = ("rate_per_dimension", "variances")
        return next((len(v) for row in self.completed for name in names if (v := row.detail("test", name))), None)


def distinct_keys(cells: Iterable[Cell]) -> list[str]:
    """The seeds (or whatever `over` holds) at which no cell has a run that it has at one before: a run counts once, at
    however many settings of its evaluation it is told."""
    cells = list(cells)
    seen: set[tuple[int, str]] = set()
    kept = []
    for key in dict.fromkeys(key for cell in cells for key in cell.signatures):
        here = {(i, cell.signatures[key]) for i, cell in enumerate(cells) if key in cell.signatures}
        if not here & seen:
            seen |= here
            kept.append(key)
    return kept


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
    elsewhere: tuple[str, ...] = ()  # what else there is of it, that this report is not on

    @property
    def name(self) -> str:
        return str(self.facts.get("name") or self.path.resolve().name)

    @property
    def select(self) -> str:
        """The validation metric by which a strength is chosen; test is never chosen by."""
        asked = str(self.facts.get("select") or next(iter(self.facts.get("objectives") or [SELECT])))
        return SELECT if asked.startswith("test/") else asked

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        grouped: dict[str, dict[str, list[Row]]] = {}
        for row in self.rows:
            grouped.setdefault(row.arm, {}).setdefault(row.cell, []).append(row)
        return tuple(self._arm(name, cells) for name, cells in grouped.items())

    def _arm(self, name: str, grouped: Mapping[str, list[Row]]) -> Arm:
        cells = {cell: Cell(name, cell, tuple(rows)) for cell, rows in grouped.items()}
        if len(cells) == 1:
            return Arm(name, tuple(cells.values()), *cells.values())
        best = choose({cell: found.values(self.select) for cell, found in cells.items()}, self.is_higher_better)
        return Arm(name, tuple(cells.values()), cells[best] if best else next(iter(cells.values())))

    @property
    def is_higher_better(self) -> bool:
        """Which way `select` is read. Errors: `RequestError` where neither way is better."""
        return self.objectives[self.select] == "max"

    @property
    def objectives(self) -> Mapping[str, str]:
        """The metrics of choice, each `max` or `min`: those of a search, or `select` alone. Errors: `RequestError` where
        neither way is better."""
        found = self.facts.get("objectives")
        return found if isinstance(found, dict) and found else {self.select: better(self.select)}

    @cached_property
    def reference(self) -> Arm:
        """The arm that the others are compared with: `study.reference`, or else the first."""
        named = [arm for arm in self.arms if arm.name == self.facts.get("reference")]
        return named[0] if named else self.arms[0]

    @property
    def leads_with_likelihood(self) -> bool:
        """Whether `study.primary` asks for the likelihood of the arms before their rate."""
        return self.facts.get("primary") == "likelihood"

    @cached_property
    def controls(self) -> tuple[Arm, ...]:
        """Arms that are no remedies: shown, not compared."""
        names = set(self.facts.get("controls") or [])
        return tuple(arm for arm in self.arms if arm.name in names and arm is not self.reference)

    @cached_property
    def remedies(self) -> tuple[Arm, ...]:
        """The arms that the verdict compares with the reference; none where no plan says that they are comparable."""
        if not self.is_planned:
            return ()
        others = {self.reference.name, *(arm.name for arm in self.controls)}
        return tuple(arm for arm in self.arms if arm.name not in others)

    @cached_property
    def runs(self) -> tuple[Row, ...]:
        """One row a distinct run, since cells may share runs."""
        return tuple({row.signature: row for row in reversed(self.rows)}.values())[::-1]

    @property
    def missing(self) -> tuple[Row, ...]:
        """The rows that give no numbers; one that a search has pruned is as it should be."""
        return tuple(row for row in self.rows if not row.is_completed and not row.is_pruned)

    @cached_property
    def metric_names(self) -> list[str]:
        """Every metric of any run, in the order in which the runs have them."""
        return list(dict.fromkeys(name for row in self.rows for name in row.metrics))

    @cached_property
    def varied_names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.varied))

    @cached_property
    def over_names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.over))
