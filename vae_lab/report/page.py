"""The page: everything that the report knows, put into one HTML file."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vae_lab.amounts import counted, duration, visible
from vae_lab.report import words
from vae_lab.report.beside import predictions, published
from vae_lab.report.cells import Arm, Cell, Row, Study
from vae_lab.report.convergence import FEWEST_VALIDATIONS, RISE
from vae_lab.report.embed import embed, to_script
from vae_lab.report.library import drawing_library
from vae_lab.report.notes import doubt_of, name_of
from vae_lab.report.pictures import LARGEST, PICTURES, pictures
from vae_lab.report.shown import RUNS, Shown
from vae_lab.report.statistics import BOOTSTRAP, LEVEL, Summary
from vae_lab.report.uses import panels
from vae_lab.report.verdict import Comparison, settings_compared
from vae_lab.settings import flatten

if TYPE_CHECKING:
    from vae_lab.report import Report

ITEMS = 50  # of a sentence of the verdict
HERE = Path(__file__).parent
SCRIPTS = ("charts.js", "page.js")
RUN_METRICS = ("elbo", "nll", "nll_tenth", "rate", "distortion", "active_units", "mutual_information", "ess")


@dataclass(frozen=True)
class Line:
    """An arm in the main table."""

    arm: Arm
    comparison: Comparison | None
    role: str  # reference, control or nothing
    choice: str

    @property
    def cell(self) -> Cell:
        return self.arm.chosen


def _template() -> Template:
    jinja = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "num": words.number,
        "summary": _summary,
        "interval": lambda d: words.interval(d.low, d.high),
        "unbroken": _unbroken,
        "doubt": _doubt,
        "strength": words.strength,
        "duration": duration,
        "name": name_of,
    }
    return jinja.get_template("page.html.j2")


def render(report: "Report") -> str:
    """The whole page as text; the same bytes for the same runs."""
    shown = Shown(report.study, report.comparisons)
    return _template().render(**_parts(), **_said(report, shown), **_drawn(report, shown))


def _parts() -> dict[str, Any]:
    """What is the same on every page."""
    scripts = [drawing_library(), *((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)]
    return {
        "style": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "scripts": [Markup(script) for script in scripts],
        "hashes": [_hash(script) for script in scripts],
        "headings": PICTURES,
        "largest": LARGEST // 1000,
        "run_metrics": RUN_METRICS,
        "counted": counted,
        "constants": {
            "level": LEVEL,
            "rise": RISE,
            "fewest": FEWEST_VALIDATIONS,
            "bootstrap": BOOTSTRAP,
            "most": ITEMS,
        },
    }


def _said(report: "Report", shown: Shown) -> dict[str, Any]:
    """What the page says in words and tables."""
    study = report.study
    return {
        "study": study,
        "live": report.live,
        "shown": shown,
        "verdict": report.verdict,
        "notes": [*report.notes, *shown.left_out],
        "lines": list(_lines(shown, report.comparisons)),
        "claims": len(settings_compared(study)) if report.comparisons else 0,
        "any_elbo": any(c.measure == "ELBO" for c in report.comparisons),
        "pictures": pictures(shown.arms),
        "panels": panels(shown.arms),
        "predictions": predictions(study),
        "published": published(study),
        "made": _made(study),
        "where": lambda row: _relative(study, row),
    }


def _drawn(report: "Report", shown: Shown) -> dict[str, Any]:
    """What the charts draw, and which parts of the page there are."""
    data = embed(shown, report.live)
    missing = [row for row in report.study.missing if not (report.live and row.status in ("new", "running"))]
    charted = bool(data["runs"]["cell"] or report.live)
    return {
        "data": Markup(to_script(data)),
        "cells_shown": _Identical(shown.cells),
        "charted": charted,
        "front": [shown.cells[i].label for i in data["front"]],
        "axes": len(data["search"]["axes"]),
        "lines_drawn": len(data["search"]["runs"]),
        "missing": missing[:RUNS],
        "skipped": _skipped(charted, report.live is not None, data, missing)
        | (set() if any(row.used for row in shown.rows) else {"uses-heading"}),
    }


class _Identical:
    """Membership of a list of cells by identity: to compare them by value would compare their runs."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._known = {id(cell) for cell in cells}

    def __contains__(self, cell: Cell) -> bool:
        return id(cell) in self._known


def _skipped(charted: bool, is_live: bool, data: dict[str, Any], missing: list[Row]) -> set[str]:
    """The targets of the list of contents that this page does not have."""
    views = {"metric-view", "plane-view", "front-view", "latents-view", "curves-view", "pair-view", "search-view"}
    skipped = set() if charted else views
    skipped |= {"pair-view"} if is_live else set()
    skipped |= set() if data["search"]["axes"] else {"search-view"}
    return skipped | (set() if missing else {"failures-heading"})


def _hash(script: str) -> str:
    """By which the page's own policy knows its scripts, and lets no other run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _unbroken(text: str) -> str:
    """Keeps what stands in brackets on one line."""
    return re.sub(r"\[[^\]]*\]|\(n=\d+\)", lambda found: found[0].replace(" ", "\u00a0").replace("-", "\u2212"), text)


def _summary(cell: Cell, metric: str, digits: int = 2) -> Markup:
    """Mean and interval of a metric, with the exact mean for a script that reads the page."""
    found: Summary = cell.summary(metric)
    if found.mean is None:
        return Markup('<span class="none">n/a</span>')
    ends = words.interval(found.interval.low, found.interval.high, digits) if found.interval else ""
    exact = Markup('<data data-mean="{}" value="{}">{}</data><small>{}</small>')
    return exact.format(metric, repr(found.mean), words.number(found.mean, digits), ends)


def _doubt(cell: Cell) -> str:
    """Says why the mutual information of a cell's runs cannot be trusted, if it cannot."""
    doubts = {doubt for row in cell.completed if (doubt := doubt_of(row))}
    return f"not to be trusted: {' / '.join(sorted(doubts))}" if doubts else ""


def _lines(shown: Shown, comparisons: list[Comparison]) -> Iterator[Line]:
    study = shown.study
    compared = {c.arm.name: c for c in comparisons}
    controls = {arm.name for arm in study.controls}
    for arm in shown.arms:
        role = "reference" if arm is study.reference and study.is_planned else "control" if arm.name in controls else ""
        yield Line(arm, compared.get(arm.name), role, arm.choice(study.select))


def _relative(study: Study, row: Row) -> str:
    path = row.run.path / "run.log"
    return str(path.relative_to(study.path)) + ("" if path.exists() else " (not written)")


def _made(study: Study) -> dict[str, Any]:
    """How it was made: command, budget, versions, time taken. No date, so that the page is the same twice."""
    done = [row for row in study.runs if row.is_completed]
    seen: dict[str, list[str]] = {}
    for row in done:
        for name, value in flatten(row.result.get("environment") or {}).items():
            if str(value) not in seen.setdefault(name, []):
                seen[name].append(str(value))
    return {
        "command": study.command,
        "budget": words.strength(study.facts.get("budget") or {}),
        "runs": len(done),
        "seconds": {name: _total(done, f"seconds_{name}") for name in ("fit", "evaluate")},
        "steps": sorted({int(steps) for row in done if (steps := row.nested("timing", "steps"))}),
        "environment": seen,
        "examples": sorted({int(n) for row in done if (n := row.nested("details", "test", "examples"))}),
        "question": _question(study),
    }


def _total(rows: list[Row], name: str) -> float:
    return sum(value for row in rows if isinstance(value := row.nested("timing", name), (int, float)))


def _question(study: Study) -> str:
    return re.sub(r"\s+", " ", str(study.facts.get("question") or "")).strip()
