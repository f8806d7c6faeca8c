"""Densities on the latent code that z is drawn from: the model's prior, or one fitted to the codes afterwards. What is
fitted is no part of the model: no ELBO and no NLL is under it."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from vae_lab.distributions import stream, stream_seed
from vae_lab.models import VAE, Batch


class LatentDensity(Protocol):
    """A way to a density on z, batch (), event (k,)."""

    note: str

    def __call__(self, model: VAE, batches: Iterable[Batch]) -> Distribution:
        """Errors: ValueError where the examples are too few."""


@dataclass(frozen=True)
class Prior:
    """p(z), as the model has it; the examples are not looked at."""

    note = "the model's own"

    def __call__(self, model: VAE, batches: Iterable[Batch]) -> Distribution:
        p: Distribution = model.prior()
        return p


@dataclass(frozen=True)
class GaussianMixture:
    r"""A mixture of Gaussians with full covariances, fitted by EM (scikit-learn) to one draw from q(z|x) of each example,
    which is a sample of :math:`q(z) = \frac1N \sum_n q(z|x_n)` (ex-post density estimation, Ghosh et al. 2020, section 4,
    who fit it to the codes of a deterministic encoder).

    Arguments:
        components: how many. seed: of the draws and of where EM starts.
    """

    components: int = 10
    seed: int = 0
    note = "post hoc: not part of the model's NLL"

    def __call__(self, model: VAE, batches: Iterable[Batch]) -> Distribution:
        return fitted_mixture(codes(model, batches, self.seed), self.components, self.seed)


@torch.no_grad()
def codes(model: VAE, batches: Iterable[Batch], seed: int = 0) -> Tensor:
    """One draw from q(z|x) of each example, (n, k)."""
    drawn = []
    for i, batch in enumerate(batches):
        noise = model.noise(len(batch.x), 1, stream(seed, "codes", i, batch.x.device))
        drawn.append(model.posterior.reparametrize(model.encode(batch.x), noise)[0])
    return torch.cat(drawn)


def fitted_mixture(z: Tensor, components: int, seed: int = 0) -> MixtureSameFamily:
    """The mixture that EM ends at on z, (n, k), in z's precision. It need not have converged to be a density: how good a
    one is told by what it gives to codes that it has not seen."""
    from sklearn import mixture
    from sklearn.exceptions import ConvergenceWarning

    if len(z) < max(2, components):
        raise ValueError(f"{components} given; there are {len(z)} examples to fit them to")
    em = mixture.GaussianMixture(components, random_state=stream_seed(seed, "mixture") % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        em.fit(z.double().cpu().numpy())
    weights, means, covariances = (torch.as_tensor(a) for a in (em.weights_, em.means_, em.covariances_))
    factors = torch.linalg.cholesky(covariances)
    gaussians = MultivariateNormal(means.to(z), scale_tril=factors.to(z), validate_args=False)
    return MixtureSameFamily(Categorical(weights.to(z), validate_args=False), gaussians, validate_args=False)
