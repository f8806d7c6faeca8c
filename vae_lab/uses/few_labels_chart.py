"""The chart of errors by method, as a Vega-Lite specification with its data in it."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def errors(measured: Sequence[Row], published: Sequence[Row], methods: Sequence[str]) -> dict[str, Any]:
    """Of each number of labels a panel, of each method a row: every draw, their mean with a standard deviation on either
    side, and what was published.

    Arguments:
        measured: a row for each draw; published: a row for each figure. Each has labels, method and error.
    """
    place = {"y": {"field": "method", "type": "nominal", "sort": [*methods], "title": None}}
    x = {"field": "error", "type": "quantitative", "title": "share of test examples wrong", "axis": {"format": "%"}}
    kind = {
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["draw", "mean", "published"], "range": ["circle", "square", "diamond"]},
    }
    mean = x | {"aggregate": "mean"}
    layers = [
        _layer({"type": "errorbar", "extent": "stdev"}, "measured", {"x": x}),
        _layer({"type": "point", "size": 25, "opacity": 0.6}, "measured", {"x": x, "shape": kind | {"datum": "draw"}}),
        _layer(
            {"type": "point", "filled": True, "size": 60}, "measured", {"x": mean, "shape": kind | {"datum": "mean"}}
        ),
        _layer(
            {"type": "point", "size": 90, "color": "#e45756"},
            "published",
            {"x": x, "shape": kind | {"datum": "published"}},
        ),
    ]
    rows = [
        row | {"from": name}
        for name, some in (("measured", measured), ("published", published))
        for row in map(dict, some)
    ]
    return {
        "data": {"values": rows},
        "facet": {"row": {"field": "labels", "type": "ordinal", "title": "labels"}},
        "spec": {"layer": layers, "encoding": place, "width": 380, "height": {"step": 26}},
        "background": "white",
    }


def _layer(mark: dict[str, Any], rows: str, encoding: dict[str, Any]) -> dict[str, Any]:
    return {"transform": [{"filter": {"field": "from", "equal": rows}}], "mark": mark, "encoding": encoding}
