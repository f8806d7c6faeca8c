"""The loss of one step, as one formula."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae_lab.models import Terms
from vae_lab.objectives.beta import Schedule, Weight
from vae_lab.objectives.bounds import Bound
from vae_lab.objectives.rate import Transform


class Coefficients(NamedTuple):
    """What the loss has of time, as tensors (): a step is a function of tensors."""

    distortion: Tensor  # a_D
    rate: Tensor  # a_R
    target: Tensor  # nats, of the rate's transform where it has one


class Objective(nn.Module):
    r"""The trained loss, nats per example.

    .. math:: a_D(t) D + a_R(t) \sum_g T_g(R_g) + \sum_r \eta_r \Omega_r
              \quad\text{or}\quad -\mathrm{Bound}(\log w) + \sum_r \eta_r \Omega_r

    It bends what is trained only: what is reported is computed from `Terms` elsewhere, and cannot be reached from here.

    Arguments:
        bound: the estimator of log p(x); `beta`: the weights at update t; `rate`: what is done to the rate first;
            `regularizers`: extra terms, each a module from `Terms` to a scalar.
    """

    def __init__(self, bound: Bound, beta: Weight, rate: Transform, regularizers: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self.bound, self.beta, self.rate = bound, beta, rate
        self.regularizers = nn.ModuleList(regularizers)

    @property
    def samples(self) -> int:
        """How many z a training step draws for each example."""
        return self.bound.draws

    @property
    def settled(self) -> int:
        """The first update from which the coefficients stay as they are."""
        return max(self.beta.settled, self.rate.settled)

    @property
    def adaptive(self) -> bool:
        """Whether they follow what is measured: of `settled` nobody knows then whether it is where they are going."""
        return self.beta.adaptive

    def coefficients(self, t: int) -> Coefficients:
        """The coefficients at update t."""
        numbers = (*self.beta.weights(t), self.rate.target(t))
        return Coefficients(*(torch.as_tensor(n, dtype=torch.get_default_dtype()) for n in numbers))

    def forward(self, terms: Terms, coefficients: Coefficients) -> Tensor:
        loss = self.bound(terms, coefficients, self.rate)
        for regularizer in self.regularizers:
            loss = loss + regularizer(terms)
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The parameters that an optimiser of their own trains, such as a discriminator's, as torch's Adam takes them: a
        regularizer lists them, with their settings, in `parameter_groups`."""
        return [group for part in self.regularizers for group in getattr(part, "parameter_groups", list)()]

    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        """Lets a controller learn from a step, after it, by the distortion and the rate of its examples."""
        if not isinstance(self.beta, Schedule):
            with torch.no_grad():
                self.beta.observe(distortion.mean(), rate.mean())
