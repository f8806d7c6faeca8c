"""Files of runs and studies that cannot be what the lab wrote: each is reported in a line, and none counts or stops the rest."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY, Lab
from synthetic_study import Truth, change, write_picture, write_study

from vae_lab import index, report
from vae_lab.report.reading import NoReport
from vae_lab.store import RunDirectory

ODD_RESULTS: list[tuple[tuple[str, ...], Any, str]] = [
    (("metrics", "test/elbo"), 10**400, "a whole number of 401 digits"),
    (("metrics", "test/elbo"), True, "metrics.test/elbo: True given; must be a number or null"),
    (
        ("details", "test", "examples"),
        -1,
        "details.test.examples: -1 given; must be a whole number, at least 0 or null",
    ),
    (("details", "test", "variances"), [[1]], "details.test.variances.0: [1] given; must be a number or null"),
    (("environment",), [], "environment: [] given; must be keys with values or null"),
    (("timing", "seconds_fit"), "long", "timing.seconds_fit: 'long' given; must be a number or null"),
    (("evaluation",), [], "evaluation: [] given; must be keys with values"),
    (("status",), "fine", "status: 'fine' given; must be completed or failed"),
    (("settings",), None, "settings: None given; must be keys with values"),
]
ODD_PLANS: list[tuple[tuple[Any, ...], Any, str]] = [
    (("study", "budget"), 7, "study.budget: 7 given; must be keys with values or null"),
    (("study", "published"), [{"arm": "good", "value": 1}], "study.published.0: it has no metric"),
    (("study", "predicted"), [3], "study.predicted.0: 3 given; must be keys with values"),
    (("study", "controls"), "good", "study.controls: 'good' given; must be a list or null"),
    (("cells",), {}, "cells: {} given; must be a list"),
    (("cells", 0, "signature"), "../../elsewhere", "cells.0.signature: '../../elsewhere' given; must be the name of a folder"),
    (("cells", 0, "signature"), "/etc", "cells.0.signature: '/etc' given; must be the name of a folder"),
    (("cells", 0, "strength"), [1], "cells.0.strength: [1] given; must be keys with values or null"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", {"vanilla": [Truth(1.7)], "good": [Truth(6.0)]}, seeds=2)


@pytest.mark.parametrize(("place", "value", "line"), ODD_RESULTS)
def test_an_odd_result_is_a_damaged_run_and_the_others_count(
    place: tuple[str, ...], value: Any, line: str, folder: Path
) -> None:
    change(folder / "goods1" / "result.json", place, value)
    made = report.build(folder)
    assert "damaged" in made.html
    told = {row.signature: row.error for row in made.study.rows if row.status == "damaged"}
    assert told == {"goods1": f"goods1/result.json is damaged: {line}"}
    assert made.csv.count("completed") == 3
    assert {row["signature"]: row["state"] for row in index.rows(folder)}["goods1"] == "damaged"


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_figures_that_overflow_cost_no_page(folder: Path) -> None:
    change(folder / "goods1" / "result.json", ("metrics", "test/rate"), 1e200)
    assert "1e+200" in report.build(folder).csv
    assert "Infinity" not in report.build(folder).html


@pytest.mark.parametrize(("place", "value", "line"), ODD_PLANS)
def test_an_odd_plan_costs_one_line(place: tuple[Any, ...], value: Any, line: str, folder: Path) -> None:
    change(folder / "plan.json", place, value)
    with pytest.raises(NoReport) as refusal:
        report.build(folder)
    assert str(refusal.value) == f"{folder}/plan.json is damaged: {line} (the study's command writes it again)"


def test_a_result_copied_from_another_run_is_reported_and_not_counted(folder: Path) -> None:
    shutil.copy(folder / "vanillas0" / "result.json", folder / "goods0" / "result.json")
    made = report.build(folder)
    (row,) = made.study.missing
    assert (row.signature, row.status) == ("goods0", "damaged")
    assert row.error == "goods0/result.json is another run's (vanillas0): it was copied here"
    assert len(made.study.arms[1].chosen.completed) == 1


def test_no_command_takes_it_for_this_run_s(lab: Lab, in_tmp: Path) -> None:
    runs = [Path(lab("train", *TINY, f"seed={seed}").out.split()[-1]) for seed in (0, 1)]
    copied = (runs[0] / "result.json").read_bytes()
    (runs[1] / "result.json").write_bytes(copied)
    assert {Path(row["path"]): row["state"] for row in index.rows(Path("runs"))} == {
        runs[0]: "completed",
        runs[1]: "damaged",
    }
    said = lab("train", *TINY, "seed=1")
    line = f"{runs[1]}/result.json is another run's ({runs[0].name}): it was copied here"
    assert said[:] == (2, "", f"vae-lab: {line}; move it away, or rerun=true makes this run's own in its place\n")
    assert (runs[1] / "result.json").read_bytes() == copied
    assert lab("train", *TINY, "seed=1", "rerun=true").code == 0
    assert RunDirectory(runs[1]).state() == "completed"
    renamed = runs[0].rename(in_tmp / "the best")  # by a person, who may
    assert RunDirectory(renamed).state() == "completed"


LINKS = ["result.json", "metrics.csv", "uses", "uses/probe.json", "figures", "figures/originals.png"]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_a_run_is_not_followed(name: str, folder: Path, tmp_path: Path) -> None:
    """The same name in a run elsewhere, whose pictures, figures and curves would be in the page if it were."""
    run, other = folder / "goods0", tmp_path / "elsewhere" / "goods0"
    shutil.copytree(run, other)
    (other / "uses").mkdir()
    (other / "uses" / "probe.json").write_text('{"numbers": {"secret": 0.12345}}')
    (other / "metrics.csv").write_text("1,0,val/secret,2.0\n2,0,val/secret,3.0\n")
    write_picture(other / "figures" / "originals.png", seed=99)
    change(other / "result.json", ("metrics", "test/secret"), 0.12345)
    place = run / name
    place.parent.mkdir(exist_ok=True)
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(other / name)
    made = report.build(folder)
    assert "secret" not in made.html + made.csv
    assert "elsewhere" not in made.html
    secret = report.pictures.address((other / "figures" / "originals.png").read_bytes())  # type: ignore[attr-defined]
    assert secret not in made.html
    statuses = {row.signature: row.status for row in made.study.rows}
    assert statuses["goods0"] == ("damaged" if name == "result.json" else "completed")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path) -> None:
    (folder / "goods0" / "result.json").unlink()
    os.mkfifo(folder / "goods0" / "result.json")
    assert report.build(folder).study.missing[0].error == "goods0/result.json is no file"
