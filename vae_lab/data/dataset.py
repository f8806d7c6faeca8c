"""What a dataset is: known by its spec before it is read, three disjoint splits, and a fingerprint of its content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from vae_lab.data.binarization import Binarization, fixed
from vae_lab.data.loader import Batches
from vae_lab.distributions.streams import stream
from vae_lab.traits import Traits

Kind = Literal["binary", "unit", "real"]
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(SplitName)


class DataError(ValueError):
    """Data that cannot be used. One line: what is wrong, where, what is allowed, what to do."""


@dataclass(frozen=True)
class Spec:
    """What is known of a dataset without loading it. `kind` is that of x after binarisation."""

    shape: tuple[int, ...]  # of one x: (channels, height, width) for images, (d,) for vectors
    kind: Kind  # binary: {0, 1}; unit: grey in [0, 1]; real: any real number
    sizes: dict[str, int]  # examples in "train", "val", "test"
    labels: int | None = None  # number of classes

    @property
    def traits(self) -> Traits:
        kind = {"binary": {"binary_x", "unit_x"}, "unit": {"unit_x", "real_x"}, "real": {"real_x"}}[self.kind]
        return Traits(provides=frozenset(kind | ({"image"} if len(self.shape) == 3 else set())))


@dataclass(frozen=True)
class Split:
    """One split as it is stored, before any binarisation."""

    x: Tensor  # (n, *shape): bool, uint8 in {0..levels}, or float
    y: Tensor | None = None  # (n,), int64
    levels: int = 1  # the stored value that means 1


class Dataset:
    """The base of every dataset: a subclass gives `spec`, `read` and `fingerprint`.

    Attributes:
        binarization: what is done to grey x: `dynamic` (train redrawn at every presentation), `static` (one fixed
            draw), `threshold` (x > 1/2), `none`. Under the first two val and test are one fixed draw.
        binarization_seed: of the fixed draws; the run's seed does not reach them.
    """

    binarization: Binarization = "none"
    binarization_seed: int = 0

    def spec(self) -> Spec:
        """Without loading the data."""
        raise NotImplementedError

    def read(self) -> Mapping[str, Split]:
        """All splits, from where they are stored. Raises DataError."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """The SHA-256 of the data's content, in hex: the same wherever it lies and however it is compressed. The word
        "generated" for data that follow from the settings."""
        raise NotImplementedError

    def load(self, split: str) -> Split:
        """One of "train", "val", "test", read once for each dataset object."""
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}: use train, val or test")
        if not hasattr(self, "_splits"):
            self._splits = self.read()
        return self._splits[split]

    def batches(
        self,
        split: str,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
    ) -> Batches:
        """The loader of a split: for training with `shuffle` (x redrawn under `dynamic`, on the train split only),
        else for evaluation (x fixed)."""
        data, how = self.load(split), self.binarization
        redraw = shuffle and split == "train" and how == "dynamic" and data.x.dtype != torch.bool
        x = data.x if redraw else fixed(data.x, data.levels, how, self.binarization_seed, split)
        levels = 1 if x.dtype == torch.bool else data.levels
        return Batches(
            x,
            data.y,
            batch_size=batch_size,
            levels=levels,
            seed=seed,
            device=device,
            shuffle=shuffle,
            redraw=redraw,
        )

    def examples(self, path: Path) -> Tensor:
        """New data of the same form as a model sees them, (n, *shape) float32, from a file: an `.npy` array, or the key
        `x` of an `.npz`.

        What is binarised here is binarised there, as in a held-out split: one fixed draw, with a stream of its own. uint8
        grey levels are divided by 255. Raises DataError for another shape, and for values that this dataset cannot have.
        """
        from vae_lab.data.array_values import read_like  # it refuses with the error of this file

        spec = self.spec()
        x = read_like(path, spec, spec.kind if self.binarization == "none" else "unit")
        x = fixed(x, 255, self.binarization, self.binarization_seed, "new")
        return x.float().div_(255) if x.dtype == torch.uint8 else x.float()


def kind_after(kind: Kind, how: Binarization) -> Kind:
    """The kind of x after binarisation. Raises DataError for real x, which has no grey level to draw from."""
    if how == "none":
        return kind
    if kind == "real":
        raise DataError(
            f"dataset.binarization={how} needs x in [0, 1], and this x is real-valued: use dataset.binarization=none"
        )
    return "binary"


def split_rows(sizes: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Disjoint rows for each split, drawn at random (not stratified) by `seed`, which is not the run's.

    Example:
        >>> {name: len(rows) for name, rows in split_rows({"train": 5, "val": 2, "test": 1}, seed=0).items()}
        {'train': 5, 'val': 2, 'test': 1}
    """
    order = torch.randperm(sum(sizes.values()), generator=stream(seed, "split"))
    return dict(zip(sizes, order.split(list(sizes.values())), strict=True))
