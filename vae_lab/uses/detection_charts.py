"""Charts of scores that tell groups apart, as Vega-Lite specifications with their data in them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

BINS, POINTS = 40, 200
COLOURS = {"normal": "#4c78a8", "others": "#e45756", "data": "#79706e"}

Scores = Mapping[Any, np.ndarray]


def histograms(groups: Mapping[str, Scores], limits: Mapping[Any, float]) -> dict[str, Any]:
    """One histogram for each score, of the share of each group; what lies beyond the middle 99 % of all is in the outermost
    bars. A line where a score has its limit."""
    first = next(iter(groups.values()))
    charts = [_histogram(name, {group: of[name] for group, of in groups.items()}, limits.get(name)) for name in first]
    return {"concat": charts, "columns": 2, "config": {"view": {"stroke": None}}, "background": "white"}


def _histogram(name: str, groups: Scores, limit: float | None) -> dict[str, Any]:
    low, high = np.quantile(np.concatenate([*groups.values()]), [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    rows = []
    for group, of in groups.items():
        shares = np.histogram(np.clip(of, edges[0], edges[-1]), edges)[0] / len(of)
        rows += [
            {"from": a, "to": b, "share": share, "group": group}
            for a, b, share in zip(edges[:-1].tolist(), edges[1:].tolist(), shares.tolist(), strict=True)
        ]
    bars = {
        "data": {"values": rows},
        "mark": {"type": "bar", "opacity": 0.55, "binSpacing": 0},
        "encoding": {
            "x": {"field": "from", "type": "quantitative", "bin": {"binned": True}, "title": f"{name}, nats"},
            "x2": {"field": "to"},
            "y": {"field": "share", "type": "quantitative", "stack": None, "title": "share of group"},
            "color": _colour([*groups], "group"),
        },
    }
    rule = {"data": {"values": [{"limit": limit}]}, "mark": {"type": "rule", "strokeDash": [4, 3]}}
    rule["encoding"] = {"x": {"field": "limit", "type": "quantitative"}}
    return {"layer": [bars] if limit is None else [bars, rule], "width": 300, "height": 150}


def roc(normal: Scores, others: Scores) -> dict[str, Any]:
    """The share of others found against the share of normal examples in alarm, a line for each score."""
    rows = []
    for name, of in normal.items():
        truth = np.repeat([0, 1], [len(of), len(others[name])])
        false, true, _ = roc_curve(truth, np.concatenate([of, others[name]]))
        kept = np.unique(np.linspace(0, len(false) - 1, POINTS).astype(int))
        rows += [
            {"false": x, "true": y, "score": name}
            for x, y in zip(false[kept].tolist(), true[kept].tolist(), strict=True)
        ]
    chance = {
        "data": {"values": [{"a": 0}, {"a": 1}]},
        "mark": {"type": "line", "color": "#bbbbbb", "strokeDash": [4, 3]},
    }
    chance["encoding"] = {axis: {"field": "a", "type": "quantitative"} for axis in ("x", "y")}
    lines = {
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "linear"},
        "encoding": {
            "x": {"field": "false", "type": "quantitative", "title": "false positive rate"},
            "y": {"field": "true", "type": "quantitative", "title": "true positive rate"},
            "color": {"field": "score", "type": "nominal", "sort": [*normal]},
            "order": {"field": "false"},
        },
    }
    return {"layer": [chance, lines], "width": 300, "height": 300, "background": "white"}


def _colour(groups: list[str], field: str) -> dict[str, Any]:
    scale = {"domain": groups, "range": [COLOURS[group] for group in groups]}
    return {"field": field, "type": "nominal", "scale": scale, "title": None}
