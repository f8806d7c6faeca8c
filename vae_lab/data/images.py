"""A person's own pictures: a folder of PNG or JPEG files, with classes and splits by its subfolders."""

import functools
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Len
from torch import Tensor

from vae_lab.data.binarization import Binarization, fixed
from vae_lab.data.dataset import DataError, Dataset, Spec, Split, kind_after
from vae_lab.data.image_files import Fit, Found, depth, folder_hash, is_grey, pictures, place, read_all, read_picture
from vae_lab.data.magnitude import some
from vae_lab.data.split_folders import Layout, layout
from vae_lab.data.splits import drawn, given, repeated
from vae_lab.settings import Count, Filled, Fraction, NonNegativeInt

LARGEST = 256
"""Pixels a side of pictures that are taken as they are: larger ones are photographs, and meant to be made smaller."""


class Images(Dataset):
    """PNG and JPEG files below a folder, (channels, height, width), 256 levels; 65,536 where some have 16 bits and all of
    them are grey. Subfolders are the classes of what is in them, in the order of their names; subfolders train, val and test,
    in any common spelling, are the splits (with the classes in them, or in each class).

    The right way up (EXIF), on white where they are transparent. Raises DataError for a folder without pictures, a file that
    is no whole picture, pictures of several sizes where `size` is null, and some with a class beside some without.

    Arguments:
        path: the folder.
        size: height and width, or one number for both; null: as they are, all of one size.
        fit: crop (resized until they cover the size, the middle kept) or stretch (each side by itself).
        channels: grey, colour, or auto: grey if all of them are.
        binarization: none, dynamic, static or threshold, of grey ones.
        binarization_seed: of the fixed draws of val and test (and of train, if static).
        val_fraction, test_fraction: of the pictures, where no subfolders are splits; of train, where there is no such one.
        split_seed: of the random split.
        without: classes, by the names of their folders, that train and val leave out, and test keeps.
        splits: false takes every subfolder for a class, whatever it is called.
    """

    cosmetic = frozenset({"path"})  # where the data lie is no part of a run's identity

    def __init__(
        self,
        path: Filled,
        size: Count | Annotated[list[Count], Len(2, 2)] | None = None,
        fit: Fit = "crop",
        channels: Literal["auto", "grey", "colour"] = "auto",
        binarization: Binarization = "none",
        binarization_seed: int = 0,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: int = 0,
        without: Sequence[NonNegativeInt | str] = [],
        splits: bool = True,
    ) -> None:
        self.path, self.fit, self.channels = Path(path).expanduser(), fit, channels
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1]) if size else None
        self.binarization, self.binarization_seed, self.split_seed = binarization, binarization_seed, split_seed
        self.without, self.splits = without, splits
        self.fractions = {"val": val_fraction, "test": test_fraction}

    def spec(self) -> Spec:
        sizes = {split: len(rows) for split, rows in self._parts.items()}
        kind = kind_after("unit", self.binarization)
        return self.trained_on(Spec(self._shape, kind, sizes, len(self.label_names) or None))

    def fingerprint(self) -> str:
        """Of the same pictures it is another one where splits lie in folders that were once taken for classes."""
        pictures_now = pictures(self.path)[0]
        content = _hash(self.path.absolute(), pictures_now)
        plain = layout([one.name for one in pictures_now], self.splits, self.path).plain
        return content if plain else hashlib.sha256(f"{content} in splits".encode()).hexdigest()

    def read(self) -> dict[str, Split]:
        x = _pixels(self.path.absolute(), self._found, self.size, self.fit, self._grey, self._shape, self._deep)
        numbers = {name: number for number, name in enumerate(self.label_names)}
        y = torch.tensor([numbers[label] for label in self._labels]) if numbers else None
        return {
            split: Split(x[rows], None if y is None else y[rows], levels=1 if self._deep else 255)
            for split, rows in self._parts.items()
        }

    @cached_property
    def repeated(self) -> dict[str, int]:
        return repeated({split: self.load(split) for split in self._parts})

    def cautions(self) -> list[str]:
        others = pictures(self.path)[1]
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        lines = [self._layout.line] if self._layout.line else []
        cut = sum(bits != "8" for bits in _depths(self.path.absolute(), self._found))
        lines += (
            [f"of the 16 bits of {cut} pictures 8 are read: all must be grey for more"]
            if cut and not self._deep
            else []
        )
        return super().cautions() + lines + ([f"left out what is neither .png nor .jpg: {shown}"] if others else [])

    rescaling = "bring the levels to the whole of 0 to 255, or of 0 to 65535 of 16 bits (a mask to 0 and 255)"

    def plain(self) -> np.ndarray:
        return some(self.load("train").x.numpy()) / (1 if self._deep else 255)

    def examples(self, path: Path) -> Tensor:
        """Other pictures, (n, channels, height, width) float32, as the model sees them: a file, or all below a folder in the
        order of their names. What is binarised here is binarised there, by one fixed draw.

        Raises DataError as for the folder itself.
        """
        files = [place(path, one.name) for one in pictures(path)[0]]
        advice = "the model takes this size alone; bring it to that, or train with dataset.size= set, which does so"
        x = torch.from_numpy(read_all(files, self.size, self.fit, self._grey, self._shape, advice, self._deep))
        x = fixed(x, 255, self.binarization, self.binarization_seed, "new")
        return x.float().div_(255) if x.dtype == torch.uint8 else x.float()

    def identifiers(self, path: Path) -> dict[str, list[str]]:
        """The names of the files, below the folder."""
        return {"file": [one.name for one in pictures(path)[0]]}

    @cached_property
    def label_names(self) -> list[str]:
        """Of the classes, in their order; empty where there are none, or one."""
        names = sorted(set(self._labels))
        return names if len(names) > 1 else []

    def class_name(self, label: int) -> str:
        return self.label_names[label]

    @cached_property
    def _found(self) -> tuple[Found, ...]:
        if self.path.is_file():
            raise DataError(f"{self.path} is a file: set dataset.path= to a folder of pictures")
        return pictures(self.path)[0]

    @cached_property
    def _layout(self) -> Layout:
        return layout([one.name for one in self._found], self.splits, self.path)

    @cached_property
    def _labels(self) -> list[str]:
        names = self._layout.classes
        if len(set(map(len, names))) > 1:
            lone, other = (self._found[[*map(len, names)].index(n)].name for n in (0, 1))
            raise DataError(
                f"{self.path}: {other} has a class, by its folder, and {lone} has none: sort all of them, or none"
            )
        return [name for label in names for name in label]

    @cached_property
    def _parts(self) -> dict[str, Tensor]:
        """The rows of each split."""
        if self._layout.splits:
            return given(self._layout.splits, self.fractions, self.split_seed, f"{self.path} (in splits)")
        return drawn(len(self._found), self.fractions, self.split_seed, self.path)

    @cached_property
    def _grey(self) -> bool:
        if self.channels != "auto":
            return self.channels == "grey"
        return _all_grey(self.path.absolute(), self._found)

    @cached_property
    def _deep(self) -> bool:
        """Whether more than 8 bits of a pixel are kept: where some of them are grey ones of 16, and none is read in colour."""
        return self._grey and "16" in _depths(self.path.absolute(), self._found)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        first = self.path / self._found[0].name
        shape = read_picture(first, self.size, self.fit, self._grey).shape
        if self.size is None and max(shape) > LARGEST:
            raise DataError(
                f"{first} is {shape[1]}x{shape[2]} pixels, much for a model: set dataset.size= to what it is to see (32, say, or "
                "[48,64] for 48 high and 64 wide)"
            )
        return shape


@functools.lru_cache(maxsize=2)  # a study asks once for each of its runs
def _pixels(
    path: Path,
    found: Sequence[Found],
    size: tuple[int, int] | None,
    fit: Fit,
    grey: bool,
    shape: tuple[int, ...],
    deep: bool,
) -> Tensor:
    advice = f"{found[0].name} is; set dataset.size= to bring all of them to one"
    return torch.from_numpy(read_all([path / one.name for one in found], size, fit, grey, shape, advice, deep))


@functools.lru_cache(maxsize=4)
def _all_grey(path: Path, found: Sequence[Found]) -> bool:
    return all(is_grey(path / one.name) for one in found)


@functools.lru_cache(maxsize=4)
def _depths(path: Path, found: Sequence[Found]) -> list[str]:
    return [depth(path / one.name) for one in found]


@functools.lru_cache(maxsize=4)
def _hash(path: Path, found: Sequence[Found]) -> str:
    return folder_hash(path, found)
