"""Drawing for the page: one look an arm, SVG that is the same to the byte for the same runs, small multiples.

Colours (Okabe and Ito 2008, readable for the colour-blind) and marks stand for the same arm in every figure; the
reference is black and the controls are grey.
"""

import html
import io
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from vae_lab.report.cells import Arm, Study

PALETTE = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#8C6D00", "#5B2C83")
GREYS = ("#8A8A8A", "#B5B5B5")
MARKS = ("o", "s", "^", "D", "v", "P", "p", "*")
COLUMNS = 4
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.linewidth": 0.7,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Look:
    """How an arm looks in every figure."""

    color: str
    mark: str
    line: str = "-"


def looks(study: Study) -> dict[str, Look]:
    """Arm to its colour and mark."""
    found = {study.reference.name: Look("#000000", "o")}
    found |= {arm.name: Look(GREYS[i % 2], "X", "--") for i, arm in enumerate(study.controls)}
    for i, arm in enumerate(arm for arm in study.arms if arm.name not in found):
        line = "-" if i < len(PALETTE) else ":"
        found[arm.name] = Look(PALETTE[i % len(PALETTE)], MARKS[(i + 1) % len(MARKS)], line)
    return found


def to_svg(draw: Callable[[Figure], None], width: float, height: float, name: str, alt: str) -> str:
    """Draws a figure of `width` x `height` inches and returns it as an `svg` element with ids of its own."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings(), matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's browser has its own fonts
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(text, format="svg", metadata=nothing)
    svg = re.sub(r"^.*?<svg ", "<svg ", text.getvalue(), count=1, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


def small_multiples(
    study: Study,
    draw: Callable[[Axes, Arm], None],
    name: str,
    alt: str,
    labels: tuple[str, str],
    scale: tuple[ScalarMappable, str] | None = None,
) -> str:
    """One small picture an arm, on shared axes, with the bar of a colour scale and its label if one is given."""
    columns = min(COLUMNS, len(study.arms))
    rows = math.ceil(len(study.arms) / columns)

    def panels(figure: Figure) -> None:
        grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for axes, arm in zip(grid, study.arms, strict=False):
            _title(axes, arm.label, looks(study)[arm.name])
            draw(axes, arm)
        for axes in grid[len(study.arms) :]:
            axes.set_visible(False)
        if scale:
            figure.colorbar(scale[0], ax=grid, label=scale[1], shrink=0.8)
        figure.supxlabel(labels[0], fontsize=9)
        figure.supylabel(labels[1], fontsize=9)

    return to_svg(panels, 1.2 + 2.0 * columns, 0.5 + 1.75 * rows, name, alt)


def _title(axes: Axes, label: str, look: Look) -> None:
    """The arm's name in ink, which is readable where its colour is pale, after its mark."""
    axes.set_title(label, loc="left", x=0.07, fontsize=8)
    axes.plot(0.02, 1.08, look.mark, color=look.color, ms=4.5, transform=axes.transAxes, clip_on=False)
