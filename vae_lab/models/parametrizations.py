"""What is done to the encoder's location and log-scale, each (B, k), before they become q(z|x)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Interval
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn import functional as F

from vae_lab.models.running import remember
from vae_lab.settings import Momentum, Positive, ProperFraction
from vae_lab.traits import Traits

_OVER_A_BATCH = Traits(
    needs={
        "whole_batch": "its floor holds over the batch that is normalised",
        "several_examples": "one example says nothing of a batch",
        "standard_prior": "its floor on the rate is one against N(0, I): a prior that learns can move to q "
        "(choose prior=normal)",
    },
    forbids={
        "free_parameters_of_q": "the locations of a batch are normalised together, and their floor is lost once those "
        "of one example move by themselves"
    },
)


class Plain(nn.Module):
    """Nothing is done."""

    def forward(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        return loc, log_scale


class FixedScale(nn.Module):
    r"""The scale of every latent is a setting, and what the encoder says of it is left out: q(z|x) = N(m(x), sigma^2 I).

    With the weight of the rate at 0 and a small sigma this is the autoencoder as a point of the VAE's design (Ghosh et al.
    2020, who call it a VAE of constant variance): D alone is trained, through a code that is a point but for
    sigma. A code that is a point entirely has no density, and so neither rate nor bound; with this one both are
    defined, and what is reported is the bound of the declared model: true, and bad, as the rate is at least
    -ln sigma - 1/2 a latent. Since nothing holds the locations, training may scale them up until sigma is nothing
    beside them.

    Arguments:
        sigma: the standard deviation of each latent.
    """

    def __init__(self, sigma: Positive = 0.001) -> None:
        super().__init__()
        self.log_sigma = math.log(sigma)

    def forward(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        return loc, torch.full_like(loc, self.log_sigma)


class _Normalised(nn.Module):
    """Locations of mean zero and variance one: over the batch in training, by running moments in evaluation.

    What is added to a variance before its root is far below what float32 resolves of numbers near one (batch
    normalisation's usual 1e-5 would let the variance of small locations, and with it the floor, fall towards zero).
    """

    eps = 1e-16

    @staticmethod
    def caution(settings: Mapping[str, Any]) -> str | None:
        """Few examples make a poor floor."""
        size = settings["batch_size"]
        return (
            f"its floor on the rate holds for the batch that is normalised, of {size} examples" if size < 16 else None
        )

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, latent_dim: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.shift = nn.Parameter(torch.zeros(latent_dim))
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("variance", torch.ones(latent_dim))
        self.register_buffer("batches", torch.zeros(()))

    def normalised(self, loc: Tensor) -> Tensor:
        """The locations without their mean and scale."""
        loc = loc.to(torch.promote_types(loc.dtype, torch.float32))
        if not self.training:
            return (loc - self.mean) * (self.variance + self.eps).rsqrt()
        if len(loc) < 2:
            raise ValueError("batch normalisation of the location needs at least two examples in a training batch")
        mean = loc.mean(0)
        centred = loc - mean
        variance = centred.square().mean(0)
        unbiased = variance * (len(loc) / (len(loc) - 1))
        remember([(self.mean, mean), (self.variance, unbiased)], self.batches, self.momentum)
        return centred * (variance + self.eps).rsqrt()


class BatchNormMean(_Normalised):
    r"""The location is batch-normalised with a fixed scale and a learned shift (BN-VAE, Zhu et al. 2020).

    .. math:: \hat m_j = \gamma \frac{m_j - \mathrm{E}[m_j]}{\mathrm{sd}[m_j]} + b_j, \qquad
              \mathrm{E}[R] \ge \frac12 \sum_j \mathrm{E}[\hat m_j^2] \ge \frac{k \gamma^2}{2}

    with means over the batch in training, whatever the encoder says. Evaluation normalises by running moments, so that
    an example does not depend on its neighbours; the floor then holds about as well as those describe the data. It is
    one for a Gaussian q against N(0, I).

    Arguments:
        gamma: the standard deviation of each latent's location over the batch.
        momentum: weight of the past in the running moments (a plain mean until they have 1 / (1 - momentum) batches).
    """

    traits = _OVER_A_BATCH

    def __init__(self, latent_dim: int, gamma: Positive = 0.6, momentum: Momentum = 0.9) -> None:
        super().__init__(latent_dim, momentum)
        self.gamma = gamma

    def forward(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        return self.gamma * self.normalised(loc) + self.shift, log_scale


class Delta(nn.Module):
    r"""The scale is kept below a bound, at which alone each latent costs its committed rate (after the delta-VAE, Razavi
    et al. 2019).

    .. math:: \frac{1}{\hat s_j} = \frac{1}{s_j} + \frac{1}{s(\delta)}, \qquad
              -\ln s(\delta) + \frac{s(\delta)^2 - 1}{2} = \delta
              \qquad\Rightarrow\qquad R_j(x) \ge \delta \text{ for every } x

    The bound is approached smoothly and never reached. What is committed is rate, not information: a latent whose
    location is constant pays delta for nothing.

    Differences from the paper: its models of sequences commit a rate by the prior, which is an autoregression; its form
    for independent latents confines the scale to an interval and lifts the location by what the scale leaves open. Here
    the scale alone commits the rate, and the location is free.

    Arguments:
        nats: delta, the committed rate of each latent.
    """

    traits = Traits(
        needs={
            "standard_prior": "its committed rate is one against N(0, I): a prior that learns can move to q "
            "(choose prior=normal)",
            "factorised_posterior": "it commits a rate of each latent by itself",
        }
    )

    def __init__(self, nats: Annotated[float, Interval(ge=1e-6, le=20)] = 0.1) -> None:
        super().__init__()
        self.log_bound = _log_scale_at(nats)

    def forward(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        return loc, self.log_bound + F.logsigmoid(log_scale - self.log_bound)


def _log_scale_at(nats: float) -> float:
    """The log of the scale s < 1 at which KL(N(0, s^2) || N(0, 1)) is `nats`.

    Example:
        >>> round(math.exp(_log_scale_at(0.5)), 3)
        0.398
    """
    return float(brentq(lambda u: math.expm1(2 * u) / 2 - u - nats, -nats - 1, 0, xtol=1e-15))


class DU(_Normalised):
    r"""Diverse locations and certain scales (DU-VAE, Shen et al. 2021): the location is batch-normalised with learned
    scales of a fixed root mean square, the variance has a floor, and dropout returns it there.

    .. math:: \hat m_j = \gamma_j \frac{m_j - \mathrm{E}[m_j]}{\mathrm{sd}[m_j]} + b_j, \quad
              \frac1k \sum_j \gamma_j^2 = \gamma^2, \quad
              \hat s_j^2 = g_j s_j^2 + \frac{\alpha}{2 \pi e}, \quad g_j \in \left\{0, \frac{1}{1 - p}\right\}

    so that :math:`\mathrm{E}[R] \ge k \gamma^2 / 2` over a training batch, as for `batchnorm_mean`, but latents may
    share it unevenly. 1 / (2 pi e) is the variance of a Gaussian whose entropy is zero.

    Differences from the authors' code: floor and dropout act from the first update on, not only once the weight of the
    rate is one; the scales are normalised inside the step, which the gradient sees, not overwritten before it.

    Arguments:
        gamma: the root mean square over latents of the locations' standard deviations.
        alpha: the least variance, in units of 1 / (2 pi e).
        dropout: p, the probability of a variance's return to its floor in training.
        momentum: weight of the past in the running moments (a plain mean until they have 1 / (1 - momentum) batches).
    """

    traits = _OVER_A_BATCH

    def __init__(
        self,
        latent_dim: int,
        gamma: Positive = 0.5,
        alpha: Positive = 1.0,
        dropout: ProperFraction = 0.2,
        momentum: Momentum = 0.9,
    ) -> None:
        super().__init__(latent_dim, momentum)
        self.gamma, self.floor, self.dropout = gamma, alpha / (2 * math.pi * math.e), dropout
        self.scale = nn.Parameter(torch.ones(latent_dim))

    def forward(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.gamma * self.scale * self.scale.square().mean().rsqrt()
        variance = F.dropout((2 * log_scale).exp(), self.dropout, self.training) + self.floor
        return scale * self.normalised(loc) + self.shift, 0.5 * variance.log()
