"""The figures of a report: what each one shows, drawn from the runs of the chosen cells."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vae_lab.report.cells import Arm, Row, Study
from vae_lab.report.drawing import looks, small_multiples, to_svg

ACTIVE = 0.01  # the variance of a posterior mean above which a unit counts as active (Burda et al. 2016)
POINTS = 160  # a curve keeps at most this many


def rate_distortion(study: Study) -> str:
    """Distortion over rate (nats, test), a point a seed and a larger one for the mean, with the lines of equal ELBO."""
    alt = "Distortion over rate on test, a point for each seed, with diagonal lines of equal ELBO"
    return to_svg(lambda figure: _draw_plane(study, figure.subplots()), 9, 4.6, "plane", alt)


def _draw_plane(study: Study, axes: Axes) -> None:
    for arm in study.arms:
        look = looks(study)[arm.name]
        rate, distortion = arm.chosen.values("test/rate"), arm.chosen.values("test/distortion")
        points = np.array([(rate[key], distortion[key]) for key in rate if key in distortion])
        if len(points):
            color, mark = look.color, look.mark
            axes.scatter(points[:, 0], points[:, 1], s=16, color=color, marker=mark, alpha=0.55, linewidths=0)
            mean = points.mean(0)
            axes.scatter(
                mean[:1], mean[1:], s=80, color=color, marker=mark, edgecolors="white", linewidths=0.8, label=arm.label
            )
    axes.set(xlabel="rate, nats per example", ylabel="distortion, nats per example")
    axes.margins(0.12)
    _iso_elbo(axes)
    axes.plot([], [], color="#CFCFCF", lw=0.7, label="equal ELBO, as labelled")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)


def _iso_elbo(axes: Axes) -> None:
    """Grey diagonals R + D = -ELBO, labelled in the margin where they leave the picture."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    levels = MaxNLocator(20, steps=[1, 2, 5, 10]).tick_values(left + bottom, right + top)
    for level in levels:
        axes.plot((left, right), (level - left, level - right), color="#CFCFCF", lw=0.7, zorder=0)
        y = max(level - right, bottom)
        if left + 0.05 * (right - left) < level - y and y < top - 0.05 * (top - bottom):
            _label(axes, f"{-level:g}", (level - y, y), "bottom" if y == bottom else "top")
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _label(axes: Axes, text: str, point: tuple[float, float], side: Literal["bottom", "top"]) -> None:
    offset = (-3.0, 2.0 if side == "bottom" else -2.0)
    axes.annotate(text, point, offset, textcoords="offset points", ha="right", va=side, color="#767676", fontsize=7)


def log_variances(study: Study) -> str:
    """The variances of the posterior means over test, sorted, on a log scale, an arm a picture and a line a seed."""
    reference = _sorted_variances(study.reference.chosen.completed) if study.remedies else []
    unit = FuncFormatter(lambda value, _: f"{value:g}")

    def draw(axes: Axes, arm: Arm) -> None:
        axes.axhline(ACTIVE, color="#767676", lw=0.8, ls=(0, (4, 3)))
        for line in () if arm is study.reference else reference:
            axes.plot(range(1, len(line) + 1), line, color="#C4C4C4", lw=0.8)
        for line in _sorted_variances(arm.chosen.completed):
            axes.plot(range(1, len(line) + 1), line, color=looks(study)[arm.name].color, lw=1.1, marker=".", ms=3)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(unit)
        axes.yaxis.set_minor_formatter(lambda *_: "")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))

    alt = "Variances of the posterior means, sorted, on a log scale with a line at 0.01, one picture for each arm"
    return small_multiples(study, draw, "variances", alt, ("latent, by falling variance", "variance of the mean"))


def _sorted_variances(rows: Sequence[Row]) -> list[list[float]]:
    found = (row.detail("test", "variances") for row in rows)
    return [sorted((max(value, 1e-12) for value in line), reverse=True) for line in found if line]


def rate_over_training(study: Study) -> str | None:
    """Rate per dimension over training, a heat map an arm (its first run), dimensions sorted by their last rate."""
    maps = {arm.name: _rate_map(arm) for arm in study.arms}
    known = [grid for _, grid in filter(None, maps.values())]
    if not known:
        return None
    norm = PowerNorm(0.5, 0, max(max(float(grid.max()) for grid in known), 1e-6))
    scale = ScalarMappable(norm, "cividis")

    def draw(axes: Axes, arm: Arm) -> None:
        found = maps[arm.name]
        if found is None:
            axes.text(0.5, 0.5, "no history", transform=axes.transAxes, ha="center", color="#767676")
            return
        steps, grid = found
        extent = (float(steps[0]), float(steps[-1]), len(grid) + 0.5, 0.5)
        axes.imshow(grid, aspect="auto", extent=extent, norm=norm, cmap="cividis", interpolation="nearest")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(3))

    alt = "Heat maps of the rate of each latent dimension over training, one for each arm"
    return small_multiples(study, draw, "rates", alt, ("update", "latent, by last rate"), (scale, "rate, nats"))


def _rate_map(arm: Arm) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps (POINTS,) and rates (dimensions, POINTS) of the arm's first run that logged them."""
    for row in arm.chosen.completed:
        names = [name for name in row.series if name.startswith("val/rate_per_dimension/")]
        if names:
            ends = [row.series[name][0] for name in names]
            steps = np.linspace(min(e[0] for e in ends), max(max(e[-1] for e in ends), ends[0][0] + 1), POINTS)
            grid = np.array([np.interp(steps, *row.series[name]) for name in names])
            return steps, grid[np.argsort(-grid[:, -1], kind="stable")]
    return None


def training_curves(study: Study) -> str | None:
    """`val/elbo` and `val/rate` over training: the mean over seeds, with a band from the lowest seed to the highest."""
    names = ("val/elbo", "val/rate")
    curves = {name: {arm.name: _curve(arm, name) for arm in study.arms} for name in names}
    if not any(curve for by_arm in curves.values() for curve in by_arm.values()):
        return None

    def draw(figure: Figure) -> None:
        for axes, name in zip(figure.subplots(1, 2), names, strict=True):
            drawn = [_draw_band(axes, study, arm, curves[name][arm.name]) for arm in study.arms]
            axes.set(xlabel="update", title=f"{name}, nats per example")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if name == "val/elbo":
                _clip_start(axes, [line for line in drawn if line is not None])
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)

    alt = "Validation ELBO and rate over training, mean over seeds with the range of the seeds, one colour for each arm"
    return to_svg(draw, 9, 4.2, "curves", alt)


def _curve(arm: Arm, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps (n,) and values (seeds, n), over the steps that every seed has reached."""
    found = [row.series[name] for row in arm.chosen.completed if name in row.series]
    if not found:
        return None
    end = min(steps[-1] for steps, _ in found)
    steps = np.unique(np.concatenate([[s for s in steps if s <= end] for steps, _ in found]))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(int))]
    return steps, np.array([np.interp(steps, *line) for line in found])


def _draw_band(axes: Axes, study: Study, arm: Arm, curve: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray | None:
    if curve is None:
        return None
    look, (steps, values) = looks(study)[arm.name], curve
    axes.plot(steps, values.mean(0), color=look.color, ls=look.line, lw=1.3, label=arm.label)
    axes.fill_between(steps, values.min(0), values.max(0), color=look.color, alpha=0.18, lw=0)
    return values


def _clip_start(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """Leaves out the first steep rise, which would press the rest flat: the view starts at the worst value after the
    first fifth of training."""
    if values:
        low = min(float(line[:, line.shape[1] // 5 :].min()) for line in values)
        high = max(float(line.max()) for line in values)
        margin = 0.06 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
