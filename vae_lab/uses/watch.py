"""How far a use is."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Part = TypeVar("Part")


def watched(parts: Sequence[Part], what: str) -> Iterable[Part]:
    """The parts one by one, with a bar on standard error where that is a terminal."""
    return track(parts, what, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
