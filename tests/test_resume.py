"""A run that is killed at any moment and asked for again ends with the numbers of one that never was, to the bit."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

EVERY = 20
SMALL = [
    "encoder.hidden=[32]",
    "decoder.hidden=[32]",
    "trainer.max_steps=150",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=35",  # in the middle of epochs of 9 batches
    "trainer.log_every_n_steps=15",
    "mitigation=kl_annealing",
    "scheduler=plateau",
    "scheduler.patience=1",
    "evaluation.nll_samples=20",
    f"callbacks.checkpoint.every_n_updates={EVERY}",
]


def start(folder: Path, *words: str, command: str = "train") -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    words = (command, *words)
    return subprocess.Popen(
        [sys.executable, "-m", "vae_lab", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == code, out
    return out


def updates_taken(folder: Path) -> int:
    ledgers = list(folder.glob("runs/*/*/.ledger"))
    return struct.unpack_from("<q", ledgers[0].read_bytes())[0] if ledgers and ledgers[0].stat().st_size else 0


def kill_at(process: subprocess.Popen[str], folder: Path, updates: int, how: int = signal.SIGKILL) -> int:
    """Kills once so many updates were taken; returns how many that were."""
    deadline = time.monotonic() + 120
    while updates_taken(folder) < updates:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, how)
    process.communicate(timeout=60)
    return updates_taken(folder)


def result(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("runs/*/*/result.json")
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uncut")
    finish(start(folder, *SMALL))
    return folder


def test_kills_change_nothing_and_cost_at_most_one_interval_each(uncut: Path, tmp_path: Path) -> None:
    kills = [7, 48, 96]
    for updates in kills:
        kill_at(start(tmp_path, *SMALL), tmp_path, updates + sum(1 for k in kills if k < updates) * EVERY)
    finish(start(tmp_path, *SMALL))
    expected, got = result(uncut), result(tmp_path)
    assert got["metrics"] == expected["metrics"]
    assert expected["timing"]["steps_run"] == 150
    assert 150 < got["timing"]["steps_run"] <= 150 + len(kills) * EVERY
    assert got["timing"]["attempts"] == len(kills) + 1
    (a,), (b,) = uncut.glob("runs/*/*/metrics.csv"), tmp_path.glob("runs/*/*/metrics.csv")
    assert a.read_text() == b.read_text()


@pytest.mark.slow
def test_a_compiled_run_that_is_killed_is_the_same_too(tmp_path: Path) -> None:
    """Compiled anew by another process."""
    words = [*SMALL, "compile=true"]
    finish(start(tmp_path / "uncut", *words))
    kill_at(start(tmp_path / "cut", *words), tmp_path / "cut", 70)
    finish(start(tmp_path / "cut", *words))
    expected, got = result(tmp_path / "uncut"), result(tmp_path / "cut")
    assert (got["metrics"], got["timing"]["attempts"]) == (expected["metrics"], 2)
    (a,), (b,) = (tmp_path.glob(f"{name}/runs/*/*/metrics.csv") for name in ("uncut", "cut"))
    assert a.read_text() == b.read_text()


@pytest.mark.slow
def test_asking_again_runs_nothing(uncut: Path) -> None:
    before = result(uncut)
    finish(start(uncut, *SMALL))
    assert result(uncut) == before
    assert updates_taken(uncut) == 150


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_leaves_the_run_resumable_and_says_so_in_its_code(how: int, code: int, tmp_path: Path) -> None:
    process = start(tmp_path, *SMALL)
    kill_at(process, tmp_path, 30, how)
    assert process.returncode == code
    assert not list(tmp_path.glob("runs/*/*/result.json"))
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/last.ckpt")
    assert checkpoint.exists()


@pytest.mark.slow
def test_damage_is_said_and_mended(uncut: Path, tmp_path: Path) -> None:
    finish(start(tmp_path, *SMALL))
    (run,) = tmp_path.glob("runs/*/*/")
    (run / "result.json").write_text('{"signature": ')
    out = finish(start(tmp_path, *SMALL))
    assert "result.json is damaged" in out
    assert result(tmp_path)["metrics"] == result(uncut)["metrics"]
    (run / "result.json").unlink()
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 0xFF
    checkpoint.write_bytes(bytes(content))
    out = finish(start(tmp_path, *SMALL))
    assert "last.ckpt is damaged" in out
    assert "begins anew" in out
    assert result(tmp_path)["metrics"] == result(uncut)["metrics"]
