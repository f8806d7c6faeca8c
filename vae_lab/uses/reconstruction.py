"""Reconstruction: an example through the encoder and back, and how blurred it comes out."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.evaluation.reconstruct import Reconstructions
from vae_lab.evaluation.sharpness import high_frequency_power, laplacian_variance
from vae_lab.finished import Run
from vae_lab.settings import Count
from vae_lab.uses.use import Answer, as_rows

_BATCH, _SHOWN = 500, 16
SHARPNESS = {"laplacian_variance": laplacian_variance, "high_frequency_power": high_frequency_power}


@dataclass(frozen=True)
class Reconstruct:
    """Originals, their reconstructions and the errors; for images also how sharp they are beside the data, the decoder's
    mean and draws from p(x|z) apart, since much of what people call blur is the mean.

    Arguments:
        split: of which examples. count: how many are measured, the first ones. seed: of the draws.
    """

    split: SplitName = "test"
    count: Count = 500
    seed: int = 0
    takes_labelled: ClassVar[bool] = True

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        shown: dict[str, Tensor] = {}
        sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        rows: defaultdict[str, list[Tensor]] = defaultdict(list)
        done = 0
        for batch in dataset.batches(self.split, _BATCH):
            x = batch.x[: self.count - done]
            y = None if batch.y is None else batch.y[: len(x)]
            made = run.reconstruct(x, self.seed, done, y)._asdict()
            found = {name: one for name, one in made.items() if one is not None}
            for name, one in found.items():
                sums["mean_squared_error", name] += float((one - x).double().square().flatten(1).mean(1).sum())
            if x.dim() == 4 and min(x.shape[-2:]) >= 3:
                for measure, of in SHARPNESS.items():
                    for name, one in {"data": x, **found}.items():
                        sums[measure, name] += float(of(one).sum())
            if not done and x.dim() == 4:
                shown = {"originals": x, **found}
                shown |= {"errors": (found["mean"] - x).abs()} if "mean" in found else {}
            for name, one in {"originals": x, **found}.items() if x.dim() == 2 else ():
                rows[name].append(one)
            done += len(x)
            if done == self.count:
                break
        numbers: dict[str, Any] = {"examples": done}
        for measure in dict.fromkeys(measure for measure, _ in sums):
            numbers[measure] = _told({name: total / done for (of, name), total in sums.items() if of == measure})
        tables = as_rows(dataset, {name: torch.cat(parts) for name, parts in rows.items()})
        return Answer(numbers, {name: one[:_SHOWN].clamp(0, 1) for name, one in shown.items()}, tables=tables)


def _told(means: dict[str, float]) -> dict[str, float | None]:
    """The means over examples, None where there is no mean of p(x|z), and, of what is measured on the data too, relative
    to it."""
    told: dict[str, float | None] = {name: means.get(name) for name in Reconstructions._fields}
    if "data" in means:
        data = means["data"]
        relative = {f"{n}_relative": None if v is None or not data else v / data for n, v in told.items()}
        told = {"data": data, **told, **relative}
    return told
