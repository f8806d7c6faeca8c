"""One run: the same twice, from other weights, for a sweeper, on a disk that is full or that cannot be written."""

import errno
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import TINY, Lab, results
from torch import Tensor

from vae_lab import compose, load, train
from vae_lab import results as table
from vae_lab.cli.train import job
from vae_lab.config import run_hydra
from vae_lab.errors import RequestError, RunFailed
from vae_lab.metrics import reported
from vae_lab.training.callbacks import LastCheckpoint


def run(folder: Path, *words: str) -> tuple[dict[str, Any], Path]:
    result = train(compose(*TINY, f"runs_dir={folder}", *words), progress=False)
    return result, folder / "solo" / result["signature"]


def weights(path: Path) -> dict[str, Tensor]:
    return load(path).model.state_dict()


def test_the_same_twice_is_equal_to_the_bit(tmp_path: Path) -> None:
    (one, a), (two, b) = run(tmp_path / "a"), run(tmp_path / "b")
    assert one["metrics"] == two["metrics"]
    assert a.name == b.name
    assert (a / "metrics.csv").read_bytes() == (b / "metrics.csv").read_bytes()
    assert all(torch.equal(weights(a)[name], weights(b)[name]) for name in weights(a))


def test_the_directory_is_as_the_contract_has_it(tmp_path: Path) -> None:
    result, path = run(tmp_path)
    names = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    wanted = {"config.yaml", "metrics.csv", "result.json", "run.log", ".hydra/overrides.yaml"}
    assert wanted | {"checkpoints/last.ckpt", "checkpoints/best.ckpt"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    assert json.loads((path / "result.json").read_text()) == result
    refined_only = {f"{split}/elbo_amortized{end}" for split in ("val", "test") for end in ("", "_se")}
    assert set(result["metrics"]) == set(reported()) - refined_only
    assert result["settings"] == yaml.safe_load((path / "config.yaml").read_text())
    (row,) = table(tmp_path)
    assert (row["state"], row["seed"], row["optimizer.lr"]) == ("completed", 0, 0.001)
    assert row["test/elbo"] == result["metrics"]["test/elbo"]


def test_asking_again_does_nothing(tmp_path: Path) -> None:
    one, path = run(tmp_path)
    times = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.name != ".lease"}
    two, _ = run(tmp_path, "runs_dir=" + str(tmp_path), "optimized_metric=test/nll")
    assert two == one
    assert {file: file.stat().st_mtime_ns for file in times} == times


def test_it_goes_on_from_another_runs_weights(tmp_path: Path) -> None:
    _, source = run(tmp_path, "trainer.max_steps=8")
    still = ("optimizer=sgd", "optimizer.lr=1e-30", "trainer.max_steps=1")
    _, warm = run(tmp_path, *still, f"init_from={source}")
    _, cold = run(tmp_path, *still)
    assert all(torch.equal(weights(warm)[name], weights(source)[name]) for name in weights(source))
    assert not all(torch.equal(weights(cold)[name], weights(source)[name]) for name in weights(source))


def test_weights_may_be_named_by_a_signature(tmp_path: Path) -> None:
    """Also by one that reads as a number; the run is the same as with the path."""
    _, source = run(tmp_path, "trainer.max_steps=8")
    by_path, path = run(tmp_path, f"init_from={source}")
    by_name, same = run(tmp_path, f"init_from={source.name}", "rerun=true")
    assert same == path
    assert by_name["metrics"] == by_path["metrics"]
    for number in ("0000000012", "31e5125000"):
        source = source.rename(source.with_name(number))
        assert run(tmp_path, f"init_from={number}")[1] == path
    shutil.copytree(source, tmp_path / "other" / source.name)
    ways = f"{tmp_path}/other/31e5125000, {tmp_path}/solo/31e5125000"
    for word, text in {
        "31e5125000": f"31e5125000 is the signature of several runs; give the path of one: {ways}",
        "0123456789": f"0123456789 is no folder, and no run below {tmp_path} has that signature",
        f"{source}/checkpoints/last.ckpt": f"{source}/checkpoints/last.ckpt is no run with a checkpoint; give the run, {source}",
    }.items():
        with pytest.raises(RequestError) as refusal:
            run(tmp_path, f"init_from={word}")
        assert str(refusal.value) == f"init_from: {text}"


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    _, source = run(tmp_path)
    with pytest.raises(RequestError) as refusal:
        run(tmp_path, "latent_dim=3", f"init_from={source}")
    assert (
        str(refusal.value) == f"init_from: {source} has another model: decoder.net.weight is (5, 2) there, (5, 3) here"
    )
    (source / "checkpoints" / "last.ckpt").write_bytes(b"no")
    with pytest.raises(RequestError, match=r"init_from: .*last.ckpt is damaged"):
        run(tmp_path, f"init_from={source}")


@pytest.mark.parametrize("metric", ["val/elbo", "test/nll"])
def test_a_sweeper_is_given_the_metric_that_it_optimises(metric: str, in_tmp: Path) -> None:
    returned: list[float] = []

    def noted(cfg: Any) -> float:
        returned.append(job(cfg))
        return returned[-1]

    run_hydra([*TINY, f"optimized_metric={metric}"], noted)
    (result,) = results(in_tmp).values()
    assert returned == [result["metrics"][metric]]


def test_a_sweeper_is_given_nan_for_a_run_that_failed(in_tmp: Path) -> None:
    returned: list[float] = []

    def noted(cfg: Any) -> float:
        returned.append(job(cfg))
        return returned[-1]

    run_hydra(["-m", *TINY, "optimizer.lr=1e38,0.001"], noted)
    assert math.isnan(returned[0])
    assert math.isfinite(returned[1])


# ---- a disk that is full, or read-only

BIG = ("encoder=mlp", "encoder.hidden=[200]", "callbacks.checkpoint.every_n_updates=4")


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs more rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "size=48k")


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_full_disk_fails_the_run_and_room_mends_it(tiny_disk: Path, tmp_path: Path) -> None:
    expected, _ = run(tmp_path / "roomy", *BIG)
    with pytest.raises(RunFailed, match="No space left on device") as failure:
        run(tiny_disk, *BIG)
    assert str(failure.value).count("\n") == 0
    assert not list(tiny_disk.rglob("*.tmp"))
    remount(tiny_disk, "size=20m")
    got, _ = run(tiny_disk, *BIG)
    assert got["metrics"] == expected["metrics"]


def test_a_read_only_disk_is_a_wrong_request(tiny_disk: Path) -> None:
    remount(tiny_disk, "ro")
    with pytest.raises(RequestError, match=r"cannot write .*: Read-only file system"):
        run(tiny_disk, *BIG)


def test_a_file_that_cannot_be_read_is_not_said_to_be_one_that_cannot_be_written(tmp_path: Path) -> None:
    result, path = run(tmp_path)
    (path / "result.json").unlink()
    (path / "result.json").mkdir()
    with pytest.raises(IsADirectoryError):
        run(tmp_path)
    (path / "result.json").rmdir()
    (path / "run.log").unlink()
    (path / "run.log").mkdir()
    with pytest.raises(RequestError, match=r"cannot write .*run.log: Is a directory"):
        run(tmp_path)
    (path / "run.log").rmdir()
    assert run(tmp_path)[0]["metrics"] == result["metrics"]


@pytest.mark.parametrize("file", ["last.ckpt", "result.json", "config.yaml", "metrics.csv"])
def test_a_disk_that_fills_at_any_file(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system cannot be mounted, or fills at the worst moment: the file is not replaced. The run fails in
    one line, and goes on from what it has."""
    expected, _ = run(tmp_path / "roomy", *BIG)
    with monkeypatch.context() as patch, pytest.raises(RunFailed, match="No space left on device"):
        fill_at(file, patch)
        run(tmp_path / "full", *BIG)
    assert not list((tmp_path / "full").rglob("*.tmp"))
    got, _ = run(tmp_path / "full", *BIG)
    assert got["metrics"] == expected["metrics"]
    assert got["timing"]["steps_run"] <= 12 + 4


def fill_at(name: str, patch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    def no_rows(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "replace", full)
    if name == "metrics.csv":
        patch.setattr("vae_lab.training.history.HistoryLogger.log_metrics", no_rows)


def test_a_log_that_finds_no_room_is_lost_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("logging.FileHandler.flush", full)
    result, _ = run(tmp_path)
    assert result["status"] == "completed"
    assert "Traceback" not in capfd.readouterr().err


# ---- a result that is there


def test_an_evaluation_that_cannot_be_made_leaves_the_result(tmp_path: Path) -> None:
    """Its best model was never saved, or its last checkpoint is of another model."""
    _, path = run(tmp_path)
    (path / "checkpoints" / "best.ckpt").unlink()
    before = (path / "result.json").read_bytes()
    with pytest.raises(RequestError, match=r"best.ckpt is not there: .*; .*result.json is as it was"):
        run(tmp_path, "evaluation.checkpoint=best")
    torch.save({"state_dict": {}, "vae_lab": {"updates": 12}}, path / "checkpoints" / "last.ckpt")
    with pytest.raises(RequestError, match=r"does not fit the model of .*; .*result.json is as it was"):
        run(tmp_path, "evaluation.figures=false", "evaluation.batch_size=25")
    assert (path / "result.json").read_bytes() == before


def test_an_evaluation_that_breaks_leaves_the_result_and_pictures(
    in_tmp: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a grid too, which says so and ends with 1."""
    words = [*TINY, "study.name=grid", "seed=0,1"]
    assert lab("train", "-m", *words).code == 0
    before = {file: file.read_bytes() for file in in_tmp.glob("runs/grid/*/*/*.png")} | {
        file: file.read_bytes() for file in in_tmp.glob("runs/grid/*/result.json")
    }

    def breaks(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("vae_lab.scoring.evaluate", breaks)
    asked = [word for word in words if not word.startswith("evaluation.")]
    said = lab("train", "-m", *asked, "evaluation.nll_samples=5")
    assert said.code == 1
    assert "2 of 2 runs could not be evaluated as asked; their results are as they were" in said.err
    assert {file: file.read_bytes() for file in before} == before


def test_a_completed_run_whose_model_is_made_again_is_never_taken_for_its_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint is gone, and what makes it again is killed at update 8 of 12: no use takes that model for the run's,
    and the next command goes on from there."""
    often, other = "callbacks.checkpoint.every_n_updates=4", "evaluation.batch_size=25"
    expected, path = run(tmp_path, often)
    (path / "checkpoints" / "last.ckpt").unlink()
    save = LastCheckpoint.save

    def killed(self: LastCheckpoint, trainer: Any, updates: int) -> None:
        save(self, trainer, updates)
        if updates == 8:
            raise SystemExit(137)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(LastCheckpoint, "save", killed)
        run(tmp_path, often, other)
    with pytest.raises(RequestError, match="is of update 8, and the run ended at update 12"):
        load(path)
    again, _ = run(tmp_path, often, other)
    assert again["metrics"]["test/rate"] == pytest.approx(expected["metrics"]["test/rate"], rel=1e-5)
    assert again["timing"]["steps_run"] == 12 + 12


def test_what_is_appended_to_a_torn_file_is_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine that went down: the checkpoint was on its disk, the end of `metrics.csv` and `run.log` was not."""
    _, path = run(tmp_path)
    history, log = path / "metrics.csv", path / "run.log"
    rows = history.read_bytes()
    end = rows.rstrip(b"\n").rfind(b"\n") + 1
    history.write_bytes(rows[: end + 9])
    log.write_bytes(b"2026-12-01 a line that was cut")
    (path / "result.json").unlink()
    run(tmp_path)
    assert history.read_bytes().startswith(rows[:end])
    for row in history.read_text().splitlines()[1:]:
        step, epoch, name, value = row.split(",")
        assert (int(step) >= 0, int(epoch) >= 0, "/" in name or name == "lr", math.isfinite(float(value))) == (
            True,
        ) * 4
    assert f"{len(rows) - end - 9} bytes are missing at its end" in capsys.readouterr().out
    assert log.read_text().startswith("2026-12-01 a line that was cut\n")
