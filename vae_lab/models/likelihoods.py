"""Families of p(x|z). A likelihood's `forward` maps a decoder's raw output, (..., *shape, arity), to a distribution with
event `shape`. Each is a normalised density or mass over x."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent

from vae_lab.distributions import SelfScaledGaussian, diagonal
from vae_lab.models.running import remember
from vae_lab.settings import Momentum, Positive
from vae_lab.traits import Traits


class BernoulliLikelihood(nn.Module):
    """p(x_i = 1 | z) = sigmoid(raw_i). For binary x only: on grey values the cross-entropy is no likelihood."""

    arity = 1
    traits = Traits(
        needs={
            "binary_x": "a Bernoulli likelihood is a probability of binary values only "
            "(choose dataset.binarization=dynamic, static or threshold, or likelihood=gaussian)"
        }
    )

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.event_dims = len(shape)

    def forward(self, raw: Tensor) -> Distribution:
        return Independent(Bernoulli(logits=raw.squeeze(-1), validate_args=False), self.event_dims, validate_args=False)


class GaussianLikelihood(nn.Module):
    """p(x|z) = N(raw, sigma^2 I) with sigma given. sigma = 1 is the "mean squared error" VAE, normaliser included.

    Arguments:
        sigma: in units of x as the model sees it: of a standardised table the standard deviation s of each column.
    """

    arity = 1
    log_sigma: Tensor

    def __init__(self, shape: Sequence[int], sigma: Positive = 1.0) -> None:
        super().__init__()
        self.event_dims = len(shape)
        self.register_buffer("log_sigma", torch.tensor(math.log(sigma)))

    def forward(self, raw: Tensor) -> Distribution:
        loc = raw.squeeze(-1)
        return diagonal(loc, self.log_sigma.expand_as(loc), self.event_dims)


_REAL = {
    "real_x": "a scale that is fitted has no lower end on binary values, where the density grows without bound "
    "(choose dataset.binarization=none, or likelihood=bernoulli)"
}


class SharedGaussianLikelihood(nn.Module):
    """p(x|z) = N(raw, sigma^2 I) with one sigma for all pixels, learned by gradient (Rybkin et al. 2021, section 3).

    Arguments:
        sigma: its value at the start, in units of x as the model sees it, as above.
    """

    arity = 1
    traits = Traits(needs=_REAL)
    log_sigma: Tensor

    def __init__(self, shape: Sequence[int], sigma: Positive = 1.0) -> None:
        super().__init__()
        self.event_dims = len(shape)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))

    def forward(self, raw: Tensor) -> Distribution:
        loc = raw.squeeze(-1)
        return diagonal(loc, self.log_sigma.expand_as(loc), self.event_dims)


class OptimalGaussianLikelihood(nn.Module):
    """p(x|z) = N(raw, sigma^2 I) with sigma^2 the mean squared error itself (sigma-VAE, Rybkin et al. 2021, Eq. 5).

    In training sigma is the best one for the batch; what is reported uses the running mean of those, a fixed number
    that never sees the examples it is evaluated on.

    Arguments:
        momentum: weight of the past in the running mean (a plain mean until it has 1 / (1 - momentum) batches).
    """

    arity = 1
    revision = 1  # the running mean is put together in another order: the last bits differ
    traits = Traits(
        needs={
            **_REAL,
            "additive_rate": "its variance is the best one for the distortion of the ELBO",
            "whole_batch": "its variance is the best one for the whole batch",
            "undivided_decoder": "its variance is the best one for the whole batch",
        },
        forbids={
            "declared_scale": "its variance follows the error, and would absorb the scale of whatever is held",
            "free_parameters_of_q": "its variance is that of the whole batch, and couples the examples",
        },
    )
    variance: Tensor
    batches: Tensor

    def __init__(self, shape: Sequence[int], momentum: Momentum = 0.99) -> None:
        super().__init__()
        self.event_dims, self.momentum = len(shape), momentum
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, raw: Tensor) -> Distribution:
        loc = raw.squeeze(-1)
        if self.training:
            return SelfScaledGaussian(loc, self.event_dims, on_scale=self._remember)
        return diagonal(loc, (0.5 * self.variance.log()).expand_as(loc), self.event_dims)

    @staticmethod
    def caution(settings: Mapping[str, Any]) -> str | None:
        """Another weight than 1 acts on the variance."""
        given = settings["beta"]
        moves = bool({"speed", "integral"} & set(given))  # a controller's
        beta = "beta" if moves else given.get("value", given.get("end", 1.0))
        if beta == 1:
            return None
        return f"with a weight of the rate of {beta} its effective variance is {beta} times the mean squared error"

    def _remember(self, log_scale: Tensor) -> None:
        remember([(self.variance, (2 * log_scale).exp())], self.batches, self.momentum)
