"""The weights of the loss at update t: those of the objective, as far as the inference lets the rate count.

Training, validation, evaluation and the logs all ask here, so that none of them can have another loss than the rest.
"""

from typing import cast

from torch import Tensor

from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.objectives.objective import Coefficients
from vae_lab.training.inference import Amortized


def coefficients(model: VAE, objective: Objective, t: int) -> Coefficients:
    """The coefficients of the loss of update t, with a stage that leaves the rate out."""
    weights, factor = objective.coefficients(t), _factor(model, t)
    return weights if factor == 1 else weights._replace(rate=weights.rate * factor)


def rate_weight(model: VAE, objective: Objective, t: int) -> float | Tensor:
    """The weight of the rate relative to the distortion's in that loss: what `beta` is in the logs and the results. A
    controller's is a tensor, at which only a look makes the host wait."""
    factor = _factor(model, t)
    return objective.beta(t) if factor == 1 else objective.beta(t) * factor


def counts_in_full(model: VAE, t: int) -> bool:
    """Checks that no stage leaves the rate out at update t."""
    return _factor(model, t) == 1


def _factor(model: VAE, t: int) -> float:
    return cast(Amortized, model.inference).rate_weight(t)
