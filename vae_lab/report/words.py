"""Numbers as a reader sees them, the same on the page, on the terminal and in the verdict."""

from collections.abc import Mapping
from typing import Any

from vae_lab.amounts import NOTHING, number

__all__ = ["NOTHING", "first_line", "interval", "number", "strength"]


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """Both ends in brackets: `[0.10, 0.70]`."""
    return f"[{number(low, digits)}, {number(high, digits)}]" if low is not None else "[no interval]"


def strength(settings: Mapping[str, Any]) -> str:
    """The settings of one point of an arm: `rate.nats=0.1, beta.value=2`."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def first_line(text: str | None) -> str:
    """The first line of an error that says anything."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[0] if lines else ""
