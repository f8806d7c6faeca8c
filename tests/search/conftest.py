"""Searches in this process, over runs that take a moment."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from small_runs import Said
from small_searches import SEARCH, Search, Trials

from vae_lab import cli
from vae_lab.search.study import JOURNAL, storage_at


@pytest.fixture
def search(capfd: pytest.CaptureFixture[str], in_tmp: Path) -> Iterator[Search]:
    """Runs `vae-lab WORDS`, by default a search named `quest` with these further words."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: str, command: list[str] = SEARCH) -> Said:
        capfd.readouterr()
        handlers, level = logging.root.handlers[:], logging.root.level
        with pytest.raises(SystemExit) as end:
            cli.main([*command, *words])
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        return Said(end.value.code, *capfd.readouterr())  # type: ignore[arg-type]

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def trials(in_tmp: Path) -> Trials:
    """The trials of a search, read anew from its journal."""

    def read(name: str = "quest", url: str | None = None) -> list[optuna.trial.FrozenTrial]:
        folder = in_tmp / "runs" / name
        assert url or (folder / JOURNAL).exists()
        return optuna.load_study(study_name=name, storage=storage_at(url, folder)).trials

    return read
