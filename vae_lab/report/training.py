"""How runs went, for the charts: curves with their spread over seeds, and the rate of each latent over training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vae_lab.report.cells import Cell, Row

RATE = "val/rate_per_dimension/"
MOST, FEWEST, BUDGET = 160, 24, 60_000  # points of a curve, and of all curves of a page together
RUNS = 100  # of a cell, whose curves are read: more show nothing more

Curve = Mapping[str, Any]


def curves(cells: Sequence[Cell]) -> dict[str, dict[int, Curve]]:
    """Metric to the curves of the cells (by position) that logged it: `steps`, and over seeds (the first `RUNS` of them)
    the `mean`, the lowest and the highest value, over the steps from where every seed has begun to where every has come."""
    series = [[row.series for row in cell.completed[:RUNS]] for cell in cells]
    names = list(dict.fromkeys(name for found in series for one in found for name in one if not name.startswith(RATE)))
    most = max(FEWEST, min(MOST, BUDGET // max(len(names) * len(cells), 1)))
    found = {name: {i: curve for i, s in enumerate(series) if (curve := _curve(s, name, most))} for name in names}
    return {name: found[name] for name in sorted(names, key=_order)}


def _order(name: str) -> tuple[bool, str]:
    return not name.startswith("val/"), name


def _curve(found: Iterable[Mapping[str, Any]], name: str, most: int) -> Curve | None:
    lines = [series[name] for series in found if name in series]
    if not lines:
        return None
    start, end = max(steps[0] for steps, _ in lines), min(steps[-1] for steps, _ in lines)
    steps = np.unique(np.concatenate([[s for s in steps if start <= s <= end] for steps, _ in lines]))
    if not len(steps):
        return None
    steps = _thinned(steps, most)
    values = np.array([np.interp(steps, *line) for line in lines])
    spread = {"low": short(values.min(0)), "high": short(values.max(0))} if len(lines) > 1 else {}
    return {"n": len(lines), "steps": steps.astype(int).tolist(), "mean": short(values.mean(0)), **spread}


def _thinned(steps: np.ndarray, most: int) -> np.ndarray:
    return steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(int))]


def partial(row: Row) -> dict[str, Any]:
    """The curves so far of a run that has not ended: metric to `steps` and `values`."""
    found = {}
    for name, (steps, values) in row.series.items():
        if not name.startswith(RATE) and steps:
            at = np.unique(np.linspace(0, len(steps) - 1, MOST).round().astype(int))
            found[name] = {"steps": [steps[i] for i in at], "values": short(np.array(values)[at])}
    return found


def rate_map(cell: Cell, budget: int = BUDGET) -> dict[str, Any] | None:
    """Rate of each latent over training in the cell's first run that logged it: `run`, `steps`, and `grid`, a row a
    latent, by falling last rate."""
    for row in cell.completed:
        names = [name for name in row.series if name.startswith(RATE)]
        if names:
            steps = np.unique(np.concatenate([row.series[name][0] for name in names]))
            steps = _thinned(steps, max(10, min(80, budget // len(names))))
            grid = np.array([np.interp(steps, *row.series[name]) for name in names])
            order = np.argsort(-grid[:, -1], kind="stable")
            return {"run": row.over_text, "steps": steps.tolist(), "grid": [short(line, 3) for line in grid[order]]}
    return None


def short(values: Iterable[float], digits: int = 5) -> list[float]:
    """Numbers for a picture: no more digits than can be seen."""
    return [float(f"{value:.{digits}g}") for value in values]
