"""The codes of a run's examples, for work outside the lab."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import MinLen
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.errors import RequestError
from vae_lab.finished import Run
from vae_lab.models import Batch
from vae_lab.settings import Count
from vae_lab.uses.use import Answer

BATCH = 1000
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Encode:
    """The mean of q(z|x) of every example, its standard deviation where q has one, the label where the data have labels, and
    where the example is from, in `RUN/uses/encode_codes.npz`.

    The arrays, of n examples in the order of their splits: `mean` and `sd` (n, k), `label` (n,), `split` (n,), its name, and
    `index` (n,), the place in its split, from 0.

    Arguments:
        splits: which. count: how many examples of each, the first ones; null: all.
    """

    splits: Annotated[Sequence[SplitName], MinLen(1)] = ("train", "val", "test")
    count: Count | None = None
    takes_labelled: ClassVar[bool] = True

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        if len(set(self.splits)) < len(self.splits):
            raise RequestError(f"encode.splits: {list(self.splits)} given; a split is there twice")
        parts = {split: self._of_split(run, dataset, split) for split in self.splits}
        first, *_ = parts.values()
        codes = {name: np.concatenate([part[name] for part in parts.values()]) for name in first}
        numbers: dict[str, Any] = {
            "latents": codes["mean"].shape[1],
            "examples": {split: len(part["mean"]) for split, part in parts.items()},
            "arrays": ", ".join(codes),
        }
        return Answer(numbers, arrays={"codes": codes})

    def _of_split(self, run: Run, dataset: Dataset, split: SplitName) -> Arrays:
        """The arrays of a split's examples."""
        found: list[Arrays] = []
        left = self.count
        for batch in dataset.batches(split, BATCH):
            found.append(
                _codes(run, batch if left is None else batch._replace(x=batch.x[:left], y=_first(batch.y, left)))
            )
            left = None if left is None else left - len(found[-1]["mean"])
            if left == 0:
                break
        arrays = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        n = len(arrays["mean"])
        return {**arrays, "split": np.full(n, split), "index": np.arange(n)}


def _first(y: Tensor | None, count: int) -> Tensor | None:
    return None if y is None else y[:count]


@torch.no_grad()
def _codes(run: Run, batch: Batch) -> Arrays:
    q = run.model.given(batch.y).encode(batch.x)
    arrays = {"mean": run.encode(batch.x, batch.y).cpu().numpy()}
    sd = _sd(q)
    if sd is not None:
        arrays["sd"] = sd.cpu().numpy()
    if batch.y is not None:
        arrays["label"] = batch.y.cpu().numpy()
    return arrays


def _sd(q: Distribution) -> Tensor | None:
    """The standard deviation of each latent, or None of a law that has none in closed form."""
    try:
        return q.stddev
    except NotImplementedError:
        return None
