"""An `.npy` or `.npz` file: its headers without its data, its arrays without pickles, its faults in one line."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from vae_lab.data.spec import DataError
from vae_lab.errors import first_line

BROKEN = (OSError, ValueError, EOFError, KeyError, struct.error, zipfile.BadZipFile, zlib.error)
LARGE = 2**28
"""Bytes from which on an array stays in its file, where the system keeps in memory what is in use, once for all processes. A
smaller one is safer in memory: its file may change while it is used."""


_PART = 2**24  # bytes that are read at a time


class Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int  # of the data from the beginning of the header

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayFile:
    """The arrays of a file by name; an `.npy` file has one, `x`.

    Raises DataError for a file that is missing or not whole (with `advice`), and for pickled objects.
    """

    def __init__(self, path: Path, advice: str) -> None:
        self.path, self.advice = path, advice
        if not path.is_file():
            raise DataError(f"{path} is {'a folder' if path.is_dir() else 'missing'}: {advice}")
        with self._one_line():
            self.zipped = zipfile.is_zipfile(path)
            with path.open("rb") as file:
                if not self.zipped and file.read(2) == b"PK":
                    raise ValueError("it is an archive whose end is missing")

    @cached_property
    def headers(self) -> Mapping[str, Header]:
        with self._one_line():
            if not self.zipped:
                with self.path.open("rb") as file:
                    return {"x": _header(file)}
            with zipfile.ZipFile(self.path) as archive:
                return dict(_members(archive))

    def read(self, key: str) -> np.ndarray:
        """In memory; memory-mapped and not to be written to if it is `LARGE` and not compressed."""
        if key not in self.headers:
            raise DataError(f"{self.path} has no key `{key}`: {self.advice}")
        if self.headers[key].dtype.hasobject:
            raise DataError(
                f"{self.path}: {key} holds pickled objects, which could run code: save numbers, not objects"
            )
        with self._one_line():
            if self.is_large(key) and (start := self._start(key)) is not None:
                return self._mapped(self.headers[key], start)
            if not self.zipped:
                return np.load(self.path, allow_pickle=False)
            with np.load(self.path, allow_pickle=False) as archive:
                return archive[key]

    def content(self, key: str) -> Iterator[bytes | memoryview]:
        """The bytes of an array in C order; of what is mapped from a zip with the check that unzipping it makes."""
        with self._one_line():
            header = self.headers[key]
            if not (self.zipped and self.is_large(key)) or self.is_compressed(key) or header.fortran_order:
                yield np.ascontiguousarray(self.read(key)).reshape(-1).view(np.uint8).data
                return
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{key}.npy") as file:
                file.read(header.offset)
                while part := file.read(_PART):
                    yield part

    def is_large(self, key: str) -> bool:
        return self.headers[key].nbytes >= LARGE

    def is_compressed(self, key: str) -> bool:
        return self._start(key) is None

    def _start(self, key: str) -> int | None:
        """Where in the file an array's header is; None if the array is compressed. Of a zip's member 30 bytes, its name and
        an extra field stand before it."""
        if not self.zipped:
            return 0
        with zipfile.ZipFile(self.path) as archive, self.path.open("rb") as file:
            member = archive.getinfo(f"{key}.npy")
            file.seek(member.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
        header = self.headers[key]
        if member.file_size != header.offset + header.nbytes:
            raise ValueError(f"{key} has another size than its header says")
        return (
            None if member.compress_type != zipfile.ZIP_STORED else member.header_offset + 30 + int(name) + int(extra)
        )

    def _mapped(self, header: Header, start: int) -> np.ndarray:
        order: Literal["F", "C"] = "F" if header.fortran_order else "C"
        return np.memmap(self.path, header.dtype, "r", start + header.offset, header.shape, order)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except BROKEN as error:
            fault = f"{self.path} is not a whole .npy or .npz file ({first_line(error)})"
            raise DataError(f"{fault}: {self.advice}") from None


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Header]]:
    for name in sorted(archive.namelist()):
        if name.endswith(".npy"):
            with archive.open(name) as file:
                yield name.removesuffix(".npy"), _header(file)


def _header(file: IO[bytes]) -> Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    return Header(shape, dtype, fortran_order, file.tell())
