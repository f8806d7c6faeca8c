"""Interpolation: what lies between two examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_lab.data.dataset import DataError, Dataset, SplitName
from vae_lab.errors import RequestError
from vae_lab.evaluation.interpolate import ITERATIONS, NO_GEODESIC, Way, length
from vae_lab.evaluation.nll import importance_nll
from vae_lab.evaluation.panels import mean_of
from vae_lab.finished import Run
from vae_lab.models import Batch
from vae_lab.settings import Count, NonNegativeInt
from vae_lab.uses.use import Answer, Steps, as_rows

Example = NonNegativeInt | str


@dataclass(frozen=True)
class Interpolate:
    """A way through the latent space between two examples, decoded at every step.

    Its length is measured in z and, through the decoder's mean, in x, each also relative to the straight line between its
    ends: 1 is straight, and a way in x that bends or jumps is longer. The NLL of a draw at each step says whether what lies
    between is as likely as the ends. A picture is one row: the first example, the steps, the second.

    Arguments:
        first, second: rows of the split, or files of new data, of which the first example is taken. split: of the rows.
        steps: points, both ends included.
        way: a straight line in z; a great circle (`spherical`); the way that is shortest in x (`geodesic`).
        iterations: of the search for a geodesic, at most. nll_samples: of each NLL. seed: of the draws.
    """

    first: Example = 0
    second: Example = 1
    split: SplitName = "test"
    steps: Steps = 8
    way: Way = "linear"
    iterations: Count = ITERATIONS
    nll_samples: Count = 100
    seed: int = 0

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        a, b = (self._example(dataset, name) for name in ("first", "second"))
        if self.way == "geodesic" and mean_of(run.model.decode(run.encode(a[None]))) is None:
            raise RequestError(f"interpolate.way: geodesic given; {NO_GEODESIC} (choose linear or spherical)")
        made = run.interpolate(a, b, self.steps, self.way, self.seed, self.iterations)
        likelihood = importance_nll(run.model, [Batch(made.draw)], self.nll_samples, self.seed)
        numbers: dict[str, Any] = {"z": _lengths(made.z), "x": None if made.mean is None else _lengths(made.mean)}
        numbers["nll"] = {f"step_{i}": float(value) for i, value in enumerate(likelihood.nll)}
        errors = likelihood.variances.nll.sqrt()
        numbers["nll_error"] = {f"step_{i}": float(value) for i, value in enumerate(errors)}
        shown = {"draw": made.draw} if made.mean is None else {"mean": made.mean, "draw": made.draw}
        rows = {name: torch.cat([a[None], one, b[None]]) for name, one in shown.items()}
        if made.draw.dim() != 4:
            return Answer(numbers, tables=as_rows(dataset, rows))
        return Answer(numbers, {name: one.clamp(0, 1) for name, one in rows.items()}, columns=self.steps + 2)

    def _example(self, dataset: Dataset, name: str) -> Tensor:
        """(*shape)."""
        given = getattr(self, name)
        if isinstance(given, str):
            try:
                return dataset.examples(Path(given))[0]
            except DataError as error:
                raise RequestError(f"interpolate.{name}: {error}") from error
        size = dataset.spec().sizes[self.split]
        if given >= size:
            raise RequestError(f"interpolate.{name}: {given} given; the {self.split} split has {size} examples, from 0")
        return next(iter(dataset.batches(self.split, given + 1))).x[given]


def _lengths(points: Tensor) -> dict[str, float | None]:
    whole, straight = length(points), length(points[[0, -1]])
    return {"length": whole, "relative": whole / straight if straight else None}
