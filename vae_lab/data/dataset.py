"""What a dataset is: known by its spec before it is read, three disjoint splits, and a fingerprint of its content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.array_values import read_like, top_level, whole_numbers
from vae_lab.data.binarization import Binarization, fixed
from vae_lab.data.loader import Batches, is_whole
from vae_lab.data.magnitude import size, some, warnings
from vae_lab.data.spec import SPLITS as SPLITS
from vae_lab.data.spec import DataError as DataError
from vae_lab.data.spec import Kind as Kind
from vae_lab.data.spec import Spec as Spec
from vae_lab.data.spec import SplitName as SplitName
from vae_lab.distributions.streams import stream
from vae_lab.models import Batch


@dataclass(frozen=True)
class Split:
    """One split as it is stored, before any binarisation."""

    stored: Tensor  # (m, *shape): bool, uint8 in {0..levels}, float, or wider integers (tokens, counts)
    y: Tensor | None = None  # (n,), int64
    levels: int = 1  # the stored value that means 1
    rows: Tensor | None = None  # (n,): which of `stored` are the split's, in their order; None for all of them
    mapped: bool = False  # `stored` lies in a file, not in memory

    def __len__(self) -> int:
        return len(self.stored if self.rows is None else self.rows)

    @property
    def x(self) -> Tensor:
        """(n, *shape), as it is stored, in memory."""
        return self.stored if self.rows is None else self.stored[self.rows]

    def at(self, numbers: Tensor) -> "Split":
        """Some of its examples, by their numbers, (k,): copied, unless they stay in their file."""
        y = None if self.y is None else self.y[numbers]
        if not self.mapped:
            return replace(self, stored=self.x[numbers], y=y, rows=None)
        return replace(self, y=y, rows=numbers if self.rows is None else self.rows[numbers])


@dataclass(frozen=True)
class Factors:
    """What the examples of a split were made from.

    Attributes:
        sizes: how many values each factor can have, by its name. values: (n, factors), int64, from 0, in the order of x.
        ordered: the names of those whose values are in an order.
    """

    sizes: dict[str, int]
    values: Tensor
    ordered: frozenset[str] = frozenset()


class Dataset:
    """The base of every dataset: a subclass gives `spec`, `read` and `fingerprint`.

    Attributes:
        binarization: what is done to grey x: `dynamic` (train redrawn at every presentation), `static` (one fixed
            draw), `threshold` (x > 1/2), `none`. Under the first two val and test are one fixed draw.
        binarization_seed: of the fixed draws; the run's seed does not reach them.
        levels: the uint8 that means 1 in new data that are not all 0 and 1.
        without: classes, by `class_name`, that train and val leave out, and test keeps: what is new to a model then is known
            to be so.
    """

    binarization: Binarization = "none"
    binarization_seed: int = 0
    levels: int = 255
    without: Sequence[int | str] = ()

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

    def check_unchanged(self) -> None:
        """Raises DataError if data that were not read into memory have changed since they were loaded."""

    def factors(self, split: str) -> Factors | None:
        """The known factors of a split's examples; None for data of which nobody knows any."""
        return None

    @cached_property
    def repeated(self) -> dict[str, int]:
        """How many examples of val and of test are in train too; empty where nobody looks for it. It may load the data."""
        return {}

    rescaling = "bring x to values of about 1"
    """What to do about x of another size."""

    def plain(self) -> np.ndarray | None:
        """Some examples, (m, d), as they are before float32 holds them; None where they cannot be of any size."""
        if self.spec().kind != "real" or not self.load("train").stored.is_floating_point():
            return None
        return some(self.load("train").x.numpy())

    @cached_property
    def magnitude(self) -> float:
        """The size of the values of x, as a model sees them."""
        x = self.plain()
        return 1.0 if x is None else size(x)

    def cautions(self) -> list[str]:
        """What is to be known of the data before they are trained on, one line each. It may load them."""
        return self._in_two_splits() + self._ill_sized()

    def _ill_sized(self) -> list[str]:
        x = self.plain()
        return [] if x is None else warnings(x, self.rescaling)

    def _in_two_splits(self) -> list[str]:
        found = [f"{count} of {self.spec().sizes[split]} {split}" for split, count in self.repeated.items() if count]
        text = "examples are in train too, to the bit, and say nothing of new ones; remove them, or split by hand"
        return [f"{' and '.join(found)} {text}"] if found else []

    def load(self, split: str) -> Split:
        """One of "train", "val", "test", read once for each dataset object."""
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}: use train, val or test")
        if not hasattr(self, "_splits"):
            splits = self.read()
            self._splits = {name: self._kept(name, one, splits["train"].y) for name, one in splits.items()}
        return self._splits[split]

    def class_name(self, label: int) -> str:
        """Of the class that a label y means, by which `without` names it."""
        return str(label)

    def known(self, batch: Batch) -> Batch:
        """The examples of a batch of any split that are of no class in `without`: what is drawn as the training examples are,
        which the test split is not as a whole."""
        if not self.without:
            return batch
        classes = self.load("train").y
        assert batch.y is not None
        assert classes is not None
        rows = torch.isin(batch.y, classes.unique())
        return Batch(batch.x[rows], batch.y[rows], *(None if one is None else one[rows] for one in batch[2:]))

    def trains_on(self, y: Tensor, train_y: Tensor) -> Tensor:
        """Which of some labels, (n,), are of no class in `without`, (n,) bool.

        Arguments:
            train_y: the labels of all that is stored for training.

        Raises DataError for a class that these have not, and where none of them is left.
        """
        there = {self.class_name(label): label for label in train_y.unique().tolist()}
        for one in map(str, self.without):
            if one not in there:
                raise DataError(f"dataset.without: {one} given; the classes are {', '.join(there)}")
        left = ~torch.isin(train_y, out := train_y.new_tensor([there[str(one)] for one in self.without]))
        if not left.any():
            given = ", ".join(map(str, self.without))
            raise DataError(
                f"dataset.without: {given} given, which leaves no example in the train split; the classes are "
                f"{', '.join(there)}, and training needs one"
            )
        return ~torch.isin(y, out)

    def _kept(self, name: str, split: Split, train_y: Tensor | None) -> Split:
        if name == "test" or not self.without:
            return split
        if split.y is None or train_y is None:
            raise DataError("dataset.without: this dataset has no labels, by which a class could be left out")
        rows = self.trains_on(split.y, train_y)
        if not rows.any():
            given = ", ".join(map(str, self.without))
            raise DataError(f"dataset.without: {given} given, which leaves no example in the {name} split")
        return split.at(rows.nonzero()[:, 0])

    def trained_on(self, spec: Spec) -> Spec:
        """The spec of all that is stored, less the classes in `without`: for these the labels must be read."""
        sizes = {split: len(self.load(split)) for split in spec.sizes} if self.without else spec.sizes
        return replace(spec, sizes=sizes)

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
        redraw = shuffle and split == "train" and how == "dynamic" and data.stored.dtype != torch.bool
        if not (redraw or how == "none" or data.stored.dtype == torch.bool):
            x = fixed(data.x, data.levels, how, self.binarization_seed, split)
            data = Split(x, data.y)
        return Batches(
            data.stored,
            data.y,
            batch_size=batch_size,
            levels=1 if data.stored.dtype == torch.bool else data.levels,
            seed=seed,
            device=device,
            shuffle=shuffle,
            redraw=redraw,
            mapped=data.mapped,
            rows=data.rows,
        )

    def examples(self, path: Path) -> Tensor:
        """New data of the same form as a model sees them, (n, *shape) float32 (whole numbers: int64), from a file: an `.npy`
        array, or the key `x` of an `.npz`.

        uint8 is read as in training: 0 and 1 where there is nothing else, else grey levels. What is binarised here is
        binarised there, as in a held-out split: one fixed draw, with a stream of its own. Raises DataError for another shape,
        and for values that this dataset cannot have.
        """
        spec = self.spec()
        if is_whole(self.load("train").stored.dtype):
            return whole_numbers(path, spec)
        x = read_like(path, spec, spec.kind if self.binarization == "none" else "unit")
        levels = self._top_level(x) if x.dtype == torch.uint8 else 1
        if levels == 1 and x.dtype == torch.uint8:
            x = x.bool()
        x = fixed(x, levels, self.binarization, self.binarization_seed, "new")
        return x.float() if x.dtype == torch.bool else x.float().div_(levels)

    def _top_level(self, x: Tensor) -> int:
        """The value that means 1 in uint8 x."""
        return top_level(x, self.levels)

    def table(self, x: Tensor) -> list[list[Any]] | None:
        """Examples as they are served or drawn, as rows of the file that they are from, the titles first; None for data that are
        no table."""
        return None

    def identifiers(self, path: Path) -> dict[str, list[str]]:
        """What a person knows the `examples` of a file by, besides their number: columns of text by title, a cell for each
        example. Raises DataError."""
        return {}


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
