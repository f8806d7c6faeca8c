"""What the values of an array are as x: their shape, their kind, and what is refused."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.array_file import ArrayFile, Header
from vae_lab.data.spec import DataError, Kind, Spec

VALUES: dict[Kind, str] = {"binary": "0 and 1", "unit": "[0, 1]"}


def shape_of(header: Header, where: str) -> tuple[int, ...]:
    """The shape of one x: (d,), or (channels, height, width)."""
    if header.dtype.kind not in "bf" and header.dtype != np.uint8:
        raise DataError(f"{where} has dtype {header.dtype}: use bool, uint8 (grey levels 0 to 255), float32 or float64")
    return _shape_of(header, where)


def _shape_of(header: Header, where: str) -> tuple[int, ...]:
    n, *shape = header.shape or (0,)
    given = f"{where} has shape {header.shape}"
    if len(shape) not in (1, 2, 3):
        raise DataError(f"{given}: x is (n, d), (n, height, width) or (n, channels, height, width)")
    if n < 1 or min(shape) < 1:
        raise DataError(f"{given}, which is empty: give at least one example for each split")
    if len(shape) == 3 and shape[2] <= 4 < shape[0]:
        raise DataError(f"{given}, which looks like channels last: channels come first here, np.moveaxis(x, -1, 1)")
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def kind_of(x: np.ndarray, where: str) -> Kind:
    _check_finite(x, where)
    if all(((rows == 0) | (rows == 1)).all() for _, rows in _blocks(x)):
        return "binary"
    grey = x.dtype == np.uint8 or all(rows.min() >= 0 and rows.max() <= 1 for _, rows in _blocks(x))
    return "unit" if grey else "real"


def stored(x: np.ndarray, kind: Kind, where: str, says: str = "dataset.kind={kind} allows", advice: str = "") -> Tensor:
    """x as it is stored in a split: bool if binary; uint8 or float32 if grey; float32 if real. (n, h, w) gets its one
    channel. What is memory-mapped stays where it is if it is of that type already.

    Arguments:
        says, advice: who asks for this kind, and what to do about other values, in a refusal.
    """
    _check_finite(x, where)
    _check_range(x, kind, where, says.format(kind=kind), advice)
    dtype = bool if kind == "binary" else np.uint8 if kind == "unit" and x.dtype == np.uint8 else np.float32
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of torch: a file is not to be written to
        tensor = torch.from_numpy(x if stays(x, dtype) else np.array(x, dtype, order="C"))
    return tensor[:, None] if x.ndim == 3 else tensor


def read_like(path: Path, spec: Spec, kind: Kind) -> Tensor:
    """New x of the shape of a dataset and of a kind, as it is stored in a split, from an `.npy` file or the key `x` of an
    `.npz`."""
    file, where = ArrayFile(path, "save it with numpy.save, or with numpy.savez as x"), f"{path}: x"
    x = file.read("x")
    header = file.headers["x"]
    _check_shape(shape_of(header, where), header, spec, where)
    return stored(x, kind, where, "this run takes", "bring x to what it was trained on")


def whole_numbers(path: Path, spec: Spec) -> Tensor:
    """The same for a dataset of whole numbers: int64, no value changed."""
    file, where = ArrayFile(path, "save it with numpy.save, or with numpy.savez as x"), f"{path}: x"
    x, header = file.read("x"), file.headers["x"]
    _check_shape(_shape_of(header, where), header, spec, where)
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {x.dtype}: this run's examples are whole numbers (int64)")
    largest = 2**53 if x.dtype.kind == "f" else 2**63 - 1
    wrong = f"this run's examples are whole numbers, at most {largest} in {x.dtype}"
    _refuse(
        lambda rows: (rows != np.floor(rows)) | (rows > largest), x, where, wrong, "bring x to what it was trained on"
    )
    tensor = torch.from_numpy(x.astype(np.int64))
    return tensor[:, None] if x.ndim == 3 else tensor


def _check_shape(shape: tuple[int, ...], header: Header, spec: Spec, where: str) -> None:
    if shape != spec.shape:
        wanted = ("n", *spec.shape) if spec.shape[0] > 1 or len(spec.shape) == 1 else ("n", *spec.shape[1:])
        raise DataError(f"{where} has shape {header.shape}: this run's examples are ({', '.join(map(str, wanted))})")


def top_level(x: Tensor, own: int) -> int:
    """The value that means 1 in uint8 x, as `kind_of` reads it when it is trained on: 1 where x is all 0 and 1; else the
    top level `own` of a dataset's grey levels, or 255 where x exceeds it."""
    top = int(x.max())
    return min(level for level in (1, own, 255) if top <= level)


def stays(x: np.ndarray, dtype: type) -> bool:
    """Whether x can be used where it lies in its file: at any address, since what is taken of it are whole rows."""
    return isinstance(x, np.memmap) and x.dtype == dtype and x.flags.c_contiguous


def _check_finite(x: np.ndarray, where: str) -> None:
    if x.dtype.kind != "f":
        return

    def infinite(rows: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return ~np.isfinite(rows.astype(np.float32, copy=False))

    _refuse(infinite, x, where, "x must be finite in float32", "remove or repair it")


def _check_range(x: np.ndarray, kind: Kind, where: str, says: str, advice: str) -> None:
    allowed = f"{says} {VALUES.get(kind)}"
    if kind == "binary":
        _refuse(lambda rows: (rows != 0) & (rows != 1), x, where, allowed, advice or "use dataset.kind=unit or real")
    elif kind == "unit" and x.dtype != np.uint8:
        _refuse(
            lambda rows: (rows < 0) | (rows > 1), x, where, allowed, advice or "rescale x, or use dataset.kind=real"
        )


def _refuse(is_bad: Callable[[np.ndarray], np.ndarray], x: np.ndarray, where: str, allowed: str, advice: str) -> None:
    found = [first + np.flatnonzero(is_bad(rows).reshape(len(rows), -1).any(1)) for first, rows in _blocks(x)]
    rows = np.concatenate(found)
    if len(rows):
        row = x[rows[0]]
        value = row[is_bad(row[None])[0]][0]
        raise DataError(f"{where} has {value} in row {rows[0]} (of {len(rows)} such rows): {allowed}; {advice}")


_BLOCK = 2**24  # bytes


def _blocks(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Its rows, some megabytes at a time, with the number of the first: x may be larger than memory."""
    size = max(1, _BLOCK * len(x) // max(1, x.nbytes))
    return ((first, np.asarray(x[first : first + size])) for first in range(0, len(x), size))
