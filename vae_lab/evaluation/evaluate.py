"""Everything that is reported of a trained model."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from vae_lab.distributions import stream_seed
from vae_lab.estimators import Moments
from vae_lab.evaluation.elbo import ElboMeter
from vae_lab.evaluation.information import information
from vae_lab.evaluation.nll import importance_nll
from vae_lab.evaluation.noise import monte_carlo_errors
from vae_lab.metrics import DOUBTED, information_bound, information_doubt
from vae_lab.models import VAE, Batch
from vae_lab.settings import Count, Draws, NonNegativeInt


@dataclass(frozen=True)
class Evaluation:
    """The settings of an evaluation. They have an identity of their own: changing one never retrains.

    Arguments:
        checkpoint: `last`, or `best` by val/elbo.
        nll_samples: K, importance samples for each example.
        elbo_samples: draws of z for each example in elbo, rate and distortion.
        aggregate_samples: draws of z for each example in mutual information and marginal KL.
        seed: of the evaluation's noise, the same for every run, and another for each split.
        batch_size: examples at a time.
        figures: whether to draw pictures.
    """

    checkpoint: Literal["last", "best"] = "last"
    nll_samples: Draws = 500
    elbo_samples: Draws = 1
    aggregate_samples: Draws = 1
    seed: NonNegativeInt = 0
    batch_size: Count = 256
    figures: bool = True

    def identity(self) -> dict[str, Any]:
        """The settings that can change a number."""
        return {key: value for key, value in asdict(self).items() if key != "figures"}


class Source(Protocol):
    """A dataset, as far as an evaluation needs it."""

    def batches(self, split: str, batch_size: int, *, device: torch.device | str = "cpu") -> Any: ...


def evaluate(
    model: VAE,
    dataset: Source,
    settings: Evaluation,
    splits: tuple[str, ...] = ("val", "test"),
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics of each split, named `split/metric`, and its lists: rate per dimension, variances of the posterior
    means, size. The model is left in the mode in which it was."""
    metrics: dict[str, float] = {}
    details: dict[str, Any] = {}
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    for split in splits:
        say(f"evaluating {split}: K = {settings.nll_samples}")
        batches = dataset.batches(split, settings.batch_size, device=device)
        figures, details[split] = _evaluate_split(model, batches, settings, stream_seed(settings.seed, split))
        metrics |= {f"{split}/{name}": value for name, value in figures.items()}
    model.train(was_training)
    return metrics, details


def _evaluate_split(
    model: VAE, batches: Iterable[Batch], settings: Evaluation, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    meter, rates = ElboMeter(settings.elbo_samples, seed), []
    for index, batch in enumerate(batches):
        rates.append(meter.update(model, batch, index).rate.double())
    likelihood = importance_nll(model, batches, settings.nll_samples, seed)
    shared = information(model, batches, settings.aggregate_samples, seed)
    examples, rate = meter.elbo.count, float(meter.rate.mean)
    bound = information_bound(shared.plug_in, rate)
    figures = {
        **_measured("elbo", meter.elbo),
        **_measured("rate", meter.rate),
        **_measured("distortion", meter.distortion),
        **_averaged("nll", likelihood.nll),
        **_averaged("nll_tenth", likelihood.nll_tenth),
        **_averaged("ess", likelihood.effective_sample_size),
        **monte_carlo_errors(likelihood.variances, settings.elbo_samples),
        "active_units": meter.compute()["active_units"],
        "mutual_information": bound,
        "mutual_information_se": shared.standard_error,
    }
    figures |= _averaged("marginal_kl", torch.cat(rates) - shared.log_ratio)
    figures["marginal_kl"] = max(rate - bound, 0.0)
    doubt = information_doubt(figures.get, examples)
    if model.inference.refines:
        encoder = ElboMeter(settings.elbo_samples, seed)
        for index, batch in enumerate(batches):
            encoder.update(model, batch, index, model.given(batch.y).amortized(batch.x))
        figures |= _measured("elbo_amortized", encoder.elbo)
    details = {
        "examples": examples,
        "rate_per_dimension": meter.rate_per_dimension(),
        "variances": meter.means.variance().tolist(),
        "doubts": dict.fromkeys(DOUBTED, doubt) if doubt else {},
    }
    return figures, details


def _measured(name: str, moments: Moments) -> dict[str, float]:
    """A mean over examples and its standard error."""
    return {name: float(moments.mean), f"{name}_se": float(moments.standard_error())}


def _averaged(name: str, values: Tensor) -> dict[str, float]:
    """The same of values of all examples, (N,)."""
    moments = Moments()
    moments.update(values)
    return _measured(name, moments)
