"""Densities p(z). A prior's `forward()` returns a distribution, batch (), event (k,)."""

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily

from vae_lab.distributions import diagonal, standard
from vae_lab.settings import Count, Positive
from vae_lab.traits import Traits


class StandardNormalPrior(nn.Module):
    """p(z) = N(0, I)."""

    traits = Traits(provides=frozenset({"factorised_prior", "standard_prior"}))
    origin: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> Independent:
        return standard(self.origin)


class MixturePrior(nn.Module):
    r"""A learned mixture of diagonal Gaussians, :math:`p(z) = \sum_c \pi_c N(z; m_c, \mathrm{diag}\, s_c^2)`.

    Its KL from a Gaussian has no closed form: the rate is a Monte Carlo mean. With one component it is a learned normal.

    Arguments:
        components: how many Gaussians.
        spread: the standard deviation of the means at the start (they must differ to become different).
    """

    traits = Traits(
        forbids={"factorised_prior": "a mixture couples the latents, so that its rate does not split over dimensions"}
    )

    def __init__(self, latent_dim: int, components: Count = 10, spread: Positive = 1.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread * torch.randn(components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self) -> MixtureSameFamily:
        weights = Categorical(logits=self.logits, validate_args=False)
        return MixtureSameFamily(weights, diagonal(self.loc, self.log_scale), validate_args=False)
