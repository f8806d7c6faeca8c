"""What every use leaves in the run's directory: one answer, whole, or what was there before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_kinds import Make
from small_runs import Lab, Said

from vae_lab.data import DataError, Dataset
from vae_lab.uses.anomaly import Score
from vae_lab.uses.use import Answer

FEW = ["samples=2", "scores=[elbo]", "by=elbo", "count=20", "resamples=5", "false_alarms=0.3"]


def files(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_what_an_earlier_answer_had_and_the_new_one_has_not_is_removed(made: Make, lab: Lab) -> None:
    run = made("grey")
    np.save("new.npy", np.zeros((4, 9, 7), np.uint8))
    beside = ["uses/score_data_of_mine.csv", "figures/score_more_own.png", "uses/score_more.json", "figures/own.png"]
    assert lab("score", run, "against=constant", "data=new.npy", *FEW).code == 0
    for name in beside:
        (run / name).write_text("{}")
    first = set(files(run))
    assert {"uses/score_data.csv", "figures/score_data.png", "figures/score_others.png"} < first
    assert lab("score", run, "data=new.npy", *FEW).code == 0
    second = set(files(run))
    assert first - second == {"figures/score_others.png", "figures/score_roc.png"}
    assert lab("score", run, "against=constant", *FEW).code == 0
    third = set(files(run))
    assert second - third == {"uses/score_data.csv", "figures/score_data.png"}
    told = json.loads((run / "uses" / "score.json").read_text())["files"]
    assert {f"figures/score_{name}.png" for name in ("normal", "others", "histograms", "roc")} == set(told)
    assert set(beside) < third


@pytest.mark.parametrize(
    "content", ['{"files": ["../result.json", "result.json", "uses/map.json", 3]}', '{"files": 3}', "[", "{}"]
)
def test_nothing_else_is_removed_whatever_the_json_says(content: str, made: Make, lab: Lab) -> None:
    run = made("vectors")
    (run / "uses").mkdir()
    (run / "uses" / "map.json").write_text("{}")
    (run / "uses" / "reconstruct.json").write_text(content)
    before = set(files(run))
    assert lab("reconstruct", run).code == 0
    assert set(files(run)) == before


def test_a_picture_that_cannot_be_drawn_costs_a_line_and_no_number(
    made: Make, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("grey")
    shown, undrawable = {"a": torch.zeros(1, 1, 2, 2), "b": torch.zeros(3)}, {"c": {"mark": "none such"}}
    monkeypatch.setattr(Score, "__call__", lambda *_: Answer({"n": 7.0}, shown, charts=undrawable, tables={"d": [[1]]}))
    said = lab("score", run)
    assert said.code == 0
    start = "warning: score: picture {} left out, since drawing failed ("
    assert [line[: len(start) - 1] for line in said.err.splitlines()] == [start.format(key) for key in "bc"]
    told = json.loads((run / "uses" / "score.json").read_text())
    assert told["numbers"] == {"n": 7.0}
    assert told["files"] == ["uses/score_d.csv", "figures/score_a.png"]
    assert said.out.splitlines()[-3:] == [str(run / file) for file in ("uses/score.json", *told["files"])]


def test_a_call_that_fails_leaves_everything_as_it_was(made: Make, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made("grey")
    np.save("new.npy", np.zeros((4, 9, 7), np.uint8))
    assert lab("score", run, "data=new.npy", *FEW).code == 0
    before = files(run)

    def unreadable(self: Score, run: Any, dataset: Dataset) -> Answer:
        raise DataError("x.npy: what was there is gone")

    monkeypatch.setattr(Score, "__call__", unreadable)
    assert lab("score", run) == Said(2, "", "vae-lab: score: x.npy: what was there is gone\n")
    Path("x.npy").unlink()
    for name in ("score", "map", "probe"):
        said = lab(name, run)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert "x.npy is missing" in said.err
    assert files(run) == before
