"""What a step sees and what a model says of it."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.distributions import Distribution


class Batch(NamedTuple):
    """Examples of one step. Labels and mask may be None."""

    x: Tensor  # (B, *shape), float; int64 where it is whole numbers, such as tokens
    y: Tensor | None = None  # (B,)
    mask: Tensor | None = None  # (B, *shape), 1 where observed
    index: Tensor | None = None  # type: ignore[assignment]  # (B,), the row of each example in its split


@dataclass(frozen=True)
class Terms:
    r"""The parts of the ELBO, nats per example, at beta = 1 and before any objective has bent them.

    distortion is -log p(x|z_k); rate is KL(q(z|x) || p(z)), in closed form where there is one, else the mean over k of
    log q(z_k|x) - log p(z_k); rates is the rate split over groups of latents, or None where it does not split.
    """

    distortion: Tensor  # (K, B)
    rates: Tensor | None  # (B, G)
    rate: Tensor  # (B,)
    z: Tensor  # (K, B, k)
    posterior: Distribution
    prior: Distribution

    @property
    def log_w(self) -> Tensor:
        """The log importance weights log p(x|z) + log p(z) - log q(z|x), shape (K, B)."""
        return self.prior.log_prob(self.z) - self.posterior.log_prob(self.z) - self.distortion

    @property
    def elbo(self) -> Tensor:
        """-(rate + distortion), shape (B,)."""
        return -(self.rate + self.distortion.mean(0))
