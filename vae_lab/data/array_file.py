"""An `.npy` or `.npz` file: its headers without its data, its arrays without pickles, its faults in one line."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from vae_lab.data.dataset import DataError
from vae_lab.data.files import line


class Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


class ArrayFile:
    """The arrays of a file by name; an `.npy` file has one, `x`. Everything here raises DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{path} is missing: set dataset.path= to an .npy or .npz file")
        with _one_line(path):
            self.zipped = zipfile.is_zipfile(path)

    @cached_property
    def headers(self) -> Mapping[str, Header]:
        with _one_line(self.path):
            if not self.zipped:
                with self.path.open("rb") as file:
                    return {"x": _header(file, self.path)}
            with zipfile.ZipFile(self.path) as archive:
                return dict(_members(archive, self.path))

    def read(self, key: str) -> np.ndarray:
        """Memory-mapped where the file allows it."""
        if self.headers[key].dtype.hasobject:
            raise DataError(
                f"{self.path}: {key} holds pickled objects, which could run code: save numbers, not objects"
            )
        with _one_line(self.path):
            if not self.zipped:
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            with np.load(self.path, allow_pickle=False) as archive:
                return archive[key]


def _members(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, Header]]:
    for name in sorted(archive.namelist()):
        if name.endswith(".npy"):
            with archive.open(name) as file:
                yield name.removesuffix(".npy"), _header(file, path)


def _header(file: IO[bytes], path: Path) -> Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return Header(shape, dtype)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a whole .npy or .npz file ({line(error)}): save it again with numpy") from None
