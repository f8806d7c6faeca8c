"""Generation: new examples from the prior, and whether they are copies."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vae_lab.data.dataset import Dataset
from vae_lab.evaluation.generate import nearest
from vae_lab.finished import Run
from vae_lab.uses.use import Answer, Drawn

SHOWN = 16


@dataclass(frozen=True)
class Sample:
    """New examples: z from the prior, the mean of p(x|z) and a draw from it, and beside each draw the training example
    nearest to it, so that a memorised one is seen.

    The distance of draws to their nearest training example stands beside that of test examples, which are no copies: draws
    that lie much nearer are.

    Arguments:
        count: how many are drawn and measured. seed: of the draws.
    """

    count: Drawn = 200
    seed: int = 0

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        made = run.sample(self.count, self.seed)
        train, test = (_all(dataset, split) for split in ("train", "test"))
        copied, held_out = nearest(made.draw, train), nearest(test[: self.count], train)
        distance: dict[str, Any] = {
            "samples": float(copied.distances.mean()),
            "samples_least": float(copied.distances.min()),
            "test": float(held_out.distances.mean()),
            "test_least": float(held_out.distances.min()),
        }
        numbers = {"samples": self.count, "test_examples": len(held_out.rows), "nearest_training_distance": distance}
        if made.draw.dim() != 4:
            return Answer(numbers)
        shown = {"draw": made.draw, "nearest": train[copied.rows]} | ({} if made.mean is None else {"mean": made.mean})
        return Answer(numbers, {name: x[:SHOWN].clamp(0, 1) for name, x in shown.items()})


def _all(dataset: Dataset, split: str) -> Tensor:
    return next(iter(dataset.batches(split, dataset.spec().sizes[split]))).x
