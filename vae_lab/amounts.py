"""Amounts as a person says them, the same on the terminal and on the page; and any text as a terminal may have it."""


def visible(text: str) -> str:
    r"""Returns a text with everything written out that is no letter, sign or end of line: a terminal obeys control
    characters, and a stored text may hold any.

    Example:
        >>> visible("no \x1b[31mroom\r")
        'no \\x1b[31mroom\\r'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> counted(1, "run"), counted(3, "run")
        ('1 run', '3 runs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """A time, to two or three digits.

    Example:
        >>> duration(48.2), duration(210.0), duration(7600.0)
        ('48 s', '3.5 min', '2.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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
