"""Searches in this process, over runs that take a moment."""

from pathlib import Path

import optuna
import pytest
from small_runs import Lab, Said
from small_searches import Search, Trials, command

from vae_lab.search.study import JOURNAL, storage_at


@pytest.fixture
def search(lab: Lab, in_tmp: Path) -> Search:
    """Runs a search named `quest` with these further words, or another command line."""

    def run(*words: str, line: list[str] | None = None) -> Said:
        return lab(*(command(*words) if line is None else line))

    return run


@pytest.fixture
def trials(in_tmp: Path) -> Trials:
    """The trials of a search, read anew from its journal."""

    def read(name: str = "quest", url: str | None = None) -> list[optuna.trial.FrozenTrial]:
        folder = in_tmp / "runs" / name
        assert url or (folder / JOURNAL).exists()
        return optuna.load_study(study_name=name, storage=storage_at(url, folder)).trials

    return read
