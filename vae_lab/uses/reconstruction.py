"""Reconstruction: an example through the encoder and back, and how blurred it comes out."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.evaluation.reconstruct import Reconstructions
from vae_lab.evaluation.sharpness import high_frequency_power, laplacian_variance
from vae_lab.finished import Run
from vae_lab.settings import Count
from vae_lab.uses.use import Answer

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

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        x = next(iter(dataset.batches(self.split, self.count))).x
        made = run.reconstruct(x, self.seed)
        found = {name: one for name, one in made._asdict().items() if one is not None}
        numbers: dict[str, Any] = {"examples": len(x), "mean_squared_error": {}}
        for name in made._fields:
            numbers["mean_squared_error"][name] = float((found[name] - x).square().mean()) if name in found else None
        if x.dim() != 4:
            return Answer(numbers)
        if min(x.shape[-2:]) >= 3:
            numbers |= {name: _beside(measure, x, made) for name, measure in SHARPNESS.items()}
        shown = {"originals": x, **found} | ({"errors": (made.mean - x).abs()} if made.mean is not None else {})
        return Answer(numbers, {name: one[:16].clamp(0, 1) for name, one in shown.items()})


def _beside(measure: Any, x: Tensor, made: Reconstructions) -> dict[str, float | None]:
    """Means over examples, and those of the reconstructions relative to the data's."""
    data = float(measure(x).mean())
    found = {name: None if one is None else float(measure(one).mean()) for name, one in made._asdict().items()}
    relative = {
        f"{name}_relative": None if value is None or not data else value / data for name, value in found.items()
    }
    return {"data": data, **found, **relative}
