"""The page: everything that the report knows, put into one HTML file."""

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vae_lab.report import figures, words
from vae_lab.report.cells import Arm, Cell, Row, Study
from vae_lab.report.drawing import looks
from vae_lab.report.notes import environment, name_of
from vae_lab.report.statistics import FEWEST_VALIDATIONS, LEVEL, RISE, Summary
from vae_lab.report.verdict import Comparison, count_claims, predictions, published

if TYPE_CHECKING:
    from vae_lab.report import Report

PICTURES = {
    "originals": "originals",
    "reconstructions": "reconstructions",
    "shuffled": "from another example's z",
    "samples": "samples",
}
LARGEST_PICTURE = 70_000  # bytes, so that seven arms with four pictures stay under 3 MB
RUN_METRICS = ("elbo", "nll", "nll_tenth", "rate", "distortion", "active_units", "mutual_information", "ess")


@dataclass(frozen=True)
class Line:
    """An arm in the main table."""

    arm: Arm
    color: str
    comparison: Comparison | None
    role: str  # reference, control or nothing
    choice: str

    @property
    def cell(self) -> Cell:
        return self.arm.chosen


def _template() -> Template:
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "num": words.number,
        "summary": _summary,
        "interval": lambda d: words.interval(d.low, d.high),
        "unbroken": _unbroken,
        "cap": _cap,
        "strength": words.strength,
        "duration": words.duration,
        "name": name_of,
    }
    return jinja.get_template("page.html.j2")


def render(report: "Report") -> str:
    """The whole page as text; the same bytes for the same runs."""
    study = report.study
    return _template().render(
        study=study,
        verdict=report.verdict,
        notes=report.notes,
        lines=list(_lines(study, report.comparisons)),
        claims=count_claims(study) if report.comparisons else 0,
        any_elbo=any(c.measure == "ELBO" for c in report.comparisons),
        figures=_figures(study),
        pictures=[(arm, looks(study)[arm.name].color, _pictures(arm)) for arm in study.arms],
        headings=PICTURES,
        largest=LARGEST_PICTURE // 1000,
        predictions=predictions(study),
        published=published(study),
        run_metrics=RUN_METRICS,
        made=_made(study),
        several=words.several,
        where=lambda row: _relative(study, row),
        constants={"level": LEVEL, "rise": RISE, "fewest": FEWEST_VALIDATIONS},
    )


def _unbroken(text: str) -> str:
    """Keeps what stands in brackets on one line."""
    return re.sub(r"\[[^\]]*\]|\(n=\d+\)", lambda found: found[0].replace(" ", "\u00a0").replace("-", "\u2212"), text)


def _summary(cell: Cell, metric: str, digits: int = 2) -> Markup:
    """Mean and spread of a metric, with the exact mean for a script that reads the page."""
    found: Summary = cell.summary(metric)
    if found.mean is None:
        return Markup('<span class="none">n/a</span>')
    spread = "" if found.sd is None else f"± {words.number(found.sd, digits)}"
    exact = Markup('<data value="{}">{}</data><small>{}</small>')
    return exact.format(repr(found.mean), words.number(found.mean, digits), spread)


def _cap(cell: Cell) -> str:
    """Says where the plug-in bound on mutual information has run into the logarithm of the number of examples."""
    low = cell.summary("test/mutual_information").mean
    examples = next((n for row in cell.completed if (n := row.nested("details", "test", "examples"))), None)
    at_cap = low is not None and examples and low > math.log(examples) - 0.05
    return f"lower end at its cap, ln {examples}" if at_cap else ""


def _lines(study: Study, comparisons: list[Comparison]) -> Iterator[Line]:
    compared = {c.arm.name: c for c in comparisons}
    controls = {arm.name for arm in study.controls}
    for arm in study.arms:
        role = "reference" if arm is study.reference and study.is_planned else "control" if arm.name in controls else ""
        yield Line(arm, looks(study)[arm.name].color, compared.get(arm.name), role, arm.choice(study.select))


def _figures(study: Study) -> dict[str, Markup]:
    """Name to SVG; matplotlib has escaped what is text in it."""
    measured = any(arm.chosen.completed for arm in study.arms)
    drawn = {
        "plane": figures.rate_distortion(study) if measured else None,
        "variances": figures.log_variances(study) if measured else None,
        "rates": figures.rate_over_training(study),
        "curves": figures.training_curves(study),
    }
    return {name: Markup(svg) for name, svg in drawn.items() if svg}


def _pictures(arm: Arm) -> tuple[Row | None, dict[str, str]]:
    """The arm's first completed run and its pictures as data addresses, those that it has."""
    row = next(iter(arm.chosen.completed), None)
    found = {name: _data_url(row.run.path / "figures" / f"{name}.png") for name in PICTURES} if row else {}
    return row, {name: url for name, url in found.items() if url}


def _data_url(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > LARGEST_PICTURE:
        return None
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _relative(study: Study, row: Row) -> str:
    path = row.run.path / "run.log"
    return str(path.relative_to(study.path)) + ("" if path.exists() else " (not written)")


def _made(study: Study) -> dict[str, Any]:
    """How it was made: command, budget, versions, time taken. No date, so that the page is the same twice."""
    done = [row for row in study.runs if row.is_completed]
    seen: dict[str, list[str]] = {}
    for row in done:
        for name, value in environment(row).items():
            if value not in seen.setdefault(name, []):
                seen[name].append(value)
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
