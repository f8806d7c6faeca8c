"""What every test may use: the data of the lab if they are there, folders of its own for runs, the command line."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import STARTED, STUDY, Lab, Said, end_started, write_study

from vae_lab import cli, stages

ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracker reaches out."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage is long enough to be told, however busy the machine: what a command says does not depend on that."""
    monkeypatch.setattr(stages, "PATIENCE", 3600.0)


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    """Ends what a test has started and, since it failed, not waited for."""
    before = len(STARTED)
    yield
    end_started(before)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lab(capfd: pytest.CaptureFixture[str]) -> Iterator[Lab]:
    """Runs `vae-lab WORDS` in this process: a fresh one costs seconds."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> Said:
        capfd.readouterr()
        handlers, level = logging.root.handlers[:], logging.root.level
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        logging.root.handlers[:] = handlers  # Hydra's --cfg and --info leave one
        logging.root.setLevel(level)
        return Said(end.value.code, *capfd.readouterr())  # type: ignore[arg-type]

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def small(in_tmp: Path) -> Path:
    """A working directory with the study `small` in its folder `experiments`."""
    write_study(in_tmp, "small", STUDY)
    return in_tmp


@pytest.fixture
def faulty(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study whose first arm raises in training, with an option of a person's own; the words that run it."""
    (in_tmp / "options" / "prior").mkdir(parents=True)
    (in_tmp / "options" / "prior" / "faulty.yaml").write_text("_target_: faulty_prior.Faulty\n")
    (in_tmp / "faulty_prior.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(in_tmp))
    monkeypatch.delitem(sys.modules, "faulty_prior", raising=False)
    write_study(in_tmp, "small", STUDY.replace("arms:", "arms:\n  broken: {prior: faulty}"))
    return ["study", "small", "--config-dir", "options", "arm=broken,plain,annealed-0.5", "seed=0"]


FAULTY = """\
from vae_lab.models.priors import StandardNormalPrior


class Faulty(StandardNormalPrior):
    def __init__(self, latent_dim: int, calls: int = 5) -> None:
        super().__init__(latent_dim)
        self.calls = calls

    def forward(self):
        self.calls -= 1
        if self.calls < 0 and not __import__("pathlib").Path("mended").exists():
            raise ZeroDivisionError("the prior\\nbroke")
        return super().forward()
"""


def data_root() -> Path | None:
    """Where real data lie, if anywhere: `VAE_LAB_DATA`, or a folder `shared/data` beside the checkout."""
    for root in (os.environ.get("VAE_LAB_DATA"), ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "mnist").is_dir():
            return Path(root)
    return None


needs_data = pytest.mark.skipif(data_root() is None, reason="the real data sets are not on this machine")
