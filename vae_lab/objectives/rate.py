"""What is done to the rate before it is weighted. A transform's `forward(terms, target)` gives a scalar, nats per example."""

from typing import Literal

from torch import Tensor, nn

from vae_lab.models import Terms
from vae_lab.objectives.beta import updates
from vae_lab.settings import Count, NonNegative, Positive, Updates
from vae_lab.traits import Traits

Granularity = Literal["dim", "group", "total"]
Reduction = Literal["batch", "example"]


class Transform(nn.Module):
    """What the objective may rely on."""

    settled = 0  # the first update from which the target stays as it is

    def target(self, t: int) -> float:
        """What the transform has of time: a rate in nats at update t, where it wants one."""
        return 0.0

    def forward(self, terms: Terms, target: Tensor) -> Tensor:
        raise NotImplementedError


class Identity(Transform):
    """The mean rate of the batch."""

    def forward(self, terms: Terms, target: Tensor) -> Tensor:
        return terms.rate.mean()


class FreeBits(Transform):
    r"""No pressure on a rate below `nats` (Kingma et al. 2016, appendix C.8, Eq. 15).

    .. math:: \sum_g \max(\lambda, \mathbb E_{batch}[R_g])

    Arguments:
        nats: lambda, for each dimension, group or the total, as `granularity` says.
        granularity: what has a floor: every latent (`dim`), every `group_size` latents in turn (`group`), or the sum.
        reduction: `batch` floors the mean over the batch (the paper's); `example` floors each example and then takes
            the mean (with `dim`: FBP of Li et al. 2019), which is never less.
        group_size: latents a group, for granularity `group`.

    The floored value is trained only; what is reported is the rate itself.
    """

    @classmethod
    def traits_of(cls, granularity: Granularity = "dim", reduction: Reduction = "batch", **_: object) -> Traits:
        needs = {"additive_rate": "it floors the rate"}
        if granularity != "total":
            why = f"granularity={granularity} floors the rates of single latents"
            needs |= {"factorised_posterior": why, "factorised_prior": why}
        if reduction == "batch":
            needs["whole_batch"] = "reduction=batch floors the mean over the whole batch"
        return Traits(needs=needs, forbids={"rate_in_full": "a rate under its floor does not count at all"})

    def __init__(
        self,
        latent_dim: int,
        nats: NonNegative = 0.25,
        granularity: Granularity = "dim",
        reduction: Reduction = "batch",
        group_size: Count = 4,
    ) -> None:
        super().__init__()
        if granularity == "group" and latent_dim % group_size:
            raise ValueError(f"rate.group_size: {group_size} given; must divide latent_dim = {latent_dim}")
        self.nats, self.granularity, self.reduction, self.group_size = nats, granularity, reduction, group_size

    def forward(self, terms: Terms, target: Tensor) -> Tensor:
        rates = self._groups(terms)
        if self.reduction == "batch":
            return rates.mean(0).clamp(min=self.nats).sum()
        return rates.clamp(min=self.nats).sum(-1).mean()

    def _groups(self, terms: Terms) -> Tensor:
        """The rates that have a floor each, (B, G)."""
        if self.granularity == "total":
            return terms.rate.unsqueeze(-1)
        assert terms.rates is not None
        if self.granularity == "dim":
            return terms.rates
        return terms.rates.unflatten(-1, (-1, self.group_size)).sum(-1)


_HELD = Traits(
    needs={
        "additive_rate": "it bends the rate",
        "unconstrained_rate": "it holds the rate at its own target",
        "whole_batch": "it compares the mean rate of the whole batch with a target",
    },
    forbids={"rate_in_full": "it bends the rate"},
)


class Capacity(Transform):
    r"""The mean rate is drawn to a target that grows during a warm-up (Burgess et al. 2018).

    .. math:: \gamma\, \big| \mathbb E_{batch}[R] - C(t) \big|^p

    The square is a spring: it passes gradients of every size, and ends where its slope is what a nat is worth to the
    distortion, at :math:`C + \beta^* / 2 \gamma`, with beta* the constant weight that has this rate. The absolute value
    (p = 1, the paper's, with gamma = 1000) ends at C exactly wherever gamma > beta*, but its sign flips from step to step,
    and a large gamma then divides the rate wrongly among latents; one below beta* leaves the rate above C.

    Arguments:
        nats: C at the end, nats per example; start: at first; warmup: the line between the two.
        gamma: the strength, which also multiplies the noise that a batch's mean rate has.
        power: p.
    """

    traits = _HELD
    revision = 1  # the default target

    def __init__(
        self,
        total_updates: int,
        nats: NonNegative = 4.0,
        start: NonNegative = 0.0,
        warmup: Updates = 0.25,
        gamma: Positive = 1.0,
        power: Literal[1, 2] = 2,
    ) -> None:
        super().__init__()
        self.settled = updates(warmup, total_updates)
        self.nats, self.start, self.gamma, self.power = nats, start, gamma, power

    def target(self, t: int) -> float:
        return self.start + (self.nats - self.start) * min(1.0, t / self.settled)

    def forward(self, terms: Terms, target: Tensor) -> Tensor:
        return self.gamma * (terms.rate.mean() - target).abs() ** self.power


class Hinge(Transform):
    r"""The mean rate, and a price on what it lacks to `nats` (Pelsmaeker and Aziz 2019).

    .. math:: R + \eta\, [r - R]_+, \qquad R = \mathbb E_{batch}[R_i]

    It holds the rate at r wherever the weight that would do so is above 1 - eta. With eta = 1 it is free bits on the
    total; above 1, the default, a rate under r is rewarded, which leads out of collapse; far above, it chatters.

    Arguments:
        nats: r, nats per example.
        eta: the price.
    """

    traits = _HELD
    revision = 1  # the default target

    def __init__(self, nats: NonNegative = 4.0, eta: NonNegative = 2.0) -> None:
        super().__init__()
        self.nats, self.eta = nats, eta

    def forward(self, terms: Terms, target: Tensor) -> Tensor:
        rate = terms.rate.mean()
        return rate + self.eta * (self.nats - rate).clamp(min=0)
