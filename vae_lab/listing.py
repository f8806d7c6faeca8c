"""Runs as rows: for `vae-lab ls`, and for a person's own analysis."""

import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from vae_lab import index
from vae_lab.amounts import number, visible
from vae_lab.index import Row
from vae_lab.metrics import DOUBTED, information_doubt, reported

TITLES = {"test/elbo": "elbo", "test/nll": "nll", "test/rate": "rate", "test/active_units": "active"}
"""The figures that are always shown, each with the title of its column."""


def results(path: str | Path) -> list[dict[str, Any]]:
    """One flat row a run at or below `path`: signature, study, arm, seed, state, path, version, commit, error, every metric,
    the timing, and every setting by its dotted key. Every row has every column: None where a run has no such value.
    `pandas.DataFrame(vae_lab.results("runs"))` makes a data frame of it."""
    rows = index.rows(Path(path))
    empty = dict.fromkeys([*keys_of(rows), *reported()])
    return [{**empty, **row} for row in rows]


def keys_of(rows: Iterable[Row]) -> list[str]:
    """Every key of any row, in the order in which they appear."""
    return list(dict.fromkeys(chain.from_iterable(rows)))


def differing(rows: Sequence[Row]) -> list[str]:
    """The keys, metrics left out, whose values are not the same in every row, in the order in which they appear."""
    return [key for key in keys_of(rows) if "/" not in key and _differs([row.get(key) for row in rows])]


def _differs(values: list[Any]) -> bool:
    first, *others = _once(values)
    return any(repr(value) != repr(first) for value in others)


def _once(values: Sequence[Any]) -> Collection[Any]:
    """Every object among the values once: rows share those of their settings that they have in common."""
    return dict(zip(map(id, values), values, strict=True)).values()


_NOT_SETTINGS = ("signature", "study", "arm", "seed", "state", "path", "overrides", "version", "error")


def columns_of(rows: Sequence[Row], asked: Iterable[str] = ()) -> dict[str, str]:
    """What `vae-lab ls` shows, key to title: who the run is, its state and figures, the keys that were asked for, and a
    column a setting that differs: all of them between the arms of a study, those that somebody typed between other runs."""
    varying = differing(rows)
    names = ["signature", *(key for key in ("study", "arm", "seed") if key in varying), "state"]
    settings = [key for key in varying if key not in _NOT_SETTINGS and not key.startswith(("evaluation.", "timing."))]
    if "overrides" in varying and "arm" not in varying:
        typed = typed_keys(rows)
        settings = [key for key in settings if key.removesuffix("._target_") in typed]
    shown_keys = (*names, *TITLES, *asked, *settings)
    return {key: TITLES.get(key) or short(key, shown_keys) for key in shown_keys}


def typed_keys(rows: Iterable[Row]) -> set[str]:
    """The keys that somebody typed for any of the runs."""
    words = chain.from_iterable(row.get("overrides") or () for row in rows)
    return {str(word).lstrip("+~").partition("=")[0] for word in words}


def short(key: str, beside: Iterable[str] = ()) -> str:
    """The title of a setting: that of a part is its group, and the last part of its key is enough where no other key `beside`
    it ends so; but not the title of a figure or the name of a column that every run has."""
    title = key.removesuffix("._target_")
    last = title.rpartition(".")[2]
    others = [other for other in beside if other != key]
    if beside and last not in _TAKEN and not any(last in (o, o.rpartition(".")[2]) for o in others):
        title = last
    return key if title in TITLES.values() else title


_TAKEN = {*TITLES.values(), *_NOT_SETTINGS, "value"}  # the last says nothing without its group: beta.value


def table(rows: Sequence[Row], columns: dict[str, str], width: int | None = None) -> list[str]:
    """Lines of text, the titles first; figures are aligned on the right, the rest on the left.

    Arguments:
        width: of the terminal. What does not fit is left out, and a last line names it.
    """
    fitting, left_out, used = [], [], -2
    for key, title in columns.items():
        column = _aligned(key, title, [row.get(key) for row in rows])
        used += len(column[0]) + 2
        if width is None or used <= width:
            fitting.append(column)
        else:
            left_out.append(title)
    lines = ["  ".join(line).rstrip() for line in zip(*fitting, strict=True)]
    return [*lines, f"no room for {', '.join(left_out)}; --columns shows them"] if left_out else lines


def _aligned(key: str, title: str, values: list[Any]) -> list[str]:
    """The cells of a column, its title first, all of one width."""
    title, texts = visible(title), {id(value): shown(key, value) for value in _once(values)}
    width = max(len(title), *map(len, texts.values()))
    aligned = str.rjust if "/" in key else str.ljust
    cells = {which: aligned(text, width) for which, text in texts.items()}
    return [aligned(title, width), *(cells[id(value)] for value in values)]


def shown(key: str, value: Any) -> str:
    """A value as a cell of the table: a figure to a hundredth, a class of this package by its name alone."""
    if "/" in key and value is None:
        return "-"
    if isinstance(value, float) and ("/" in key or key.startswith("timing.")):
        return f"{value:.0f}" if value.is_integer() else number(value)
    text = "" if value is None else " ".join(value) if key == "overrides" else str(value)
    text = text.rpartition(".")[2] if text.startswith("vae_lab.") else text
    return visible(text).replace("\n", "\\n")


def print_runs(rows: Sequence[Row], columns: dict[str, str] | None = None, asked: Iterable[str] = ()) -> None:
    """One line a run: the columns given, or those that differ with those asked for."""
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = columns or columns_of(rows, asked)
    lines = table(rows, shown, None if columns else terminal)
    print(*map(visible, [*lines, *_doubts(rows, shown), *_made_by_others(rows)]), sep="\n", flush=True)


def _doubts(rows: Sequence[Row], columns: Collection[str]) -> list[str]:
    """A line for each reason why a column of mutual information or marginal KL has numbers that cannot be trusted."""
    lines = []
    for key in columns:
        split, _, name = key.partition("/")
        if name not in DOUBTED:
            continue
        doubts = Counter(doubt for row in rows if (doubt := _doubt(row, split)))
        lines += [f"{key}: {n} of {len(rows)} not to be trusted ({doubt})" for doubt, n in doubts.items()]
    return lines


def _doubt(row: Row, split: str) -> str:
    sizes = row.get(f"spec.sizes.{split}")
    return information_doubt(lambda name: row.get(f"{split}/{name}"), sizes if isinstance(sizes, int) else None)


def _made_by_others(rows: Sequence[Row]) -> list[str]:
    from vae_lab.environment import code_version

    here = code_version()
    others = sum(bool(row["version"]) and (row["version"], row["commit"]) != tuple(here.values()) for row in rows)
    code = " ".join(filter(None, here.values()))
    return [f"{others} of {len(rows)} made by other code than this ({code})"] if others else []
