"""What the benchmarks write: a table for the eye, and a JSON with the facts of the machine."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def facts() -> dict[str, Any]:
    """Of the machine."""
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "machine": platform.machine(),
        "processor": names[0].partition(": ")[2] if names else platform.processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


def keep(name: str, **found: Any) -> None:
    """Writes `benchmarks/results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{name}.json"
    target.write_text(json.dumps({"facts": facts(), **found}, indent=2) + "\n")
    print(target.relative_to(RESULTS.parents[1]), flush=True)


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table, of which the first column is text."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the greatest."""
    digits = 0 if statistics.median(values) >= 100 else 1 if statistics.median(values) >= 10 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio_between(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The second least and the second greatest ratio of all rounds: of eleven they have the true median between them in 98.8 %
    of all cases (by the binomial distribution, whatever that of the rounds)."""
    found = sorted(x / y for x, y in zip(a, b, strict=True))
    return found[min(1, len(found) - 1)], found[max(-2, -len(found))]


def ratio_spread(a: Sequence[float], b: Sequence[float]) -> str:
    least, most = ratio_between(a, b)
    return f"{ratio(a, b):.2f} ({least:.2f} to {most:.2f})"


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median over rounds of a / b: what slowed down a round slowed down both."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
