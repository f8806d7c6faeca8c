"""Bounds on importance weights beyond IWAE: combinations of it, and other estimators of its gradient.

With weights :math:`w_k = p(x, z_k) / q(z_k|x)` of K draws and their shares :math:`\\tilde w_k = w_k / \\sum_j w_j`.
"""

from typing import Annotated, NamedTuple

import torch
from annotated_types import Interval
from torch import Tensor

from vae_lab.distributions import stopped
from vae_lab.estimators import importance_bound
from vae_lab.models import Terms
from vae_lab.objectives.bounds import IWAE, ImportanceBound, Weights
from vae_lab.objectives.rate import Transform
from vae_lab.settings import Count, Fraction
from vae_lab.traits import Traits


class MIWAE(ImportanceBound):
    r"""The mean of several importance-weighted bounds, each of draws of its own (Rainforth et al. 2018): the value of
    IWAE with K draws, and a gradient by q whose noise falls with M.

    .. math:: \frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K w_{m,k}

    Arguments:
        samples: K, draws inside a bound.
        averages: M, bounds averaged: a step draws M K samples for each example.
    """

    def __init__(self, samples: Count = 5, averages: Count = 4) -> None:
        super().__init__(samples)
        self.averages = averages

    @property
    def draws(self) -> int:
        return self.samples * self.averages

    def groups(self, log_w: Tensor) -> Tensor:
        """The log-weights of each bound, (K, M, B)."""
        return log_w.unflatten(0, (self.samples, self.averages))

    def value(self, log_w: Tensor) -> Tensor:
        return importance_bound(self.groups(log_w)).mean(0)


class CIWAE(ImportanceBound):
    r"""Part ELBO, part importance-weighted bound, from the same draws (Rainforth et al. 2018).

    .. math:: \beta \frac1K \sum_k \log w_k + (1 - \beta) \log \frac1K \sum_k w_k

    Arguments:
        samples: K, draws for each example.
        elbo_weight: beta, the part of the ELBO: 1 is the ELBO by sampling, 0 is IWAE.
    """

    @classmethod
    def traits_of(cls, elbo_weight: float = 0.05, **_: object) -> Traits:
        """Its limit is log p(x) only without a part of the ELBO."""
        return Traits(provides=frozenset({"loose_bound"} if elbo_weight > 0 else ()))

    def __init__(self, samples: Count = 5, elbo_weight: Fraction = 0.05) -> None:
        super().__init__(samples)
        self.elbo_weight = elbo_weight

    def value(self, log_w: Tensor) -> Tensor:
        return self.elbo_weight * log_w.mean(0) + (1 - self.elbo_weight) * importance_bound(log_w)


class Renyi(ImportanceBound):
    r"""The variational Renyi bound, estimated from K draws (Li and Turner 2016).

    .. math:: \frac1{1 - \alpha} \log \frac1K \sum_k w_k^{1 - \alpha}

    As K grows it goes to :math:`\log p(x) - D_\alpha(q \| p(z|x))`: alpha = 0 is IWAE, alpha towards 1 the ELBO. For
    0 < alpha < 1 the limit lies between the two; above 1 it lies below the ELBO; below 0 it is an upper bound of
    log p(x), which the estimate from few draws does not reach.

    Arguments:
        samples: K, draws for each example.
        alpha: between -100 and 100, and not within a thousandth of 1, where a float32 cannot tell it from the ELBO.
    """

    @classmethod
    def traits_of(cls, alpha: float = 0.5, **_: object) -> Traits:
        """Where its limit lies."""
        limit = "upper_bound" if alpha < 0 else "under_elbo" if alpha > 1 else "loose_bound"
        return Traits(provides=frozenset({limit} if alpha else ()))

    def __init__(self, samples: Count = 5, alpha: Annotated[float, Interval(ge=-100, le=100)] = 0.5) -> None:
        super().__init__(samples)
        if abs(1 - alpha) < 1e-3:
            raise ValueError(
                f"bound.alpha: {alpha} given; must not be 1, where the bound is the ELBO: choose bound=elbo"
            )
        self.alpha = alpha

    def value(self, log_w: Tensor) -> Tensor:
        return importance_bound((1 - self.alpha) * log_w) / (1 - self.alpha)


class Shares(NamedTuple):
    """How much each draw's log-weight counts in a gradient, (draws, B), by the way that the gradient takes."""

    model: Tensor  # to the parameters of p(x, z)
    path: Tensor | None  # to z, and from there to the parameters of q; None: as much as to the model
    score: Tensor | None  # to the parameters of q inside log q(z|x), with z held fixed; None: not at all


TINY = 1e-20  # least share of the model, as the gradient at z is a multiple of it
STOPPED = "it evaluates log q(z|x) with the parameters of q held fixed, which the posterior must allow"
RESCALED = "the bound rescales every gradient that reaches z"


class Reweighted(ImportanceBound):
    r"""The value of a bound, with a gradient put together from shares a, b, c of the draws.

    .. math:: \sum_k a_k \frac{\partial \log p(x, z_k)}{\partial \theta}, \qquad
              \sum_k b_k \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}
              - c_k \frac{\partial \log q_\phi(z_k|x)}{\partial \phi}

    One backward pass gives both: the loss has shares a, and what arrives at z is multiplied by b / a on its way to q.
    So the loss is asked for once of each `Terms`. Only its value and its gradient mean something, no gradient of that.
    """

    traits = Traits(needs={"stoppable_posterior": STOPPED})

    def shares(self, log_w: Tensor) -> Shares:
        """The shares of log-weights (draws, B), which have no gradient."""
        raise NotImplementedError

    def forward(self, terms: Terms, weights: Weights, rate: Transform) -> Tensor:
        log_w = terms.prior.log_prob(terms.z) - stopped(terms.posterior).log_prob(terms.z) - terms.distortion
        shares = self.shares(log_w.detach())
        model = shares.model.clamp(min=TINY)
        surrogate = (model * log_w).sum(0)
        if shares.path is not None:
            _multiply_gradient(terms.z, shares.path / model)
        if shares.score is not None:
            surrogate = surrogate - (shares.score * terms.posterior.log_prob(terms.z.detach())).sum(0)
        return -(self.value(log_w.detach()) + surrogate - surrogate.detach()).mean()


def _multiply_gradient(z: Tensor, factor: Tensor) -> None:
    """Has the gradient that arrives at z, (draws, B, k), multiplied by a factor for each draw, (draws, B)."""
    if z.requires_grad and torch.is_grad_enabled():
        z.register_hook(lambda gradient: gradient * factor.unsqueeze(-1))


class Rescaled(Reweighted):
    """Shares whose `path` is not None: the gradient at z is rescaled."""

    traits = Traits(
        needs={"wide_gradients": "it divides by shares of weights down to 1e-20"}, forbids={"pathwise_z": RESCALED}
    )


class DReG(Rescaled, IWAE):
    r"""IWAE with the doubly reparametrised gradient by q (Tucker et al. 2019): the same mean, less noise, and none at
    the exact posterior.

    .. math:: \sum_k \tilde w_k^2 \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}

    The model's gradient is IWAE's.
    """

    def shares(self, log_w: Tensor) -> Shares:
        share = log_w.softmax(0)
        return Shares(model=share, path=share.square(), score=None)


class STL(Reweighted, IWAE):
    r"""Sticking the landing (Roeder et al. 2017): the gradient by q without its score, which at the exact posterior is
    zero for every draw.

    .. math:: \sum_k \tilde w_k \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}

    With one sample the score has mean zero and the gradient is the ELBO's in the mean. With more it is not IWAE's
    (Tucker et al. 2019); that of `bound=dreg` is.
    """

    def __init__(self, samples: Count = 1) -> None:
        super().__init__(samples)

    def shares(self, log_w: Tensor) -> Shares:
        return Shares(model=log_w.softmax(0), path=None, score=None)


class PIWAE(Rescaled, MIWAE):
    """The model ascends IWAE with all M K draws, q ascends MIWAE (Rainforth et al. 2018). As a value it is MIWAE.

    Arguments:
        samples: K, draws inside one of the bounds that q ascends.
        averages: M, how many of those are averaged: a step draws M K samples for each example.
    """

    def shares(self, log_w: Tensor) -> Shares:
        own = self.groups(log_w).softmax(0).flatten(0, 1) / self.averages
        return Shares(model=log_w.softmax(0), path=own, score=own)
