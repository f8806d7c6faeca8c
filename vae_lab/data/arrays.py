"""A person's own arrays: x (and y) from an `.npy` or `.npz` file, its shape and kind read from it and checked."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.array_file import ArrayFile, Header
from vae_lab.data.array_values import kind_of, shape_of, stored
from vae_lab.data.binarization import Binarization
from vae_lab.data.dataset import SPLITS, DataError, Dataset, Kind, Spec, Split, kind_after, split_rows
from vae_lab.data.files import content_hash, version
from vae_lab.data.magnitude import some
from vae_lab.settings import Filled, Fraction, NonNegativeInt

ADVICE = "save it with numpy.save or numpy.savez, and set dataset.path= to it"
KEYS = {"x", "y", *SPLITS, *(f"{split}_y" for split in SPLITS)}


class Arrays(Dataset):
    """x from a file: an `.npy` array or the key `x` of an `.npz` (labels in `y`), split at random by fractions; or an
    `.npz` with the splits made, in `train`, `val` and `test` (labels in `train_y`, `val_y`, `test_y`).

    x is (n, d), (n, height, width) or (n, channels, height, width), of dtype bool, uint8 or float. Of what kind it is
    under `auto`: bool, and numbers that are all 0 or 1, are binary; other uint8 are grey levels of 255; other floats in
    [0, 1] are grey; floats beyond are real.

    An array of 256 MB and more stays in its file, so that it may be larger than memory and all processes of a machine
    share it: bool, uint8 or float32, C order, in an `.npy` or an uncompressed `.npz`. Training reads a few batches ahead; a
    draw or threshold that is made once is kept in memory. Such a file must not change meanwhile: the run fails if it did.

    Raises DataError, at `spec` where a header shows it and at `load` otherwise, for a file that is missing or damaged,
    pickled objects, wrong shapes, NaN and infinity (with the row), and values that are not of the declared kind.

    Arguments:
        path: the file.
        kind: of x before binarisation, or auto.
        binarization: none, dynamic, static or threshold; the latter three for x in [0, 1].
        binarization_seed: of the fixed draws of val and test (and of train, if static).
        val_fraction, test_fraction: of the examples, where the file has no splits.
        split_seed: of the random split.
        without: classes that train and val leave out, and test keeps.
    """

    cosmetic = frozenset({"path"})  # where the data lie is no part of a run's identity

    def __init__(
        self,
        path: Filled,
        kind: Literal["auto", "binary", "unit", "real"] = "auto",
        binarization: Binarization = "none",
        binarization_seed: int = 0,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: int = 0,
        without: Sequence[NonNegativeInt] = [],
    ) -> None:
        self.path, self.kind = Path(path).expanduser(), kind
        self.binarization, self.binarization_seed, self.split_seed = binarization, binarization_seed, split_seed
        self.without = without
        self.fractions = {"val": val_fraction, "test": test_fraction}

    def spec(self) -> Spec:
        return self.trained_on(self._whole)

    def fingerprint(self) -> str:
        return content_hash(self.path, _content)

    def read(self) -> dict[str, Split]:
        assert self._whole  # all is checked before anything is read
        self._read_at = version(self.path)
        whole = {key: self._split(key, "y" if key == "x" else f"{key}_y") for key in self._keys}
        if "x" not in whole:
            return whole
        rows = split_rows(self._sizes, self.split_seed)
        return {split: whole["x"].at(numbers) for split, numbers in rows.items()}

    def _split(self, key: str, labels: str) -> Split:
        array = self._file.read(key)
        x = stored(array, self._kind, f"{self.path}: {key}")
        mapped = np.shares_memory(x.numpy(), array)
        return Split(x, self._y(labels, len(x)), 255 if x.dtype == torch.uint8 else 1, mapped=mapped)

    def _top_level(self, x: Tensor) -> int:
        return 255 if self.kind == "unit" else super()._top_level(x)

    def plain(self) -> np.ndarray | None:
        """Of the file, which may have float64."""
        if self._kind == "binary":
            return None
        x = some(self._file.read(next(iter(self._keys))))
        return x / 255 if self._kind == "unit" and x.dtype == np.uint8 else x

    @property
    def rescaling(self) -> str:  # type: ignore[override]
        table = ", or use dataset=table, which does so and reports nats in the units of the file"
        by_table = len(self._shape) == 1 and not self._file.zipped
        way = "subtract the mean and divide by the standard deviation, in float64, before it is saved"
        return way + table * by_table if self._kind == "real" else "bring it to the whole of [0, 1] before it is saved"

    def cautions(self) -> list[str]:
        """Also of what is large and cannot be used where it lies."""
        found = super().cautions()
        for key, header in self._keys.items():
            if not self._file.is_large(key):
                continue
            usable = header.dtype in (bool, np.uint8, np.float32)
            why = [f"is {header.dtype}, not float32, uint8 or bool"] * (not usable)
            why += ["is in Fortran order"] * header.fortran_order + ["is compressed"] * self._file.is_compressed(key)
            if why:
                size = f"{key}, {header.nbytes / 2**30:.1f} GB, is read into memory"
                found.append(f"{self.path}: {size}, since it {' and '.join(why)}; else it could stay in its file")
        return found

    def check_unchanged(self) -> None:
        mapped = any(split.mapped for split in getattr(self, "_splits", {}).values())
        if mapped and version(self.path) != self._read_at:
            raise DataError(
                f"{self.path} has changed while it was in use, and what was trained on is neither the old file nor the "
                "new one: leave a file alone that is too large for memory, and ask again with rerun=true"
            )

    @cached_property
    def _whole(self) -> Spec:
        """Of all that the file has."""
        shape = self._shape
        return Spec(shape, kind_after(self._kind, self.binarization), dict(self._sizes), self._classes)

    @cached_property
    def _file(self) -> ArrayFile:
        return ArrayFile(self.path, ADVICE)

    @cached_property
    def _keys(self) -> dict[str, Header]:
        """The headers of x: one, or one a split."""
        headers = self._file.headers
        splits = {key: headers[key] for key in SPLITS if key in headers}
        if ("x" in headers) == bool(splits) or (splits and len(splits) < len(SPLITS)):
            found = ", ".join(headers) or "nothing"
            raise DataError(
                f"{self.path} has {found}: an .npz needs either x (and y), or train, val and test (and train_y ...)"
            )
        return splits or {"x": headers["x"]}

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        shapes = {key: shape_of(header, f"{self.path}: {key}") for key, header in self._keys.items()}
        if len(set(shapes.values())) > 1 or len({header.dtype for header in self._keys.values()}) > 1:
            kinds = ", ".join(f"{key} {header.shape[1:]} {header.dtype}" for key, header in self._keys.items())
            raise DataError(f"{self.path}: the splits differ in shape or dtype ({kinds}): make them alike")
        return next(iter(shapes.values()))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        if "x" not in self._keys:
            sizes = {key: header.shape[0] for key, header in self._keys.items()}
        else:
            n = self._keys["x"].shape[0]
            parts = {split: round(n * fraction) for split, fraction in self.fractions.items()}
            sizes = {"train": n - sum(parts.values()), **parts}
        if min(sizes.values()) < 1:
            asked = ", ".join(f"{split} {n}" for split, n in sizes.items())
            raise DataError(
                f"{self.path}: each split needs an example, and these would have {asked}: "
                f"give more examples, or other dataset.val_fraction and dataset.test_fraction"
            )
        return sizes

    @cached_property
    def _kind(self) -> Kind:
        if self.kind != "auto":
            return self.kind
        if next(iter(self._keys.values())).dtype == bool:
            return "binary"
        kinds = {kind_of(self._file.read(key), f"{self.path}: {key}") for key in self._keys}
        return "real" if "real" in kinds else "unit" if "unit" in kinds else "binary"

    @cached_property
    def _classes(self) -> int | None:
        names = ["y"] if "x" in self._keys else [f"{split}_y" for split in SPLITS]
        ys = [self._y(name, header.shape[0]) for name, header in zip(names, self._keys.values(), strict=True)]
        return max((int(y.max()) + 1 for y in ys if y is not None), default=None)

    def _y(self, key: str, n: int) -> Tensor | None:
        if key not in self._file.headers:
            return None
        y, where = self._file.read(key), f"{self.path}: {key}"
        wanted = f"labels are whole numbers from 0, one for each of {n} examples"
        if y.shape != (n,) or y.dtype.kind not in "iu":
            raise DataError(f"{where} is {y.shape} {y.dtype}: {wanted}")
        if y.min() < 0:
            raise DataError(f"{where} is {y.shape} {y.dtype} with {y.min()} in it: {wanted}")
        return torch.from_numpy(y.astype(np.int64))


def _content(path: Path) -> Iterator[bytes | memoryview]:
    file = ArrayFile(path, ADVICE)
    for key in sorted(KEYS & file.headers.keys()):
        header = file.headers[key]
        yield f"{key} {header.shape} {header.dtype.str}".encode()
        yield from file.content(key)
