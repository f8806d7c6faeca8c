"""The numbers that the page's charts draw, as one object for its script. Every statistic is computed here, none there."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_lab.metrics import ACTIVE_THRESHOLD, METRICS, SPLITS
from vae_lab.report import training
from vae_lab.report.cells import Arm, Cell, Row, Study
from vae_lab.report.notes import name_of
from vae_lab.report.pairwise import Pair, compare_pairs
from vae_lab.report.search import parallel
from vae_lab.report.shown import PAIRED_ARMS, Shown
from vae_lab.report.statistics import LEVEL, prepare_intervals
from vae_lab.store import finite

PAIRED = ("test/rate", "test/elbo", "test/nll", "test/active_units", "test/distortion", "test/mutual_information")
MOST_LISTS = 10


def embed(shown: Shown, live: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that the script reads. Cells are named by their position; that of an arm's chosen cell is the arm's."""
    study, cells = shown.study, shown.cells
    metrics = [name for name in study.metric_names if any(cell.summary(name).n for cell in cells)]
    for name in metrics:
        prepare_intervals([cell.summary(name) for cell in cells])
    return {
        "study": study.name,
        "level": LEVEL,
        "reference": shown.arms.index(study.reference),
        "arms": [_arm(shown, i) for i in range(len(shown.arms))],
        "cells": [{"label": cell.label, "strength": dict(cell.strength), "n": len(cell.completed)} for cell in cells],
        "metrics": {name: describe(name) for name in metrics},
        "runs": _runs(cells, metrics),
        "summaries": {name: [_summary(cell, name) for cell in cells] for name in metrics},
        "front": pareto({i: arm.chosen for i, arm in enumerate(shown.arms) if not _is_control(study, arm)}),
        "curves": training.curves(cells),
        "curve_names": {
            name: describe(name) for name in dict.fromkeys(n for cell in cells for n in _curve_names(cell))
        },
        "partial": [_partial(row, shown) for row in study.rows if row.status == "running"][:16] if live else [],
        "rates": {i: found for i, cell in enumerate(cells) if (found := training.rate_map(cell, 60_000 // len(cells)))},
        "latents": {"variances": _sorted_lists(cells, "variances")},
        "mean_rates": _mean_rates(cells),
        "active": ACTIVE_THRESHOLD,
        "pairs": None if live else _pairs(shown),
        "search": parallel(study),
        "live": live,
    }


def to_script(content: Any) -> str:
    """JSON that can stand inside a `script` element, whatever text it has; null for what overflowed."""
    text = json.dumps(finite(content), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def describe(name: str) -> dict[str, Any]:
    """A metric as a reader knows it: its name, its unit, and which way is better."""
    split, _, last = name.rpartition("/")
    known = METRICS.get(last) if split in ("", "train", *SPLITS) else None  # a use may have a number of the same name
    return {"unit": known.unit if known else "", "better": known.better if known else None}


def _arm(shown: Shown, i: int) -> dict[str, Any]:
    arm, study = shown.arms[i], shown.study
    is_reference = study.is_planned and arm is study.reference
    role = "reference" if is_reference else "control" if _is_control(study, arm) else ""
    slot = next((slot for slot, colored in enumerate(shown.colored) if colored is arm), None)
    places = {id(cell): place for place, cell in enumerate(shown.cells)}
    tried = [places[id(cell)] for cell in sorted(arm.cells, key=_strength) if id(cell) in places]
    return {"name": arm.name, "role": role, "slot": slot, "tried": tried}


def _is_control(study: Study, arm: Arm) -> bool:
    return any(arm is control for control in study.controls)


def _strength(cell: Cell) -> float:
    """By which an arm's points are joined: their strength where that is one number, else as they were declared."""
    values = list(cell.strength.values())
    return float(values[0]) if len(values) == 1 and isinstance(values[0], (int, float)) else 0.0


def _runs(cells: Sequence[Cell], metrics: Sequence[str]) -> dict[str, Any]:
    """Completed runs in columns; their numbers as `results.csv` has them."""
    rows = [(i, row) for i, cell in enumerate(cells) for row in cell.completed]
    return {
        "cell": [i for i, _ in rows],
        "over": [row.over_text or row.signature for _, row in rows],
        "values": {name: [row.value(name) for _, row in rows] for name in metrics},
    }


def _summary(cell: Cell, name: str) -> list[Any] | None:
    """Mean, ends and method of its interval, n."""
    found = cell.summary(name)
    if found.mean is None:
        return None
    interval = found.interval
    ends = [*interval] if interval else [None, None, None]
    return [found.mean, *ends, found.n]


def pareto(cells: Mapping[int, Cell]) -> list[int]:
    """The cells to which no other is as good in both mean test/nll (lower) and mean test/active_units (higher) and better
    in one, by rising NLL."""
    points = {i: (cell.summary("test/nll").mean, cell.summary("test/active_units").mean) for i, cell in cells.items()}
    known = sorted((nll, -units, i) for i, (nll, units) in points.items() if nll is not None and units is not None)
    front, last = [], (math.nan, math.inf)
    for nll, fewer, i in known:
        if fewer < last[1] or (nll, fewer) == last:
            front.append(i)
            last = nll, fewer
    return front


def _curve_names(cell: Cell) -> list[str]:
    return [name for row in cell.completed[:1] for name in row.series if not name.startswith(training.RATE)]


def _partial(row: Row, shown: Shown) -> dict[str, Any]:
    place = next((i for i, arm in enumerate(shown.arms) if arm.name == row.arm), None)
    return {"arm": place, "name": name_of(row), "curves": training.partial(row)}


def _sorted_lists(cells: Sequence[Cell], name: str) -> dict[int, list[list[float]]]:
    """A list of test figures of the latents a run, each by falling value; of a cell's first runs only."""
    found = {i: _lists(cell, name)[:MOST_LISTS] for i, cell in enumerate(cells)}
    return {i: [training.short(one, 4) for one in lists] for i, lists in found.items() if lists}


def _mean_rates(cells: Sequence[Cell]) -> dict[int, list[float]]:
    """Test rate of the latent with the highest rate, of the next, and so on: the mean over a cell's runs."""
    found = {i: _lists(cell, "rate_per_dimension") for i, cell in enumerate(cells)}
    return {i: training.short(np.mean(lists, 0), 4) for i, lists in found.items() if lists}


def _lists(cell: Cell, name: str) -> list[list[float]]:
    lists = [sorted(found, reverse=True) for row in cell.completed if (found := row.detail("test", name))]
    return [one for one in lists if len(one) == len(lists[0])]


def _pairs(shown: Shown) -> dict[str, Any]:
    """The paired comparisons, in rows of `fields`: of all arms, or of too many each with the reference."""
    chosen, reference = shown.cells[: len(shown.arms)], shown.arms.index(shown.study.reference)
    all_ = len(chosen) <= PAIRED_ARMS
    wanted = None if all_ else [(reference, i) for i in range(len(chosen)) if i != reference]
    tried = [len(arm.cells) for arm in shown.arms]
    compared = {name: compare_pairs(chosen, name, wanted, tried) for name in PAIRED}
    rows = {name: [_rounded(pair) for pair in found] for name, found in compared.items() if found}
    return {"fields": Pair._fields, "all": all_, "metrics": rows, "chosen": max(tried) > 1}


def _rounded(pair: Pair) -> list[float | None]:
    return [value if value is None or isinstance(value, int) else float(f"{value:.6g}") for value in pair]
