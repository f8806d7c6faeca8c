"""What the commands print alike."""

import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from vae_lab.amounts import number, visible


def say_error(error: Exception, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    print(visible(f"vae-lab: {error}"), file=sys.stderr, flush=True)
    return code


def say_aside(line: str) -> None:
    """Says what a command is at, on stderr: its answer is on stdout."""
    print(visible(line), file=sys.stderr, flush=True)


def warn(requests: Iterable[Any]) -> None:
    """Says on stderr what the requests' parts say of them, each line once."""
    for line in dict.fromkeys(line for request in requests for line in request.cautions):
        print(visible(f"warning: {line}"), file=sys.stderr, flush=True)


def figures_of(result: dict[str, Any]) -> str:
    metrics, timing = result["metrics"], result["timing"]
    seconds = sum(timing.get(name) or 0.0 for name in ("seconds_fit", "seconds_evaluate"))
    elbo, nll, rate = (number(metrics.get(f"test/{name}")) for name in ("elbo", "nll", "rate"))
    active = number(metrics.get("test/active_units"), 0)
    return f"test elbo {elbo}  nll {nll}  rate {rate}  active {active}  {seconds:.0f} s"


def only_shows(asked: Any) -> bool:
    """Whether one of Hydra's flags asks for a text instead of a run."""
    return bool(asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion)


def without_flag(argv: list[str], flag: str) -> tuple[list[str], bool]:
    """The arguments without a flag of ours, which Hydra does not know, and whether it was there."""
    return [word for word in argv if word != flag], flag in argv


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], file: TextIO) -> None:
    """A table as wide as the terminal; elsewhere as wide as its text."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*titles, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row))
    Console(file=file, width=None if file.isatty() else 500).print(table)
