"""Splits of data that a person brings: his own, or drawn at random by a seed; and what is in two of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.dataset import SPLITS, DataError, Split, split_rows
from vae_lab.errors import nearest


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


def given(names: Sequence[str], val_fraction: float, seed: int, where: object) -> dict[str, Tensor]:
    """Rows of each split, of examples that name theirs, in their own order. Where none is of val, it is drawn from train,
    `val_fraction` of it. Raises DataError for another name, and where train or test has no example."""
    of = np.asarray(names)
    for name in sorted(set(names) - set(SPLITS)):
        raise DataError(f"{where} has {name!r}: a split is train, val or test{nearest(name, SPLITS)}")
    rows = {split: torch.from_numpy(np.flatnonzero(of == split)) for split in SPLITS}
    for split in ("train", "test"):
        if not len(rows[split]):
            raise DataError(f"{where} has no example of {split}: a split of your own needs train and test")
    if not len(rows["val"]):
        both = drawn(len(rows["train"]), {"val": val_fraction}, seed, where)
        rows |= {split: rows["train"][both[split]] for split in both}
    return rows


def repeated(splits: Mapping[str, Split]) -> dict[str, int]:
    """How many examples of val and of test are in train too, to the bit."""
    train = set(_keys(splits["train"].x))
    return {split: sum(key in train for key in _keys(splits[split].x)) for split in ("val", "test")}


def _keys(x: Tensor) -> list[bytes]:
    flat = np.ascontiguousarray(x.flatten(1).numpy())
    keys: list[bytes] = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1])))[:, 0].tolist()
    return keys
