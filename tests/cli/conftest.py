"""The command line in this process: a fresh one costs seconds."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import STUDY, Lab, Said, write_study

from vae_lab import cli


@pytest.fixture
def lab(capfd: pytest.CaptureFixture[str]) -> Iterator[Lab]:
    """Runs `vae-lab WORDS` in this process."""
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
