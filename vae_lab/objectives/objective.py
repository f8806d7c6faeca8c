"""The loss of one step, as one formula."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vae_lab.models import Terms
from vae_lab.objectives.beta import Schedule
from vae_lab.objectives.bounds import Bound


class Objective(nn.Module):
    r"""The trained loss, nats per example.

    .. math:: D + \beta_t \sum_g T_g(R_g) + \sum_r \eta_r \Omega_r
              \quad\text{or}\quad -\mathrm{Bound}(\log w) + \sum_r \eta_r \Omega_r

    It bends what is trained only: what is reported is computed from `Terms` elsewhere, and cannot be reached from here.

    Arguments:
        bound: the estimator of log p(x); `beta`: the weight of the rate at update t; `rate`: what is done to the rate
            first; `regularizers`: extra terms, each a module from `Terms` to a scalar.
    """

    def __init__(self, bound: Bound, beta: Schedule, rate: nn.Module, regularizers: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self.bound, self.beta, self.rate = bound, beta, rate
        self.regularizers = nn.ModuleList(regularizers)

    @property
    def samples(self) -> int:
        """How many z a training step draws for each example."""
        return self.bound.samples

    @property
    def settled(self) -> int:
        """The first update from which the coefficients stay as they are."""
        return self.beta.settled

    def coefficients(self, t: int) -> Tensor:
        """The weight of the rate at update t, as a tensor: a step is a function of tensors."""
        return torch.tensor(self.beta(t))

    def forward(self, terms: Terms, coefficients: Tensor) -> Tensor:
        loss = self.bound(terms, coefficients, self.rate)
        for regularizer in self.regularizers:
            loss = loss + regularizer(terms)
        return loss
