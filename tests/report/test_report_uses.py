"""What runs were put to, as panels of the page."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_study import Truth, cell, write_plan, write_run

from vae_lab.report import Report, build

SPREAD = {"plain": (0.9, 1.1), "sharp": (1.9, 2.3)}


def used(run: Path, value: float | None, count: int = 500) -> None:
    (run / "uses").mkdir()
    told = {"use": "reconstruct", "options": {"count": count}, "numbers": {"blur": {"mean": value}, "nll": 3.5}}
    told |= {"files": ["uses/reconstruct_rows.csv", "figures/reconstruct_means.png"]}
    (run / "uses" / "reconstruct.json").write_text(json.dumps(told))
    (run / "uses" / "reconstruct_rows.csv").write_text("a,b\n1,2\n")
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(run / "figures" / "reconstruct_means.png")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    cells = []
    for arm, values in SPREAD.items():
        for seed, value in enumerate(values):
            truth = Truth(rate=2.0)
            used(write_run(tmp_path, arm, seed, truth), value)
            cells.append(cell(arm, seed, truth))
    write_plan(tmp_path, {}, cells)
    return tmp_path


def test_the_numbers_of_a_use_stand_by_arm_with_their_means(study: Path) -> None:
    page = build(study).html
    assert 'href="#uses-heading"' in page
    for arm, values in SPREAD.items():
        assert f'data-mean="reconstruct/blur.mean" value="{float(np.mean(values))!r}"' in page, arm
    assert "count=500" in page
    assert "Not all asked alike" not in page
    assert len(re.findall('alt="[^"]*: reconstruct means"', page)) == 2


def test_they_are_metrics_like_any_other(study: Path) -> None:
    """In the chart of any metric, and in the table."""
    report = build(study)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', report.html, re.S)[1])  # type: ignore[index]
    assert {"reconstruct/blur.mean", "reconstruct/nll"} <= set(data["metrics"])
    assert data["metrics"]["reconstruct/nll"] == {"unit": "", "better": None}  # no likelihood of the evaluation
    rows = list(csv.DictReader(io.StringIO(report.csv)))
    assert [float(row["reconstruct/blur.mean"]) for row in rows] == [
        value for pair in SPREAD.values() for value in pair
    ]


def test_runs_that_were_asked_otherwise_are_told(study: Path) -> None:
    run = next(path.parent.parent for path in study.glob("*/uses/reconstruct.json"))
    told = json.loads((run / "uses" / "reconstruct.json").read_text())
    told["options"] = {"count": 9}
    (run / "uses" / "reconstruct.json").write_text(json.dumps(told))
    assert "Not all asked alike: count=" in build(study).html


def test_a_damaged_answer_is_none_and_null_is_no_number(study: Path) -> None:
    first, second, *_ = sorted(study.glob("*/uses/reconstruct.json"))
    first.write_text('{"use": "reco')
    told = json.loads(second.read_text())
    told["numbers"]["blur"]["mean"] = None
    second.write_text(json.dumps(told))
    rows = {row["signature"]: row for row in csv.DictReader(io.StringIO(build(study).csv))}
    assert rows[first.parent.parent.name]["reconstruct/blur.mean"] == ""
    assert rows[second.parent.parent.name]["reconstruct/blur.mean"] == ""
    assert build(study).html


def test_a_study_whose_runs_were_put_to_no_use_says_nothing_of_uses(tmp_path: Path) -> None:
    write_run(tmp_path, "plain", 0, Truth(rate=2.0))
    write_plan(tmp_path, {}, [cell("plain", 0, Truth(rate=2.0))])
    report: Report = build(tmp_path)
    assert "uses-heading" not in report.html


def test_a_study_of_standardised_tables_says_in_which_units_its_numbers_are(study: Path) -> None:
    assert "tables are standardised" not in build(study).html
    for file in study.glob("*/result.json"):
        result = json.loads(file.read_text())
        result["settings"]["spec"] = {"log_units": 2.5}
        file.write_text(json.dumps(result))
    assert (
        "likelihood.sigma, the sd of noise, and errors and lengths in x are in standard deviations" in build(study).html
    )


def test_a_picture_that_the_page_does_not_take_is_said_to_be_left_out(study: Path) -> None:
    assert "too large for this page" not in build(study).html
    file = next(study.glob("*/figures/reconstruct_means.png"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)).save(file)
    page = build(study).html
    assert page.count("too large for this page, or gone from the run's <code>figures/</code>") == 1
    assert len(re.findall('alt="[^"]*: reconstruct means"', page)) == 1
