"""A run by the word that a person gives for it: its folder, or its signature, whole or as far as it is unique."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vae_lab.config import resolve
from vae_lab.errors import RequestError, nearest
from vae_lab.store import CONFIG, find_runs

RUNS = "runs"
_SHOWN = 5


def find_run(word: str | Path, runs_dir: str | Path = RUNS) -> Path:
    """The folder of a run. A word that is no signature is a path, whatever lies there.

    Errors: `RequestError` for a signature that no run below `runs_dir` has, or several.
    """
    text = str(word)
    if not re.fullmatch("[0-9a-f]{1,10}", text) or Path(word).exists():
        return Path(word)
    runs = {run.path: run.signature for run in find_runs(Path(runs_dir))}
    fitting = sorted(str(path) for path, signature in runs.items() if signature.startswith(text))
    if not fitting:
        hint = nearest(text, runs.values())
        raise RequestError(f"{text} is no folder, and no run below {runs_dir} has that signature{hint}")
    if len(fitting) > 1:
        shown = ", ".join(fitting[:_SHOWN]) + (f" and {len(fitting) - _SHOWN} more" if fitting[_SHOWN:] else "")
        raise RequestError(f"{text} is the signature of several runs; give the path of one: {shown}")
    return Path(fitting[0])


def check_run(path: Path) -> None:
    """Refuses what is no run's folder."""
    if not path.exists():
        raise RequestError(f"{path}: no such folder; a run is runs/STUDY/NAME, and `vae-lab ls` lists them")
    if not (path / CONFIG).exists():
        raise RequestError(f"{path} is no run directory: it has no {CONFIG}")


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """A config's settings, with the path of the run whose weights it starts from, if it names one by its signature. (Hydra
    reads some signatures as numbers.) Errors: `RequestError`."""
    settings = resolve(cfg)
    word = settings.get("init_from")
    if word is None:
        return settings
    if not isinstance(word, str):
        typed = (w.partition("=")[2] for w in settings.get("overrides", []) if w.partition("=")[0] == "init_from")
        word = next(typed, str(word))
    if word:
        try:
            settings["init_from"] = str(find_run(word, settings["runs_dir"]))
        except RequestError as error:
            raise RequestError(f"init_from: {error}") from error
    return settings
