"""A search: runs that differ in several settings, for parallel coordinates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vae_lab.report.cells import Study
from vae_lab.report.training import short
from vae_lab.report.unplanned import is_of_the_run
from vae_lab.settings import flatten

LEAST_AXES, MOST_AXES = 2, 10  # of a plan, whose arms and strengths say less than two better
LINES = 600
LOG_SPAN = 50  # a positive setting that spans more than this is drawn on a log scale


def parallel(study: Study) -> dict[str, Any]:
    """The axes (settings that vary, then the metrics of choice) and a line a run, at most `LINES` of them, best first.

    An axis is its `name`, `low` and `high` as text, and for each line a place in [0, 1] in `at` and the value in
    `text`. There are no axes where no setting varies.
    """
    if _is_grid(study):
        return {"axes": [], "runs": [], "of": 0}
    rows = [row for row in study.runs if all(row.value(name) is not None for name in study.objectives)]
    sign = -1.0 if study.is_higher_better else 1.0
    rows.sort(key=lambda row: sign * (row.value(study.select) or 0.0))
    settings = [row.varied or flatten(row.settings) for row in rows]
    names = _varying(settings)
    if len(names) < (LEAST_AXES if study.is_planned else 1):
        return {"axes": [], "runs": [], "of": len(rows)}
    kept = range(len(rows)) if len(rows) <= LINES else _thinned(len(rows))
    axes = [_axis(name, [settings[i].get(name) for i in kept]) for name in names]
    axes += [_axis(name, [rows[i].value(name) for i in kept]) for name in study.objectives]
    return {"axes": axes, "runs": [rows[i].signature for i in kept], "of": len(rows)}


def _is_grid(study: Study) -> bool:
    """Whether the runs are seeds of arms rather than points of a search: several runs a cell."""
    cells = sum(len(arm.cells) for arm in study.arms)
    return study.is_planned and len(study.runs) > cells


def _thinned(count: int) -> list[int]:
    """The better half whole, and the others evenly."""
    best = LINES // 2
    return [*range(best), *(best + round(i * (count - best - 1) / (LINES - best - 1)) for i in range(LINES - best))]


def _varying(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for found in settings for name in found if not is_of_the_run(name))
    varying = [name for name in names if any(found.get(name) != settings[0].get(name) for found in settings)]
    return sorted(varying, key=lambda name: -_numbers(settings, name))[:MOST_AXES]


def _numbers(settings: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(_is_number(found.get(name)) for found in settings)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    text = ["none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    if all(map(_is_number, values)):
        is_log = min(values) > 0 and max(values) / min(values) > LOG_SPAN
        places = [math.log(value) if is_log else float(value) for value in values]
        low, high = min(places), max(places)
        at = [(place - low) / (high - low) if high > low else 0.5 for place in places]
        ends = [f"{min(values):.4g}", f"{max(values):.4g}"]
    else:
        is_log, kinds = False, sorted(set(text))
        at = [kinds.index(one) / max(len(kinds) - 1, 1) for one in text]
        ends = [kinds[0], kinds[-1]]
    return {"name": name, "log": is_log, "ends": ends, "at": short(at, 4), "text": text}
