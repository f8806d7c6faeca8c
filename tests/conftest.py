"""What every test may use: the data of the lab if they are there, and folders of its own for runs."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tracker reaches out, and nothing is written beside the tests."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data_root() -> Path | None:
    """Where real data lie, if anywhere: `VAE_LAB_DATA`, or a folder `shared/data` beside the checkout."""
    for root in (os.environ.get("VAE_LAB_DATA"), ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "mnist").is_dir():
            return Path(root)
    return None


needs_data = pytest.mark.skipif(data_root() is None, reason="the real data sets are not on this machine")
