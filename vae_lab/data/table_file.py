"""A table in a file, csv, parquet or npy: its columns by name, as numbers or as words."""

import csv
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from vae_lab.data.array_file import ArrayFile
from vae_lab.data.dataset import DataError
from vae_lab.data.table_cells import Texts, column_of, number, numerals
from vae_lab.errors import first_line

ADVICE = "set dataset.path= to a .csv, .parquet or .npy file"


class Content(NamedTuple):
    """What was asked for of a table of n rows.

    Attributes:
        numbers: (n, d), float64, NaN where there is none.
        words: columns as text, "" where there is none.
        text: of each column that was to be numbers, the cells that are none.
        rows: where each row is found.
    """

    numbers: np.ndarray
    words: list[list[str]]
    text: Texts
    rows: Sequence[int]
    row: str  # what the file's rows are called

    def place(self, row: int) -> str:
        return f"{self.row} {self.rows[row]}"


class TableFile(Protocol):
    """One form of file. Raises DataError for one that is not whole."""

    headed: bool  # whether a first line holds the names
    path: Path
    names: list[str]

    def read(self, numbers: Sequence[str], words: Sequence[str]) -> Content:
        """Columns by name, all of which are there."""


def open_table(path: Path) -> TableFile:
    """The table at `path`, of which only the names of the columns are read. Raises DataError."""
    if path.suffix.lower() not in _FORMS:
        raise DataError(f"{path}: a table is a .csv, .tsv, .parquet or .npy file")
    if not path.is_file():
        raise DataError(f"{path} is missing: {ADVICE}")
    table = _FORMS[path.suffix.lower()](path)
    twice = sorted({name for name in table.names if table.names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns named {twice[0]!r}: columns are chosen by name, so give each its own")
    return table


class CsvFile:
    """Text in UTF-8: the names, then a row a line. Cells are parted by commas, semicolons or tabs, whichever makes the most of
    the first line."""

    headed = True

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._whole(), path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
        self.delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([head], delimiter=mark), ())))
        self.names = next(self._records(), (0, list[str]()))[1]
        if not self.names:
            raise DataError(f"{path} is empty: the names of the columns belong in its first line")

    def read(self, numbers: Sequence[str], words: Sequence[str]) -> Content:
        wanted, others = ([self.names.index(name) for name in some] for some in (numbers, words))
        values, lines, text = array("d"), array("L"), Texts()
        found: list[list[str]] = [[] for _ in words]
        records = self._records()
        next(records)
        for line, cells in records:
            if len(cells) != len(self.names):
                raise DataError(
                    f"{self.path}: line {line} has {len(cells)} cells, and the first {self._expected(cells)}"
                )
            try:
                values.extend(numerals([cells[i] for i in wanted]))
            except ValueError:
                row, where = len(lines), f"line {line}"
                values.extend([number(cells[i], self.names[i], row, where, text) for i in wanted])
            lines.append(line)
            for column, i in zip(found, others, strict=True):
                column.append(cells[i].strip())
        return Content(np.asarray(values).reshape(len(lines), len(wanted)), found, text, lines, "line")

    def _expected(self, cells: Sequence[str]) -> str:
        halves = self.delimiter == "," and len(cells) == 2 * len(self.names)
        return f"{len(self.names)}" + (": decimal commas? write 3.5 for 3,5, or part the cells by ;" if halves else "")

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        with self._whole(), self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter, skipinitialspace=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, [*map(str.strip, cells)] if reader.line_num == 1 else cells

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path} is no UTF-8 text (byte {error.object[error.start]:#x}): save it as UTF-8"
            ) from None
        except (OSError, csv.Error) as error:
            raise DataError(f"{self.path} cannot be read as csv ({first_line(error)})") from None


class ParquetFile:
    """Needs pyarrow, the extra `parquet`."""

    headed = False

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise DataError(f"{path}: Parquet needs one more package: pip install 'vae-lab[parquet]'") from error
        self.path = path
        with self._whole():
            self.file = parquet.ParquetFile(path)
            self.names = list(self.file.schema_arrow.names)

    def read(self, numbers: Sequence[str], words: Sequence[str]) -> Content:
        with self._whole():
            table = self.file.read(columns=[*numbers, *words])
        text = Texts()
        values = [_cast(table[name], name, text) for name in numbers]
        found = [["" if cell is None else str(cell) for cell in table[name].to_pylist()] for name in words]
        return Content(_side_by_side(values, table.num_rows), found, text, range(table.num_rows), "row")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (OSError, ArrowException) as error:
            raise DataError(f"{self.path} is not a whole Parquet file ({first_line(error)}): {ADVICE}") from None


def _cast(column: Any, name: str, text: Texts) -> np.ndarray:
    """A column of Arrow's as float64, NaN where there is none; the cells that are no numbers go to `text`."""
    import pyarrow

    try:
        numbers: np.ndarray = column.cast(pyarrow.float64(), safe=False).to_numpy()
        return numbers
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return column_of(column.to_pylist(), name, text)


class NpyFile:
    """An array (n, d), whose columns are named 0, 1, ..., or a structured one (n,), whose fields are the columns."""

    headed = False

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, ArrayFile(path, ADVICE)
        shape, dtype = self.file.headers["x"].shape, self.file.headers["x"].dtype
        if (dtype.names and len(shape) != 1) or (not dtype.names and len(shape) != 2):
            raise DataError(f"{path} has shape {shape}: a table is (n, d), or (n,) of a structured dtype")
        self.names = [*dtype.names] if dtype.names else [*map(str, range(shape[1]))]

    def read(self, numbers: Sequence[str], words: Sequence[str]) -> Content:
        array, text = self.file.read("x"), Texts()
        columns = {name: array[name] if array.dtype.names else array[:, int(name)] for name in (*numbers, *words)}
        values = [_floats(columns[name], name, text) for name in numbers]
        found = [_strings(columns[name]) for name in words]
        return Content(_side_by_side(values, len(array)), found, text, range(len(array)), "row")


def _floats(column: np.ndarray, name: str, text: Texts) -> np.ndarray:
    if column.dtype.kind in "biuf" and column.ndim == 1:
        return column.astype(np.float64)
    return column_of(_strings(column), name, text)


def _strings(column: np.ndarray) -> list[str]:
    """An array's cells as text, bytes as UTF-8."""
    words = np.char.decode(column, "utf-8", "replace") if column.dtype.kind == "S" else column
    return [*map(str, words.astype(str) if words.ndim == 1 else words)]


def _side_by_side(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    return np.stack(columns, 1) if columns else np.empty((rows, 0))


_FORMS: dict[str, Callable[[Path], TableFile]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".parquet": ParquetFile,
    ".npy": NpyFile,
}
