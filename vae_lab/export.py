"""Rows as a file that other tools read: CSV, or Parquet with a type for every column."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_lab.csv_text import csv_text
from vae_lab.errors import RequestError
from vae_lab.index import Row
from vae_lab.selection import plain
from vae_lab.store import replacing, write_atomically


def export(rows: Sequence[Row], columns: Sequence[str], file: Path) -> None:
    """Writes the columns of rows; what is no number, truth value or text is written as JSON. Errors: `RequestError`."""
    writers = {".csv": _csv, ".parquet": _parquet}
    if file.suffix not in writers:
        raise RequestError(f"--export: {file}: a table is written as .csv or .parquet")
    writers[file.suffix]({key: [_cell(row.get(key)) for row in rows] for key in columns}, file)


def _cell(value: Any) -> str | int | float | bool | None:
    text = value if value is None or isinstance(value, (str, int, float)) else plain(value)
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


def _csv(columns: Mapping[str, list[Any]], file: Path) -> None:
    write_atomically(file, csv_text([columns, *zip(*columns.values(), strict=True)]))


def _parquet(columns: Mapping[str, list[Any]], file: Path) -> None:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise RequestError("--export: Parquet needs one more package: pip install 'vae-lab[parquet]'") from error
    table = arrow.table({key: arrow.array(*_typed(values, arrow)) for key, values in columns.items()})
    with replacing(file) as temporary:
        parquet.write_table(table, temporary)


def _typed(values: list[Any], arrow: Any) -> tuple[list[Any], Any]:
    """The values of a column and the narrowest type that holds them all; text, where they are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return values, arrow.bool_()
    if kinds == {int} and all(abs(value or 0) < 2**63 for value in values):
        return values, arrow.int64()
    if kinds and kinds <= {int, float}:
        return values, arrow.float64()
    return [None if value is None else plain(value) for value in values], arrow.string()
