"""Figures that were predicted or published, beside what a study measured."""

from typing import Any

from vae_lab.report.cells import Cell, Study
from vae_lab.report.statistics import Summary


def predictions(study: Study) -> list[dict[str, Any]]:
    """The closed-form predictions of the study beside what was measured."""
    return [found for row in study.facts.get("predicted") or [] for found in _beside(study, row)]


def published(study: Study) -> list[dict[str, Any]]:
    """The published figures of the study beside what was measured."""
    return [found for row in study.facts.get("published") or [] for found in _beside(study, row)]


def _beside(study: Study, row: Any) -> list[dict[str, Any]]:
    if not isinstance(row, dict):
        return []
    cell = _cell_of(study, row)
    measured = cell.summary(str(row.get("metric"))) if cell else Summary(None, None, 0)
    value = row.get("value")
    difference = measured.mean - value if measured.mean is not None and isinstance(value, (int, float)) else None
    label = cell.label if cell else str(row.get("cell") or row.get("arm") or "")
    return [{**row, "label": label, "measured": measured, "difference": difference}]


def _cell_of(study: Study, row: dict[str, Any]) -> Cell | None:
    if row.get("cell"):
        return next((cell for arm in study.arms for cell in arm.cells if cell.name == row["cell"]), None)
    return next((arm.chosen for arm in study.arms if arm.name == row.get("arm")), None)
