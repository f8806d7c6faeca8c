"""The trained loss of examples that are not trained on."""

from collections.abc import Iterable

import torch

from vae_lab.distributions import stream
from vae_lab.models import VAE, Batch
from vae_lab.objectives import Objective
from vae_lab.training.weights import coefficients


@torch.no_grad()
def objective_loss(model: VAE, objective: Objective, batches: Iterable[Batch], updates: int) -> float:
    """The trained loss at update t over a split, nats per example. It is what the objective makes of the model, bent as
    its settings say, and comparable with nothing else."""
    indexed = enumerate(batches)
    return weighted_mean([(len(b.x), batch_loss(model, objective, b, i, updates)) for i, b in indexed])


def batch_loss(model: VAE, objective: Objective, batch: Batch, index: int, updates: int) -> float:
    """That of one batch, by the noise that belongs to its number in the split."""
    noise = model.noise(len(batch.x), objective.samples, stream(0, "held-out loss", index, batch.x.device))
    return float(objective(model.terms(batch, noise), coefficients(model, objective, updates)))


def weighted_mean(values: list[tuple[int, float]]) -> float:
    """Of (examples, mean over them)."""
    return sum(n * value for n, value in values) / sum(n for n, _ in values)
