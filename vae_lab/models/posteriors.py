"""Families of q(z|x). A posterior's `forward` maps raw parameters to a distribution.

The contract: `outputs` says how many raw numbers an encoder must give, `noise_dim` how many standard normals a sample
takes, and `reparametrize(q, noise)` turns noise (K, B, noise_dim) into samples (K, B, k), differentiably.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Independent

from vae_lab.distributions import diagonal
from vae_lab.traits import Traits

Parametrization = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class DiagonalPosterior(nn.Module):
    r"""q(z|x) = N(m(x), diag s(x)^2) (Kingma and Welling 2014, Eq. 9). Raw parameters: m, then log s."""

    traits = Traits(provides=frozenset({"rate_per_dim"}))

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.outputs, self.noise_dim = 2 * latent_dim, latent_dim

    def forward(self, raw: Tensor, parametrization: Parametrization) -> Independent:
        loc, log_scale = raw.chunk(2, -1)
        return diagonal(*parametrization(loc, log_scale))

    def reparametrize(self, q: Independent, noise: Tensor) -> Tensor:
        return q.base_dist.loc + q.base_dist.scale * noise
