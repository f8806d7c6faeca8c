"""Numbers as a reader sees them, the same on the page, on the terminal and in the verdict."""

from collections.abc import Mapping
from typing import Any

NOTHING = "n/a"


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number in fixed decimals; one that is not zero never reads as zero.

    Example:
        >>> number(1.005), number(-0.0001), number(0.0), number(2.5, sign=True), number(None)
        ('1.00', '-0.0001', '0.00', '+2.50', 'n/a')
    """
    if value is None:
        return NOTHING
    plus = "+" if sign else ""
    fixed = f"{value:{plus}.{digits}f}"
    if float(fixed) == 0:
        return f"{value:{plus}.1g}" if value else f"{0:.{digits}f}"
    return fixed


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
