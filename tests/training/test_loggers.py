"""What a tracker has of a run is what the run's own files have, also after a kill; and it can hurt no run. W&B, TensorBoard
and MLflow are the real clients; their files are read back with their own readers."""

import functools
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY, UNENDING, finish, start
from trackers.wandb_server import serving

from vae_lab import compose, train
from vae_lab.cli import main
from vae_lab.environment import code_version
from vae_lab.errors import RunFailed
from vae_lab.store import RunDirectory, find_runs

Series = dict[str, list[tuple[int, float]]]
TRACKERS = ("wandb", "tensorboard", "mlflow")

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:(wandb|tensorboard|google)",
    "ignore:The ``noload`` loader",  # of MLflow's use of SQLAlchemy
)


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
        assert wandb.setup().most_recent_active_run is None, "a run of W&B was left open"


def history(path: Path) -> Series:
    """The series of `metrics.csv`."""
    found: Series = {}
    for step, _, name, value in RunDirectory(path).history():
        found.setdefault(name, []).append((step, value))
    return found


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in the `.wandb` files of a run directory, in the order of the attempts."""
    files = sorted(path.glob("wandb/offline-run-*/*.wandb"))
    return [record[kind] for file in files for record in inspected(file) if record["type"] == kind]


@functools.cache
def inspected(file: Path) -> list[dict[str, Any]]:
    """A file as W&B's own reader has it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [json.loads(line) for line in lines]


def wandb_series(path: Path) -> Series:
    """Each number of each series; histograms are no numbers."""
    found: Series = {}
    for record in records(path, "history"):
        for name, value in record["item"].items():
            if name.startswith(("train/", "val/", "test/")) and "._type" not in name and not isinstance(value, list):
                found.setdefault(name, []).append((record["item"]["_step"], value))
    return found


def summary(path: Path) -> dict[str, Any]:
    """The summary as it stands at the end."""
    found: dict[str, Any] = {}
    for record in records(path, "summary"):
        found |= record.get("update", {})
    return found


def check_same(got: Series, expected: Series) -> None:
    assert set(got) == set(expected)
    for name in expected:
        assert [step for step, _ in got[name]] == [step for step, _ in expected[name]], name
        assert [value for _, value in got[name]] == pytest.approx([value for _, value in expected[name]]), name


def run(folder: Path, *words: str, base: list[str] = TINY) -> tuple[Path, list[str]]:
    """Trains; the run's directory, and the lines it said."""
    said: list[str] = []
    result = train(compose(*base, f"runs_dir={folder}", *words), progress=False, say=said.append)
    return folder / result["study"] / result["signature"], said


DIGITS = ["encoder.hidden=[8]", "decoder.hidden=[8]", "latent_dim=2", "evaluation.nll_samples=4"]


def test_wandb_has_the_whole_run(tmp_path: Path) -> None:
    path, said = run(
        tmp_path, *DIGITS, "logger=wandb", "logger.log_model=true", "trainer.max_steps=20", "study.name=mine",
        "study.arm=plain", "seed=7", "mitigation=free_bits", "rate.nats=0.1", "trainer.log_every_n_steps=6",
        base=[],
    )  # fmt: skip
    check_same(wandb_series(path), history(path))
    assert {"train/loss", "train/skipped_updates", "val/elbo", "val/rate_per_dimension/1"} <= set(history(path))

    (about,) = records(path, "run")
    config = about["config"]["update"]
    assert config["encoder"]["_target_"] == "vae_lab.models.encoders.MLPEncoder"
    assert config["optimizer"]["betas"] == [0.9, 0.999]
    assert (config["seed"], config["latent_dim"]) == (7, 2)
    assert (about["project"], about["run_group"], about["display_name"]) == ("vae_lab", "mine", "plain seed=7")
    assert (about["run_id"], about["job_type"]) == (f"mine-{path.name}", "train")
    assert about["tags"][:2] == ["dataset=digits", "mitigation=free_bits"]
    assert about["tags"][2:] == [f"commit={commit}" for commit in [code_version()["commit"]] if commit]

    result, final = RunDirectory(path).result(), summary(path)
    assert result is not None
    for name, value in result["metrics"].items():
        assert final[name] == pytest.approx(value), name
    for figure in path.glob("figures/*.png"):
        (copied,) = path.glob(f"wandb/offline-run-*/files/{final[f'figures/{figure.stem}.path']}")
        assert copied.read_bytes() == figure.read_bytes()
    rates = result["details"]["test"]["rate_per_dimension"]
    assert sum(final["test/rate_per_dimension.values"]) == len(rates)
    assert final["test/rate_per_dimension.bins"][0] == pytest.approx(min(rates))
    assert final["test/rate_per_dimension.bins"][-1] == pytest.approx(max(rates))

    (model,) = records(path, "artifact")
    (content,) = model["manifest"]["contents"]
    assert content["local_path"] == str(path.absolute() / "checkpoints" / "last.ckpt")
    assert said == [f"wandb sync {next(path.glob('wandb/offline-run-*')).absolute()}"]


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
    words = [*UNENDING]
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


def with_test_figures(path: Path, step: int) -> Series:
    """`metrics.csv`, and the test figures at the last step."""
    result = RunDirectory(path).result()
    assert result is not None
    figures = {name: [(step, value)] for name, value in result["metrics"].items() if name.startswith("test/")}
    return history(path) | figures


def test_wandb_has_the_figures_of_a_run_whose_rate_is_no_sum_over_latents(tmp_path: Path) -> None:
    path, said = run(tmp_path, *DIGITS, "prior=mixture", "logger=wandb", "trainer.max_steps=20", base=[])
    assert len(said) == 1
    assert said[0].startswith("wandb sync ")
    result = RunDirectory(path).result()
    assert result is not None
    assert result["details"]["test"]["rate_per_dimension"] is None
    assert summary(path)["test/nll"] == result["metrics"]["test/nll"]


def tensorboard_series(path: Path) -> Series:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    names = set(events.Tags()["scalars"]) - {"epoch"}
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def mlflow_series(root: Path, run_id: str) -> Series:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    names = set(client.get_run(run_id).data.metrics) - {"epoch"}
    return {name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)] for name in names}


def test_tensorboard_has_every_series(tmp_path: Path) -> None:
    path, said = run(tmp_path, "logger=tensorboard", "trainer.max_steps=20")
    assert said == []
    got, expected = tensorboard_series(path), with_test_figures(path, 20)
    rounded = {n: [(step, struct.unpack("f", struct.pack("f", v))[0]) for step, v in p] for n, p in expected.items()}
    check_same(got, rounded)


def test_mlflow_has_the_whole_run(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    path, said = run(
        tmp_path, *DIGITS, "logger=mlflow", "logger.log_model=true", "trainer.max_steps=20", "seed=3", base=[]
    )
    assert said == []
    assert "MLFLOW_TRACKING_URI" not in os.environ  # or the next run of this process would go to this one's store
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("solo").experiment_id])
    check_same(mlflow_series(tmp_path, found.info.run_id), with_test_figures(path, 20))
    assert (found.info.run_name, found.info.status) == (f"{path.name} seed=3", "FINISHED")
    assert (found.data.params["seed"], found.data.params["optimizer/lr"]) == ("3", "0.001")
    assert found.data.tags["dataset"] == "digits"
    kept = {
        file.path for folder in ("figures", "checkpoints") for file in client.list_artifacts(found.info.run_id, folder)
    }
    assert kept == {f"figures/{file.name}" for file in path.glob("figures/*.png")} | {"checkpoints/last.ckpt"}
    assert next(tmp_path.glob("mlartifacts/**/last.ckpt")).read_bytes() == (path / "checkpoints/last.ckpt").read_bytes()


# ---- a run that is killed

LONG = [
    *(word for word in UNENDING if not word.startswith("trainer.log_every")),
    "trainer.max_steps=400",
    "trainer.log_every_n_steps=7",
    "callbacks.checkpoint.every_n_updates=50",
]


def updates_taken(folder: Path) -> int:
    contents = [file.read_bytes() for file in folder.glob("runs/*/*/.ledger")]
    return sum(struct.unpack_from("<q", content)[0] for content in contents if content)


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Starts a run, which has W&B's own process for itself."""
    os.environ.pop("WANDB_SERVICE", None)  # of a run in this process: it would be used for this one too
    return start(folder, "train", *LONG, *words)


def cut_at(folder: Path, updates: int, *words: str) -> None:
    """Kills a run, and all that it started, once it has taken so many updates."""
    process = begin(folder, *words)
    deadline = time.monotonic() + 240
    while updates_taken(folder) < updates:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def go_on(folder: Path, *words: str) -> Path:
    said = finish(begin(folder, *words))
    assert (said.code, said.err) == (0, "")
    (found,) = find_runs(folder / "runs")
    result = found.result()
    assert result is not None
    assert result["timing"]["attempts"] == 2
    return found.path


def test_killed_and_gone_on_with_wandb_has_every_value_once_under_one_id(tmp_path: Path) -> None:
    cut_at(tmp_path, 120, "logger=wandb")
    path = go_on(tmp_path, "logger=wandb")
    first, second = sorted(path.glob("wandb/offline-run-*"))
    assert first.name.rpartition("_")[2].partition("-")[2] == second.name.rpartition("_")[2].partition("-")[2]
    assert {about["run_id"] for about in records(path, "run")} == {f"solo-{path.name}"}
    check_same(wandb_series(path), history(path))
    assert [end["exit_code"] for end in records(path, "exit")][-1] == 0


ONE_AFTER_ANOTHER = """\
import pathlib, sys
from vae_lab.cli import main

for words in ([], ["rerun=true"], ["go on"]):
    if words == ["go on"]:
        words = next(pathlib.Path().glob("runs/solo/*/result.json")).unlink() or []
    try:
        main([*sys.argv[1:], *words])
    except SystemExit as end:
        assert end.code == 0
"""


@pytest.mark.slow
def test_a_rerun_online_takes_the_place_of_what_was_there_and_a_run_that_goes_on_goes_on(tmp_path: Path) -> None:
    with serving() as (address, server):
        environment = os.environ | {"WANDB_MODE": "online", "WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40}
        command = [sys.executable, "-c", ONE_AFTER_ANOTHER, "train", *TINY, "logger=wandb"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done
    (found,) = find_runs(tmp_path / "runs")
    first, again = server.histories[f"solo-{found.path.name}"]  # which the third attempt goes on with
    steps = {name: [step for step, _ in points] for name, points in history(found.path).items()}
    for rows in (first, again):
        assert {name: [row["_step"] for row in rows if name in row] for name in steps} == steps
    assert server.asked.count("RunResumeStatus") == 1


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_killed_and_gone_on_with_another_tracker_has_every_value_once(tracker: str, tmp_path: Path) -> None:
    cut_at(tmp_path, 120, f"logger={tracker}")
    path = go_on(tmp_path, f"logger={tracker}")
    if tracker == "tensorboard":
        got = tensorboard_series(path)
    else:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
        (found,) = client.search_runs([client.get_experiment_by_name("solo").experiment_id])
        assert found.info.status == "FINISHED"
        got = mlflow_series(tmp_path / "runs", found.info.run_id)
    expected = with_test_figures(path, 400)
    assert {name: [step for step, _ in points] for name, points in got.items()} == {
        name: [step for step, _ in points] for name, points in expected.items()
    }


# ---- a tracker that fails


def check_run_is_whole(path: Path) -> None:
    result = RunDirectory(path).result()
    assert result is not None
    assert result["status"] == "completed"
    assert "val/elbo" in history(path)


def test_a_tracker_that_cannot_start_is_one_warning(tmp_path: Path) -> None:
    path, said = run(tmp_path, "logger=mlflow", "logger.tracking_uri=nowhere://x")
    check_run_is_whole(path)
    (line,) = said
    assert line.startswith("warning: logger=mlflow failed (")
    assert line.endswith("; the run goes on, and its own files have it all")


CORE_DIES = """\
import os, signal, subprocess, sys
from vae_lab.cli import main
from vae_lab.training.module import Training

validated = Training.on_validation_epoch_end

def kill_then_validate(self):
    rows = subprocess.check_output(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], text=True).splitlines()
    for pid in (int(row.split()[0]) for row in rows if "wandb-core" in row):
        os.kill(pid, signal.SIGKILL)
        print("killed", file=sys.stderr)
    validated(self)

Training.on_validation_epoch_end = kill_then_validate
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_tracker_that_dies_in_the_middle_is_one_warning(tmp_path: Path) -> None:
    """W&B's own process is killed during the run."""
    command = [sys.executable, "-c", CORE_DIES, "train", *TINY, "logger=wandb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("killed\n")
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: logger=wandb failed (")
    (found,) = find_runs(tmp_path / "runs")
    check_run_is_whole(found.path)


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


# ---- several trackers, tags, and runs that are done


def test_several_trackers_have_the_whole_run_each(tmp_path: Path) -> None:
    words = ("trainer.max_steps=20", "logger.tags=[mine,'fold=3']", "logger.wandb.log_model=true")
    plain, _ = run(tmp_path / "plain", "trainer.max_steps=20")
    path, said = run(tmp_path, "logger=[wandb,tensorboard,mlflow]", *words)
    assert path.name == plain.name
    check_same(wandb_series(path), history(path))
    assert set(tensorboard_series(path)) == set(with_test_figures(path, 20))
    found = mlflow_runs(tmp_path)
    check_same(mlflow_series(tmp_path, found[0].info.run_id), with_test_figures(path, 20))
    assert (found[0].data.tags["fold"], found[0].data.tags["mine"]) == ("3", "")
    (about,) = records(path, "run")
    assert {"dataset=linear_gaussian", "mine", "fold=3"} <= set(about["tags"])
    assert len(records(path, "artifact")) == 1  # of W&B alone
    assert said == [f"wandb sync {next(path.glob('wandb/offline-run-*')).absolute()}"]


def mlflow_runs(root: Path) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    return list(client.search_runs([client.get_experiment_by_name("solo").experiment_id]))


def test_a_tracker_asked_for_later_gets_the_history_of_a_run_that_is_done_once(tmp_path: Path) -> None:
    path, _ = run(tmp_path, "trainer.max_steps=20")
    before = {file: file.read_bytes() for file in (path / "metrics.csv", path / "result.json")}
    words = ("trainer.max_steps=20", "logger=[wandb,tensorboard,mlflow]")
    _, said = run(tmp_path, *words)
    assert [line for line in said if "trained before" in line] == [
        f"{path.name} seed=0: was trained before; logger={name} has its history and its figures now"
        for name in TRACKERS
    ]
    assert {file: file.read_bytes() for file in before} == before
    check_same(wandb_series(path), history(path))
    result = RunDirectory(path).result()
    assert result is not None
    final = summary(path)
    assert {name: final[name] for name in result["metrics"]} == pytest.approx(result["metrics"])
    assert exit_code(path) == 0
    assert set(tensorboard_series(path)) == set(with_test_figures(path, 20))
    (kept,) = mlflow_runs(tmp_path)
    check_same(mlflow_series(tmp_path, kept.info.run_id), with_test_figures(path, 20))
    assert run(tmp_path, *words)[1] == []  # they have it
    assert len(list(path.glob("wandb/offline-run-*"))) == len(mlflow_runs(tmp_path)) == 1


def test_a_grid_that_is_done_is_handed_to_a_tracker(in_tmp: Path, lab: Any) -> None:
    words = ["train", "-m", *TINY, "seed=0,1"]
    assert lab(*words).code == 0
    said = lab(*words, "logger=tensorboard")
    assert said.code == 0
    assert said.out.count("logger=tensorboard has its history") == 2
    for found in find_runs(in_tmp / "runs"):
        assert set(tensorboard_series(found.path)) >= set(history(found.path))
    assert "nothing left to do" in lab(*words, "logger=tensorboard").out


def test_a_tracker_that_failed_is_tried_again_by_the_same_command(tmp_path: Path) -> None:
    from filelock import FileLock

    words = ("logger=[mlflow,tensorboard]",)
    (tmp_path / "mlflow.db").mkdir()  # no store can be there
    path, (line,) = run(tmp_path, *words)
    assert line.startswith("warning: logger=mlflow failed (")
    assert set(tensorboard_series(path)) == set(with_test_figures(path, 12))
    (tmp_path / "mlflow.db").rmdir()
    assert FileLock(tmp_path / ".mlflow.lock").acquire()
    _, (line,) = run(tmp_path, *words)
    assert line.endswith("was trained before; logger=mlflow has its history and its figures now")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("logger=[wandb,wandb]", "logger=[wandb,wandb]: wandb is there twice"),
        ("logger=[]", "logger=[]: choose one of csv, mlflow, tensorboard, wandb"),
        ("logger=[wandb,tensorbord]", "logger=tensorbord: no such option; allowed: csv, mlflow, tensorboard, wandb"),
        ("logger=wandb logger.tags=mine", "logger.tags: 'mine' given; must be "),
        ("logger=[wandb,mlflow] logger.wandb.mode=x", "logger.wandb.mode: 'x' given; must be one of "),
        (
            "logger=tensorboard logger.tags=[a]",
            "logger.tags: logger=tensorboard has no such key; it belongs to logger=",
        ),
        (
            "logger=tensorboard +logger.tags=[a]",
            "logger.tags: ['a'] given; must have a _target_; it belongs to logger=",
        ),
    ],
)
def test_wrong_lists_and_tags_are_one_line(words: str, text: str, in_tmp: Path, lab: Any) -> None:
    said = lab("train", *TINY, *words.split())
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith(f"vae-lab: {text}"), said.err
    assert not Path("runs").exists()
