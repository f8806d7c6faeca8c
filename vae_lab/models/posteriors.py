"""Families of q(z|x). A posterior's `forward` maps raw parameters to a distribution.

The contract: `outputs` says how many raw numbers an encoder must give, `noise_dim` how many standard normals a sample
takes, and `reparametrize(q, noise)` turns noise (K, B, noise_dim) into samples (K, B, k), differentiably.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from vae_lab.distributions import diagonal
from vae_lab.traits import Traits

Parametrization = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Posterior(nn.Module):
    """What the rest of the lab may rely on."""

    outputs: int
    noise_dim: int

    def forward(self, raw: Tensor, parametrization: Parametrization) -> Distribution:
        """q(z|x) from raw parameters, (B, outputs)."""
        raise NotImplementedError

    def reparametrize(self, q: Distribution, noise: Tensor) -> Tensor:
        """Samples (K, B, k) of q from standard normal noise, (K, B, noise_dim)."""
        raise NotImplementedError


class DiagonalPosterior(Posterior):
    r"""q(z|x) = N(m(x), diag s(x)^2) (Kingma and Welling 2014, Eq. 9). Raw parameters: m, then log s."""

    traits = Traits(provides=frozenset({"factorised_posterior", "stoppable_posterior"}))

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.outputs, self.noise_dim = 2 * latent_dim, latent_dim

    def forward(self, raw: Tensor, parametrization: Parametrization) -> Independent:
        loc, log_scale = raw.chunk(2, -1)
        return diagonal(*parametrization(loc, log_scale))

    def reparametrize(self, q: Distribution, noise: Tensor) -> Tensor:
        assert isinstance(q, Independent)
        return q.base_dist.loc + q.base_dist.scale * noise
