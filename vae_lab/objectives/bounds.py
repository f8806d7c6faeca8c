"""Which estimator of log p(x) is trained. A bound's `forward(terms, weights, rate)` gives the loss, a scalar, nats per
example.

`samples` is how many z a training step draws for each example.
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


class IWAE(Bound):
    """Minus the importance-weighted bound of `samples` draws (Burda et al. 2016, Eq. 8), as a value and as a gradient."""

    traits = Traits(
        forbids={
            "additive_rate": "a bound on importance weights has no separate rate to weight or floor; the result "
            "would be no bound"
        }
    )

    def __init__(self, samples: Count = 5) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, terms: Terms, weights: Weights, rate: Transform) -> Tensor:
        return -importance_bound(terms.log_w).mean()
