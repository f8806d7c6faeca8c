"""Densities on the latent code that z is drawn from: the model's prior, or one fitted to the codes afterwards. What is
fitted is no part of the model: no ELBO and no NLL is under it."""

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from vae_lab.distributions import stream, stream_seed
from vae_lab.models import VAE, Batch

UPDATES, BATCH, PEAK_RATE = 1000, 250, 5e-3
_LOOK, _PATIENCE = 50, 5  # updates from one look at the held-out codes to the next, and looks without a better one
_FEWEST = 20  # codes


class LatentDensity(Protocol):
    """A way to a density on z, batch (), event (k,)."""

    note: str

    def __call__(self, model: VAE, batches: Iterable[Batch]) -> Distribution:
        """Errors: ValueError, one line, where it cannot be fitted to the examples, or a package is missing."""


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


@dataclass(frozen=True)
class Flow:
    r"""A normalising flow, by zuko (the extra `flow`), fitted to one draw from q(z|x) of each example as the mixture is: a
    neural spline flow (Durkan et al. 2019), autoregressive, after a linear map that makes the codes white.

    Arguments:
        seed: of the draws, of which codes are held out, and of the training.
    """

    seed: int = 0
    note = "post hoc: not part of the model's NLL"

    def __call__(self, model: VAE, batches: Iterable[Batch]) -> Distribution:
        return fitted_flow(codes(model, batches, self.seed), self.seed)


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
        raise ValueError(f"{components} components cannot be fitted to {len(z)} examples")
    em = mixture.GaussianMixture(components, random_state=stream_seed(seed, "mixture") % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        em.fit(z.double().cpu().numpy())
    weights, means, covariances = (torch.as_tensor(a) for a in (em.weights_, em.means_, em.covariances_))
    factors = torch.linalg.cholesky(covariances)
    gaussians = MultivariateNormal(means.to(z), scale_tril=factors.to(z), validate_args=False)
    return MixtureSameFamily(Categorical(weights.to(z), validate_args=False), gaussians, validate_args=False)


def fitted_flow(z: Tensor, seed: int = 0) -> Distribution:
    r"""A flow trained on z, (n, k), in z's precision: the state with the highest mean log density of the codes that are held
    out, a tenth of them, or half or 100 where that is more. It starts as the Gaussian with the mean and covariance of z, so
    that on the codes held out it is no worse than that.

    .. math:: \log p(z) = \log N(f(z); 0, I) + \log |\det \partial f / \partial z|, \quad f = T \circ L^{-1} (z - m), L L^T = S
    """
    if len(z) < _FEWEST:
        raise ValueError(f"it is fitted to {_FEWEST} examples or more, and there are {len(z)}")
    if not z.isfinite().all():
        raise ValueError("the codes are no numbers: the training of the model has diverged")
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, "flow"))
        z = z[torch.randperm(len(z))]
        flow = _gaussian_flow(z)
        _train(flow, *z.tensor_split([max(len(z) // 10, min(len(z) // 2, 100))]))
    p: Distribution = flow.requires_grad_(False)()
    return p


def _gaussian_flow(z: Tensor) -> nn.Module:
    """Whitening, and splines that are the identity as long as all their parameters are 0."""
    try:
        from zuko.flows import NSF, UnconditionalTransform
        from zuko.transforms import AdditiveTransform, LULinearTransform
    except ImportError as error:
        raise ValueError("it needs a package: pip install 'vae-lab[flow]'") from error
    flow = NSF(z.shape[1], transforms=3, hidden_features=(128, 128), bins=4)
    for spline in flow.transform.transforms:
        for parameter in (spline.hyper[-1] if hasattr(spline, "hyper") else spline).parameters():  # none for k = 1
            nn.init.zeros_(parameter)
    centre = UnconditionalTransform(AdditiveTransform, -z.mean(0), buffer=True)
    flow.transform.transforms.insert(0, centre)
    flow.transform.transforms.insert(1, UnconditionalTransform(LULinearTransform, _whitening(z), buffer=True))
    network: nn.Module = flow.to(z)
    return network


def _whitening(z: Tensor) -> Tensor:
    """The inverse of the Cholesky factor of the covariance, (k, k), whose correlations are made smaller by a millionth:
    a dimension may be constant, or a function of others."""
    scale = z.double().std(0).clamp(min=1e-6)
    u = (z.double() - z.double().mean(0)) / scale
    k = z.shape[1]
    eye = torch.eye(k).to(u)
    factor = torch.linalg.cholesky(u.T @ u / (len(u) - 1) + 1e-6 * eye)
    return (torch.linalg.solve_triangular(factor, eye, upper=False) / scale).to(z)


def _train(flow: nn.Module, held_out: Tensor, fitted: Tensor) -> None:
    """By Adam, one cycle of the learning rate; ends early, and always at the best state that was looked at."""
    adam = torch.optim.Adam(flow.parameters(), PEAK_RATE)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, PEAK_RATE, total_steps=UPDATES)
    best, state, since = _mean(flow, held_out), copy.deepcopy(flow.state_dict()), 0
    for update in range(1, UPDATES + 1):
        adam.zero_grad()
        rows = torch.randint(len(fitted), (min(BATCH, len(fitted)),))
        (-flow().log_prob(fitted[rows]).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        adam.step()
        cycle.step()
        if update % _LOOK:
            continue
        found, since = _mean(flow, held_out), since + 1
        if found > best:
            best, state, since = found, copy.deepcopy(flow.state_dict()), 0
        if since == _PATIENCE:
            break
    flow.load_state_dict(state)


@torch.no_grad()
def _mean(flow: Any, z: Tensor) -> float:
    return float(flow().log_prob(z).double().mean())
