"""Interpolation: what lies between two examples."""

from dataclasses import dataclass
from typing import Any

import torch

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.errors import RequestError
from vae_lab.evaluation.interpolate import Way, length
from vae_lab.evaluation.nll import importance_nll
from vae_lab.finished import Run
from vae_lab.models import Batch
from vae_lab.settings import Count, NonNegativeInt
from vae_lab.uses.use import Answer, Steps


@dataclass(frozen=True)
class Interpolate:
    """A way through the latent space between two examples, decoded at every step.

    Its length is measured in z and, through the decoder's mean, in x, each also relative to the straight line between its
    ends: 1 is straight, and a way in x that bends or jumps is longer. The NLL of a draw at each step says whether what lies
    between is as likely as the ends. A picture is one row: the first example, the steps, the second.

    Arguments:
        first, second: rows of the split. split: of which the examples are. steps: points, both ends included.
        way: a straight line in z, or a great circle (`spherical`). nll_samples: of each NLL. seed: of the draws.
    """

    first: NonNegativeInt = 0
    second: NonNegativeInt = 1
    split: SplitName = "test"
    steps: Steps = 8
    way: Way = "linear"
    nll_samples: Count = 100
    seed: int = 0

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        size = dataset.spec().sizes[self.split]
        for name in ("first", "second"):
            if getattr(self, name) >= size:
                raise RequestError(
                    f"interpolate.{name}: {getattr(self, name)} given; the {self.split} split has {size} examples, from 0"
                )
        x = next(iter(dataset.batches(self.split, size))).x
        a, b = x[self.first], x[self.second]
        made = run.interpolate(a, b, self.steps, self.way, self.seed)
        nll = importance_nll(run.model, [Batch(made.draw)], self.nll_samples, self.seed).nll
        numbers: dict[str, Any] = {"z": _lengths(made.z), "x": None if made.mean is None else _lengths(made.mean)}
        numbers["nll"] = {f"step_{i}": float(value) for i, value in enumerate(nll)}
        if made.draw.dim() != 4:
            return Answer(numbers)
        shown = {"draw": made.draw} if made.mean is None else {"mean": made.mean, "draw": made.draw}
        rows = {name: torch.cat([a[None], one, b[None]]) for name, one in shown.items()}
        return Answer(numbers, {name: one.clamp(0, 1) for name, one in rows.items()}, columns=self.steps + 2)


def _lengths(points: torch.Tensor) -> dict[str, float | None]:
    whole, straight = length(points), length(points[[0, -1]])
    return {"length": whole, "relative": whole / straight if straight else None}
