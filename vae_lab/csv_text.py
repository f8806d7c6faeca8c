"""Rows as CSV that a spreadsheet opens as it is read here: a text is a text, whoever wrote it, and never a formula."""

import csv
import io
from collections.abc import Iterable
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Returns rows as CSV.

    Example:
        >>> csv_text([["arm", "nll"], ["=1+1", -2.5], ["-3", None]])
        "arm,nll\\n'=1+1,-2.5\\n-3,\\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([neutral(cell) for cell in row] for row in rows)
    return text.getvalue()


def neutral(cell: Any) -> Any:
    """Returns a cell with an apostrophe before a text that a spreadsheet would take for a formula: it shows the text then, and
    runs nothing. A number stays one, written as text too."""
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", "\\r")  # which Python's writer does not quote, and which ends a row for every reader
    if not cell.lstrip(" \n").startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
