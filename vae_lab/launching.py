"""What a launcher is told, looked at before anything is written: a launch that is refused leaves all as it was."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib

from vae_lab.capacity import check_workers
from vae_lab.config import launcher_settings
from vae_lab.errors import RequestError
from vae_lab.store import write_atomically

_KEY = "hydra.launcher"
_JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"


def check_launcher(words: Sequence[str], config_dir: str | None = None) -> None:
    """Asks the launcher of a multirun, given the words of one of its points, whether it is here and takes its settings.

    Errors: `RequestError`, one line.
    """
    if any(word.lstrip("+~").startswith(("hydra/launcher", f"{_KEY}.")) for word in words):
        target, settings = launcher_settings(list(words), config_dir)
        if target == _JOBLIB:
            _check_joblib(settings)


def _check_joblib(settings: Mapping[str, Any]) -> None:
    """Its launcher hands everything to joblib, which looks at it only once the runs are there."""
    if settings["n_jobs"] == 0:
        allowed = "a whole number, at least 1, or below 0: -1 for all cores, -2 for all but one"
        raise RequestError(f"{_KEY}.n_jobs: 0 given; must be {allowed}")
    check_workers(f"{_KEY}.n_jobs", settings["n_jobs"])
    try:
        joblib.Parallel(**{**settings, "backend": "loky", "batch_size": _number(settings["batch_size"])})
    except (TypeError, ValueError) as error:
        raise RequestError(f"{_KEY}: joblib: {' '.join(str(error).split())}") from error


def _number(value: str) -> int | str:
    return int(value) if value.lstrip("-").isdigit() else value


@contextlib.contextmanager
def unless_refused(files: Iterable[Path]) -> Iterator[None]:
    """Puts files back as they were where the launch in the block is refused: some things an engine says only when it is
    asked to run, such as that nothing answers at a cluster's address."""
    before = {file: file.read_text(encoding="utf-8", errors="replace") if file.exists() else None for file in files}
    try:
        yield
    except RequestError:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            else:
                write_atomically(file, content)
        raise
