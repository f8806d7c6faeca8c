"""Which estimator of log p(x) is trained. A bound's `forward(terms, weights, rate)` gives the loss, a scalar, nats per
example.

`samples` is K of a method's formula, `draws` how many z a training step draws for each example.
"""

from typing import Protocol

from torch import Tensor, nn

from vae_lab.estimators import importance_bound
from vae_lab.models import Terms
from vae_lab.objectives.rate import Transform
from vae_lab.settings import Count
from vae_lab.traits import Traits


class Weights(Protocol):
    """What a bound may be told: the weights of distortion and rate, and the target of the rate's transform."""

    @property
    def distortion(self) -> Tensor: ...
    @property
    def rate(self) -> Tensor: ...
    @property
    def target(self) -> Tensor: ...


class Bound(nn.Module):
    """What the objective may rely on."""

    samples: int

    @property
    def draws(self) -> int:
        """How many z a training step draws for each example."""
        return self.samples

    def forward(self, terms: Terms, weights: Weights, rate: Transform) -> Tensor:
        raise NotImplementedError


class ELBO(Bound):
    """a_D * distortion + a_R * T(rate), averaged over the batch (Kingma and Welling 2014, Eq. 3; with a weight: Higgins et
    al. 2017, Eq. 4)."""

    traits = Traits(provides=frozenset({"additive_rate"}))

    def __init__(self, samples: Count = 1) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, terms: Terms, weights: Weights, rate: Transform) -> Tensor:
        return weights.distortion * terms.distortion.mean() + weights.rate * rate(terms, weights.target)


NO_RATE = "a bound on importance weights has no separate rate to weight or floor; the result would be no bound"


class ImportanceBound(Bound):
    """A bound that is a function of the log-weights of an example's draws, differentiated as it stands."""

    traits = Traits(forbids={"additive_rate": NO_RATE})

    def __init__(self, samples: Count = 5) -> None:
        super().__init__()
        self.samples = samples

    def value(self, log_w: Tensor) -> Tensor:
        """The bound of each example, (B,), from log-weights (draws, B)."""
        raise NotImplementedError

    def forward(self, terms: Terms, weights: Weights, rate: Transform) -> Tensor:
        return -self.value(terms.log_w).mean()


class IWAE(ImportanceBound):
    """The importance-weighted bound of `samples` draws (Burda et al. 2016, Eq. 8), as a value and as a gradient."""

    def value(self, log_w: Tensor) -> Tensor:
        return importance_bound(log_w)
