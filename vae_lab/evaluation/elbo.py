"""ELBO, rate, distortion and active units of a split: the one place where they are computed for a report.

It sees the model and the data. No objective, schedule, transform or corruption reaches it.
"""

import torch
from torch.distributions import Distribution

from vae_lab.distributions import stream
from vae_lab.estimators import Moments, active_units
from vae_lab.models import VAE, Batch, Terms


class ElboMeter:
    """Accumulates a split batch by batch: `update` takes a batch, `compute` gives the figures, nats per example.

    Arguments:
        samples: draws of z for each example.
        seed: of the evaluation's own noise, the same for every run.
    """

    def __init__(self, samples: int = 1, seed: int = 0) -> None:
        self.samples, self.seed = samples, seed
        self.elbo, self.rate, self.distortion = Moments(), Moments(), Moments()
        self.rates, self.means = Moments(), Moments()

    @torch.no_grad()
    def update(self, model: VAE, batch: Batch, index: int, q: Distribution | None = None) -> Terms:
        """Adds batch number `index` of the split, which names its noise, and returns its terms; q(z|x) is the model's unless
        one is given."""
        assert not model.training, "report a model in eval mode only"
        generator = stream(self.seed, "evaluation", index, batch.x.device)
        terms = model.terms(batch, model.noise(len(batch.x), self.samples, generator), q)
        self.elbo.update(terms.elbo)
        self.rate.update(terms.rate)
        self.distortion.update(terms.distortion.mean(0))
        self.means.update(terms.posterior.mean)
        if terms.rates is not None:
            self.rates.update(terms.rates)
        return terms

    def compute(self) -> dict[str, float]:
        figures = {
            "elbo": float(self.elbo.mean),
            "rate": float(self.rate.mean),
            "distortion": float(self.distortion.mean),
            "active_units": float(active_units(self.means.variance())),
        }
        per_dimension = self.rate_per_dimension() or []
        return figures | {f"rate_per_dimension/{j}": value for j, value in enumerate(per_dimension)}

    def rate_per_dimension(self) -> list[float] | None:
        """The rate of each latent, or None where the rate does not split."""
        return self.rates.mean.tolist() if self.rates.count else None
