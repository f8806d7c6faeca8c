"""Splits of data that a person brings: his own, or drawn at random by a seed; and what is in two of them."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.dataset import SPLITS, DataError, Split, split_rows
from vae_lab.errors import nearest

_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val", "devel": "val", "development": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
_AROUND = re.compile(r"[\W_]|(19|20)\d\d")  # train_set, val2017
_AFTER = re.compile(r"(set|split|data|images|imgs)$")


def split_of(name: str) -> str | None:
    """The split that a common spelling means, or None.

    Example:
        >>> [split_of(name) for name in ("TRAIN", "validation-set", "dev", "test2017", "bus")]
        ['train', 'val', 'val', 'test', None]
    """
    return _WORDS.get(_AFTER.sub("", _AROUND.sub("", name.lower())))


def hinted(name: str) -> str | None:
    """The split whose word begins or ends a name, or None.

    Example:
        >>> [hinted(name) for name in ("cars_train", "testA", "val-2", "trainer", "bus")]
        ['train', 'test', 'val', None, None]
    """
    words = [re.sub(r"(?<=[a-z])[A-Z]$", "", word).lower() for word in re.findall(r"[^\W\d_]+", name)]
    ends = (split for word in (words[0], words[-1]) if (split := _WORDS.get(word))) if words else iter(())
    return next(ends, None)


def spelled(names: Iterable[str]) -> str:
    """The names that stand for each split, in one line; a split that none stands for is drawn from train.

    Example:
        >>> spelled(["Train", "dev", "Train", "train"])
        'train (Train, train), val (dev), test (drawn from train)'
    """
    of = {split: sorted(name for name in set(names) if split_of(name) == split) for split in SPLITS}
    return ", ".join(f"{split} ({', '.join(own) or 'drawn from train'})" for split, own in of.items())


def drawn(n: int, fractions: Mapping[str, float], seed: int, where: object) -> dict[str, Tensor]:
    """Rows of each split of n examples, at random (not stratified). Raises DataError for a split without an example."""
    parts = {split: round(n * fraction) for split, fraction in fractions.items()}
    sizes = {"train": n - sum(parts.values()), **parts}
    if min(sizes.values()) < 1:
        asked = ", ".join(f"{split} {size}" for split, size in sizes.items())
        keys = " and ".join(f"dataset.{split}_fraction" for split in fractions)
        raise DataError(
            f"{where}: each split needs an example, and these would have {asked}: give more examples, or other {keys}"
        )
    return split_rows(sizes, seed)


def given(names: Sequence[str], fractions: Mapping[str, float], seed: int, where: object) -> dict[str, Tensor]:
    """Rows of each split, of examples that name theirs in any common spelling, in their own order. A val or test that none
    names is drawn from train, a fraction of it. Raises DataError for another name, and where train has no example."""
    of = {name: split_of(name) for name in set(names)}
    for name in sorted(name for name, split in of.items() if split is None):
        raise DataError(f"{where} has {name!r}: a split is train, val or test{nearest(name, SPLITS)}")
    each = np.asarray([of[name] for name in names])
    rows = {split: torch.from_numpy(np.flatnonzero(each == split)) for split in SPLITS}
    if not len(rows["train"]):
        raise DataError(f"{where} has no example of train: a split of your own needs one")
    lacking = {split: fraction for split, fraction in fractions.items() if not len(rows[split])}
    if lacking:
        parts = drawn(len(rows["train"]), lacking, seed, where)
        rows |= {split: rows["train"][numbers] for split, numbers in parts.items()}
    return rows


def repeated(splits: Mapping[str, Split]) -> dict[str, int]:
    """How many examples of val and of test are in train too, to the bit."""
    train = set(_keys(splits["train"].x))
    return {split: sum(key in train for key in _keys(splits[split].x)) for split in ("val", "test")}


def _keys(x: Tensor) -> list[bytes]:
    flat = np.ascontiguousarray(x.flatten(1).numpy())
    keys: list[bytes] = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1])))[:, 0].tolist()
    return keys
