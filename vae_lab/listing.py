"""Runs as rows: for `vae-lab ls`, and for a person's own analysis."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from vae_lab.environment import code_version
from vae_lab.store import CONFIG, Damaged, RunDirectory, find_runs

_SHOWN = {"test/elbo": "elbo", "test/rate": "rate", "test/active_units": "active"}


def results(path: str | Path) -> list[dict[str, Any]]:
    """One flat row a run at or below `path`: signature, study, arm, seed, state, path, commit, every metric, and every
    setting by its dotted key. `pandas.DataFrame(vae_lab.results("runs"))` makes a data frame of it."""
    return [_row(run) for run in find_runs(Path(path))]


def _row(run: RunDirectory) -> dict[str, Any]:
    state = run.state()
    try:
        result = run.result() or {}
    except Damaged:
        result = {}
    settings = result.get("settings") or _settings(run)
    return {
        "signature": run.signature,
        "study": settings.get("study", {}).get("name"),
        "arm": settings.get("study", {}).get("arm"),
        "seed": settings.get("seed"),
        "state": state,
        "path": str(run.path),
        "version": result.get("environment", {}).get("vae_lab"),
        "commit": result.get("environment", {}).get("commit"),
        **result.get("metrics", {}),
        **{key: value for key, value in flatten(settings).items() if key not in ("seed", "study.name", "study.arm")},
    }


def _settings(run: RunDirectory) -> dict[str, Any]:
    try:
        content = yaml.safe_load((run.path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key.

    Example:
        >>> flatten({"rate": {"nats": 0.1}, "seed": 0})
        {'rate.nats': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing(rows: list[dict[str, Any]]) -> list[str]:
    """The settings that are not the same in every row, in the order in which they appear."""
    keys = {key: None for row in rows for key in row if "/" not in key}
    return [key for key in keys if len({repr(row.get(key)) for row in rows}) > 1]


_NOT_SETTINGS = {"signature", "study", "arm", "seed", "state", "path", "overrides", "version"}


def print_runs(folder: Path) -> None:
    """One line a run, with only the columns that differ."""
    rows = results(folder)
    if not rows:
        print(f"no runs in {folder}")
        return
    varying = differing(rows)
    settings = [key for key in varying if key not in _NOT_SETTINGS and not key.startswith("evaluation.")]
    names = [key for key in ("study", "arm", "seed") if key in varying]
    table = Table(box=None, pad_edge=False)
    for title in ("signature", *names, "state", *_SHOWN.values(), *map(_short, settings)):
        table.add_column(title, justify="right" if title in _SHOWN.values() else "left", overflow="fold")
    for row in rows:
        figures = [_figure(row.get(key)) for key in _SHOWN]
        cells = [row["signature"], *(str(row[k]) for k in names), row["state"], *figures]
        table.add_row(*cells, *(_setting(row.get(key)) for key in settings))
    console = _Console(width=None if Console().is_terminal else 500)
    console.print(table)
    here = code_version()
    others = [
        row["version"] for row in rows if row["version"] and (row["version"], row["commit"]) != tuple(here.values())
    ]
    if others:
        console.print(
            f"{len(others)} of {len(rows)} made by other code than this ({' '.join(filter(None, here.values()))})"
        )


class _Console(Console):
    """Leaves it to the command line what a reader that has gone means; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _short(key: str) -> str:
    return key.removesuffix("._target_")


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}".removesuffix(".00")


def _setting(value: Any) -> str:
    text = "" if value is None else str(value)
    return text.rpartition(".")[2] if text.startswith("vae_lab.") else text
