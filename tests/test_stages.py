"""What takes long says what it is: the lines of a training off a terminal, by a clock of the test's own, and stages."""

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_runs import TINY, Lab

from vae_lab import compose, train
from vae_lab.stages import Stages
from vae_lab.training.module import Training
from vae_lab.training.progress import Progress


def module(updates: int, total: int = 1000) -> Any:
    made = Training.__new__(Training)
    made.__dict__.update(updates=updates, total_updates=total, _loss=1.5)
    return made


def test_lines_come_ever_rarer_and_say_how_far_and_how_long() -> None:
    """An update a second from update 100 on: 900 s in all, said after 10 s, 30 s, 70 s, ..., so ten times as long is three
    lines more."""
    said: list[str] = []
    clock = SimpleNamespace(now=0.0)
    progress = Progress(said.append, "seed=0", now=lambda: clock.now)
    progress.on_train_start(SimpleNamespace(max_epochs=-1, max_steps=100), module(100))  # type: ignore[arg-type]
    at = []
    for updates in range(101, 1001):
        clock.now += 1.0
        before = len(said)
        progress.on_train_batch_end(None, module(updates))  # type: ignore[arg-type]
        at += [updates - 100] * (len(said) - before)
    assert at == [10, 30, 70, 150, 310, 630]
    assert said[0] == "seed=0: trains 1000 updates, from update 100 on"
    assert said[1] == "seed=0: update 110 of 1000 (11%), loss 1.50, 14.8 min left"
    assert said[-1] == "seed=0: update 730 of 1000 (73%), loss 1.50, 4.5 min left"


def test_a_stage_is_said_once_it_takes_long_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_lab.stages.PATIENCE", 0.1)
    said: list[str] = []
    with Stages(said.append, "seed=0") as stage:
        stage("loading the data")
        stage("evaluating test")
        time.sleep(0.4)
        stage("drawing pictures")
    time.sleep(0.3)
    assert said == ["seed=0: evaluating test ..."]


def test_a_run_off_a_terminal_begins_with_a_line_and_logs_its_stages(in_tmp: Path, lab: Lab) -> None:
    first = lab("train", *TINY).out.splitlines()
    assert first[0].endswith(" seed=0: trains 12 updates")
    assert len(first) == 3  # the start, the figures, the directory
    log = Path(first[-1], "run.log").read_text()
    stages = re.findall(r"vae_lab\.(?:stages|training\.progress): (.*)", log)
    assert stages[:2] == ["loading the data", "trains 12 updates"]
    assert [line for line in stages if line.startswith("evaluating")][:2] == [
        "evaluating val: K = 4",
        "evaluating test: K = 4",
    ]
    again = lab("train", *TINY).out.splitlines()
    assert again[0] == first[1] + "  (was there already: nothing is trained again; rerun=true does)"
    assert again[1:] == first[2:]
    assert "trains" not in lab("train", *TINY, "seed=1", "trainer.enable_progress_bar=false").out


@pytest.mark.parametrize("limit", ["trainer.max_steps=12", "trainer.max_epochs=3"])
def test_a_bar_on_a_terminal_ends_with_the_run(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    totals: list[tuple[float | None, float]] = []
    teardown = Progress.teardown

    def noted(self: Progress, *args: Any, **kwargs: Any) -> None:
        teardown(self, *args, **kwargs)
        totals.extend((task.total, task.completed) for task in self._bar.tasks)

    monkeypatch.setattr(Progress, "teardown", noted)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    words = [word for word in TINY if not word.startswith("trainer.max_steps")]
    train(compose(*words, limit, f"runs_dir={tmp_path}"), progress=True)
    assert totals == [(12, 12)]


def test_of_two_limits_the_start_names_epochs_only_where_they_end_the_run(lab: Lab, in_tmp: Path) -> None:
    both = [*TINY, "trainer.max_epochs=600"]  # and max_steps=12
    assert "trains 12 updates\n" in lab("train", *both).out
