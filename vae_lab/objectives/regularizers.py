"""Extra terms of the loss, on z, on q and on the batch. A regularizer's `forward(terms)` gives a scalar, nats per example,
already weighted."""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence
from torch.nn.functional import logsigmoid

from vae_lab.distributions import Gaussian
from vae_lab.models import Terms
from vae_lab.settings import NonNegative, Positive
from vae_lab.traits import Traits


class Regularizer(nn.Module):
    """What the objective may rely on."""

    def forward(self, terms: Terms) -> Tensor:
        raise NotImplementedError

    @property
    def learning(self) -> bool:
        """Whether this is a step of training, and no evaluation."""
        return self.training and torch.is_grad_enabled()

    @contextlib.contextmanager
    def draws(self, device: torch.device) -> Iterator[None]:
        """Random numbers on a device: in training they follow from torch's generator for the CPU, which each step has
        seeded; an evaluation always has the same, and leaves every generator as it was."""
        seed = int(torch.randint(2**62, ())) if self.learning else 0
        cuda = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if cuda else []):
            torch.default_generator.manual_seed(seed)
            if cuda:
                torch.cuda.manual_seed(seed)
            yield


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries of (..., n, n) that are not on the diagonal, (..., n - 1, n).

    Example:
        >>> off_diagonal(torch.arange(9).view(3, 3))
        tensor([[1, 2, 3],
                [5, 6, 7]])
    """
    n = matrix.shape[-1]
    return matrix.flatten(-2)[..., 1:].unflatten(-1, (n - 1, n + 1))[..., :-1]


class MMD(Regularizer):
    r"""InfoVAE with the maximum mean discrepancy (Zhao et al. 2017), with their lambda as `scale`.

    .. math:: -\alpha R + (\alpha + \lambda - 1)\,\mathrm{MMD}^2(q(z), p(z))

    Added to D + R it leaves (1 - alpha) R. With alpha = 1 the whole rate is gone, and D + scale * MMD^2 is WAE-MMD
    (Tolstikhin et al. 2018). The estimate compares the z of the batch with as many draws of the prior; it is the
    U-statistic, which is unbiased, so that it may be below 0 (Gretton et al. 2012, Lemma 6). Several draws of z for each
    x are compared with the prior one set at a time. The prior's draws are constants: they teach a learned prior nothing.

    .. math:: k_{rbf}(z, z') = e^{-|z - z'|^2 / C}, \quad k_{imq}(z, z') = \frac{C}{C + |z - z'|^2}, \quad
              C = 2 k\,\mathrm{width}^2

    C is the mean squared distance of two draws of N(0, width^2 I) in k dimensions (it is the choice of Tolstikhin et al.
    2018): at width 1, the prior's own, neither kernel is all ones nor all zeros, whatever k is.

    Arguments:
        alpha: the share of the rate that is taken away; with a weight of the rate below it, as at the start of a
            warm-up, the rate is rewarded.
        scale: lambda, nats for each unit of MMD^2 (which is less than 2): of the order of the distortion or above.
        kernel: `rbf`, or `imq`, whose heavy tails still pull at a z far from the prior.
        width: the prior's standard deviation that the kernel is made for.
    """

    @classmethod
    def traits_of(cls, alpha: float = 0.9, **_: object) -> Traits:
        needs = {
            "pathwise_z": "its gradient reaches q through z",
            "whole_batch": "it compares the z of the whole batch with the prior",
            "shared_prior": "it compares the z of the whole batch with draws of one prior",
            "several_examples": "one example says nothing of a batch",
            "unrecorded_step": "it takes a seed from a tensor within a step",
        }
        if alpha:
            why = f"alpha={alpha} takes from the rate"
            needs |= {"additive_rate": why, "rate_in_full": why}
        return Traits(needs=needs)

    def __init__(
        self,
        alpha: Annotated[float, Le(1)] = 0.9,
        scale: NonNegative = 100.0,
        kernel: Literal["rbf", "imq"] = "imq",
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.alpha, self.weight, self.kernel, self.width = alpha, alpha + scale - 1, kernel, width
        if self.weight < 0:
            raise ValueError(
                f"regularizer.mmd.scale: {scale} given; alpha + scale - 1 = {self.weight:g} is the weight of the MMD and "
                f"must not be negative: scale at least {1 - alpha:g}"
            )

    def forward(self, terms: Terms) -> Tensor:
        return self.weight * self.discrepancy(terms) - self.alpha * terms.rate.mean()

    def discrepancy(self, terms: Terms) -> Tensor:
        """The U-statistic of MMD^2, a scalar; 0 for a batch of one, which says nothing of q(z)."""
        z = terms.z
        if z.shape[1] < 2:
            return z.new_zeros(())
        with self.draws(z.device), torch.no_grad():
            p = terms.prior.sample(z.shape[:-1])
        return self._inside(z) + self._inside(p) - 2 * self._similarity(z, p).mean()

    def _inside(self, z: Tensor) -> Tensor:
        """The mean similarity of two different points."""
        return off_diagonal(self._similarity(z, z)).mean()

    def _similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """The kernel of every pair, (K, n, m)."""
        distance = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1) / (2 * a.shape[-1] * self.width**2)
        return (-distance).exp() if self.kernel == "rbf" else 1 / (1 + distance)


class DIP(Regularizer):
    r"""The covariance of the latents over the data is pulled to the identity (DIP-VAE, Kumar et al. 2018, Eqs. 6 and 7).

    .. math:: \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2, \qquad
              C = \mathrm{Cov}_x[E_q z] \text{ (i)}, \quad
              C = \mathrm{Cov}_x[E_q z] + E_x[\mathrm{Var}_q z] \text{ (ii)}

    The covariance is that of the batch, a mean over B. Kind `i` wants means that vary as much as the prior does, so that
    no latent collapses; under kind `ii` a collapsed latent, of variance 1 around mean 0, is as good as any.

    Arguments:
        kind: which covariance.
        off_diagonal: lambda_od; diagonal: lambda_d; both in nats.
    """

    traits = Traits(
        needs={
            "factorised_posterior": "it needs the mean and the variance of every single latent under q",
            "whole_batch": "it takes a covariance over the whole batch",
            "several_examples": "one example says nothing of a batch",
        }
    )

    def __init__(
        self, kind: Literal["i", "ii"] = "i", off_diagonal: NonNegative = 1.0, diagonal: NonNegative = 10.0
    ) -> None:
        super().__init__()
        self.kind, self.off_diagonal, self.diagonal = kind, off_diagonal, diagonal

    def forward(self, terms: Terms) -> Tensor:
        covariance = self.covariance(terms)
        diagonal = covariance.diagonal()
        apart = off_diagonal(covariance).square().sum()
        return self.off_diagonal * apart + self.diagonal * (diagonal - 1).square().sum()

    def covariance(self, terms: Terms) -> Tensor:
        """Of the means, or of z, over the batch, (k, k)."""
        centred = terms.posterior.mean - terms.posterior.mean.mean(0)
        covariance = centred.T @ centred / len(centred)
        return covariance if self.kind == "i" else covariance + terms.posterior.variance.mean(0).diag()


class MutualPosterior(Regularizer):
    r"""Posteriors of different examples are kept apart, evenly (MAE, Ma et al. 2019).

    .. math:: M_j = \mathrm{mean}_{m \ne n} KL(q(z_j|x_m) \| q(z_j|x_n)), \qquad
              -\eta \sum_j \log \sigma(M_j)
              + \gamma\,\mathrm{std}_{m \ne n} \sum_j KL(q(z_j|x_m) \| q(z_j|x_n))

    The means, the sum over latents before the deviation, and the deviation's B (B - 1) - 1 are those of the authors'
    code, which divides M_j by eta inside the sigmoid: there eta is the divergence at which the reward fades, here it is
    the weight of a reward that fades at a few nats. It takes B^2 k divergences.

    Arguments:
        eta: the weight of diversity; below 1 a collapsed latent with variance 1 gains nothing from leaving the prior.
        gamma: the weight of smoothness.
    """

    traits = Traits(
        needs={
            "factorised_posterior": "it needs the divergence of every single latent between two examples",
            "whole_batch": "it compares every two posteriors of the whole batch",
            "several_examples": "one example says nothing of a batch",
        }
    )

    def __init__(self, eta: NonNegative = 2.0, gamma: NonNegative = 0.1) -> None:
        super().__init__()
        self.eta, self.gamma = eta, gamma

    def forward(self, terms: Terms) -> Tensor:
        if terms.z.shape[1] < 2:
            return terms.z.new_zeros(())
        divergences = off_diagonal(self.divergences(terms).movedim(-1, 0))  # (k, B - 1, B)
        diversity = -logsigmoid(divergences.mean((1, 2))).sum()
        variance = divergences.sum(0).var()  # at 0, all posteriors alike, a root has no gradient
        return self.eta * diversity + self.gamma * (variance + 1e-12).sqrt()

    def divergences(self, terms: Terms) -> Tensor:
        """KL(q(z_j|x_m) || q(z_j|x_n)), (m, n, k)."""
        q = terms.posterior.base_dist if isinstance(terms.posterior, Independent) else None
        assert isinstance(q, Gaussian), "the mutual posterior divergence is written for diagonal Gaussians"
        return kl_divergence(Gaussian(q.loc.unsqueeze(1), q.log_scale.expand_as(q.loc).unsqueeze(1)), q)
