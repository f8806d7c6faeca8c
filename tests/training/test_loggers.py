"""What a tracker has of a run is what `metrics.csv` has. W&B is the real client, offline; its files are read back with its
own reader."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY

from vae_lab import compose, train
from vae_lab.cli import main
from vae_lab.errors import RunFailed
from vae_lab.store import RunDirectory, find_runs

Series = dict[str, list[tuple[int, float]]]
TRACKERS = ("wandb", "tensorboard")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(wandb|tensorboard|google)")


@pytest.fixture(autouse=True)
def _own_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """None of a person's own settings, and a log-in that would be noticed."""
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_GROUP", "WANDB_DIR", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        assert wandb.run is None, "a run of W&B was left open"


def history(path: Path) -> Series:
    """The series of `metrics.csv`."""
    found: Series = {}
    for step, _, name, value in RunDirectory(path).history():
        found.setdefault(name, []).append((step, value))
    return found


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in the `.wandb` file of a run directory."""
    (file,) = path.glob("wandb/offline-run-*/*.wandb")
    return [record[kind] for record in inspected(file) if record["type"] == kind]


@functools.cache
def inspected(file: Path) -> list[dict[str, Any]]:
    """A file as W&B's own reader has it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def wandb_series(path: Path) -> Series:
    found: Series = {}
    for record in records(path, "history"):
        for name, value in record["item"].items():
            if name.startswith(("train/", "val/", "test/")):
                found.setdefault(name, []).append((record["item"]["trainer/global_step"], value))
    return found


def run(folder: Path, *words: str) -> tuple[Path, list[str]]:
    """Trains; the run's directory, and the lines it said."""
    said: list[str] = []
    result = train(compose(*TINY, f"runs_dir={folder}", *words), progress=False, say=said.append)
    return folder / result["study"] / result["signature"], said


def test_wandb_has_every_series_and_the_config(tmp_path: Path) -> None:
    path, said = run(tmp_path, "logger=wandb", "trainer.max_steps=20", "study.name=mine", "study.arm=plain", "seed=7")
    expected, got = history(path), wandb_series(path)
    result = RunDirectory(path).result()
    assert result is not None
    expected |= {name: [(20, value)] for name, value in result["metrics"].items() if name.startswith("test/")}
    assert set(got) == set(expected)
    assert {"train/loss", "train/skipped_updates", "val/elbo", "val/rate_per_dimension/1"} <= set(got)
    for name in expected:
        assert [step for step, _ in got[name]] == [step for step, _ in expected[name]], name
        assert [value for _, value in got[name]] == pytest.approx([value for _, value in expected[name]]), name
    (about,) = records(path, "run")
    config = about["config"]["update"]
    assert config["encoder"]["_target_"] == "vae_lab.models.encoders.LinearEncoder"
    assert config["optimizer"]["betas"] == [0.9, 0.999]
    assert (config["seed"], config["latent_dim"]) == (7, 2)
    assert (about["project"], about["run_group"], about["display_name"]) == ("vae_lab", "mine", "plain seed=7")
    (line,) = said
    folder = Path(line.removeprefix("wandb sync "))
    assert line.startswith("wandb sync ")
    assert list(folder.glob("*.wandb"))


def exit_code(path: Path) -> int:
    (end,) = records(path, "exit")
    return end["exit_code"]


def test_wandbs_own_variables_are_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_RUN_GROUP", "sweep 3")
    path, _ = run(tmp_path, "logger=wandb")
    (about,) = records(path, "run")
    assert (about["project"], about["entity"], about["run_group"]) == ("theirs", "team", "sweep 3")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    path, said = run(tmp_path, "logger=wandb", "seed=1")
    assert not list(path.glob("wandb/offline-run-*"))
    assert said == []


def test_every_job_of_a_multirun_has_a_run_of_its_own(
    in_tmp: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fails, and says so to W&B; the second has its own series and ends well."""
    words = [word for word in TINY if not word.startswith("trainer.max_steps")]
    with pytest.raises(SystemExit) as end:
        main(["train", "-m", *words, "logger=wandb", "optimizer.lr=1e38,0.001", "trainer.max_steps=20"])
    assert end.value.code == 1
    said = capfd.readouterr()
    assert said.out.count("wandb sync ") == 2
    bad, good = sorted((run.path for run in find_runs(in_tmp / "runs")), key=exit_code, reverse=True)
    assert (exit_code(bad), exit_code(good)) == (1, 0)
    assert wandb_series(good)["val/elbo"] == history(good)["val/elbo"]
    assert records(bad, "run")[0]["run_id"] != records(good, "run")[0]["run_id"]
    assert records(bad, "run")[0]["config"]["update"]["optimizer"]["lr"] == 1e38


def test_a_run_that_could_not_start_its_trainer_leaves_no_tracker_open(tmp_path: Path) -> None:
    with pytest.raises(RunFailed):
        run(tmp_path, "logger=wandb", "+trainer.limit_val_batches=5.5")


def test_tensorboard_has_every_series(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, said = run(tmp_path, "logger=tensorboard", "trainer.max_steps=20")
    assert said == []
    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    expected = history(path)
    result = RunDirectory(path).result()
    assert result is not None
    expected |= {name: [(20, value)] for name, value in result["metrics"].items() if name.startswith("test/")}
    assert set(events.Tags()["scalars"]) - {"epoch"} == set(expected)
    for name, points in expected.items():
        got = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in got] == [step for step, _ in points], name
        assert [value for _, value in got] == pytest.approx([value for _, value in points], rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_changes_no_number(tracker: str, tmp_path: Path) -> None:
    plain, _ = run(tmp_path / "plain")
    tracked, _ = run(tmp_path / "tracked", f"logger={tracker}")
    assert plain.name == tracked.name
    assert (plain / "metrics.csv").read_text() == (tracked / "metrics.csv").read_text()
    a, b = (json.loads((path / "result.json").read_text())["metrics"] for path in (plain, tracked))
    assert a == b


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_missing_package_is_refused_before_anything_is_trained(
    tracker: str, in_tmp: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(SystemExit) as end:
        main(["train", *TINY, f"logger={tracker}"])
    assert end.value.code == 2
    text = f"vae-lab: logger={tracker} needs a package: pip install 'vae-lab[{tracker}]'\n"
    assert capfd.readouterr().err == text
    assert not Path("runs").exists()
