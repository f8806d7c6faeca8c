"""Runs as rows: for `vae-lab ls`, and for a person's own analysis."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vae_lab import index
from vae_lab.index import Row

TITLES = {"test/elbo": "elbo", "test/rate": "rate", "test/active_units": "active"}
"""The figures that are always shown, each with the title of its column."""


def results(path: str | Path) -> list[dict[str, Any]]:
    """One flat row a run at or below `path`: signature, study, arm, seed, state, path, version, commit, error, every metric,
    the timing, and every setting by its dotted key. `pandas.DataFrame(vae_lab.results("runs"))` makes a data frame of it."""
    return index.rows(Path(path))


def keys_of(rows: Iterable[Row]) -> list[str]:
    """Every key of any row, in the order in which they appear."""
    return list(dict.fromkeys(key for row in rows for key in row))


def differing(rows: Sequence[Row]) -> list[str]:
    """The keys, metrics left out, whose values are not the same in every row, in the order in which they appear."""
    return [key for key in keys_of(rows) if "/" not in key and _differs([row.get(key) for row in rows])]


def _differs(values: list[Any]) -> bool:
    first = values[0]
    return any(value is not first and repr(value) != repr(first) for value in values)


_NOT_SETTINGS = ("signature", "study", "arm", "seed", "state", "path", "overrides", "version", "error")


def columns_of(rows: Sequence[Row], asked: Iterable[str] = ()) -> dict[str, str]:
    """What `vae-lab ls` shows, key to title: who the run is, its state and figures, the keys that were asked for, and what
    differs."""
    varying = differing(rows)
    names = ["signature", *(key for key in ("study", "arm", "seed") if key in varying), "state"]
    settings = [key for key in varying if key not in _NOT_SETTINGS and not key.startswith(("evaluation.", "timing."))]
    return {key: TITLES.get(key) or short(key) for key in (*names, *TITLES, *asked, *settings)}


def short(key: str) -> str:
    """The title of a setting: that of a part is its group, unless a figure has that title."""
    title = key.removesuffix("._target_")
    return key if title in TITLES.values() else title


def table(rows: Sequence[Row], columns: dict[str, str], width: int | None = None) -> list[str]:
    """Lines of text, the titles first; figures are aligned on the right, the rest on the left.

    Arguments:
        width: of the terminal. What does not fit is left out, and a last line names it.
    """
    cells = {key: [title, *(shown(key, row.get(key)) for row in rows)] for key, title in columns.items()}
    widths = {key: max(map(len, column)) for key, column in cells.items()}
    fitting, used = [], -2
    for key in columns:
        used += widths[key] + 2
        if width is None or used <= width:
            fitting.append(key)
    aligned = [_aligned(cells[key], widths[key], "/" in key) for key in fitting]
    lines = ["  ".join(line).rstrip() for line in zip(*aligned, strict=True)]
    left_out = [title for key, title in columns.items() if key not in fitting]
    return [*lines, f"no room for {', '.join(left_out)}; --columns shows them"] if left_out else lines


def _aligned(column: list[str], width: int, right: bool) -> list[str]:
    return [cell.rjust(width) if right else cell.ljust(width) for cell in column]


def shown(key: str, value: Any) -> str:
    """A value as a cell of the table: a figure to a hundredth, a class of this package by its name alone."""
    if "/" in key and value is None:
        return "-"
    if isinstance(value, float) and ("/" in key or key.startswith("timing.")):
        return f"{value:.2f}".removesuffix(".00")
    text = "" if value is None else str(value)
    text = text.rpartition(".")[2] if text.startswith("vae_lab.") else text
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def print_runs(rows: Sequence[Row], columns: dict[str, str] | None = None, asked: Iterable[str] = ()) -> None:
    """One line a run: the columns given, or those that differ with those asked for."""
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = table(rows, columns) if columns else table(rows, columns_of(rows, asked), terminal)
    others = _made_by_others(rows)
    print(*lines, *others, sep="\n", flush=True)


def _made_by_others(rows: Sequence[Row]) -> list[str]:
    from vae_lab.environment import code_version

    here = code_version()
    others = sum(bool(row["version"]) and (row["version"], row["commit"]) != tuple(here.values()) for row in rows)
    code = " ".join(filter(None, here.values()))
    return [f"{others} of {len(rows)} made by other code than this ({code})"] if others else []
