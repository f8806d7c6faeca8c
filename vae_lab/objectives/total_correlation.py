"""The total correlation KL(q(z) || prod_j q(z_j)), by mini-batch estimates of q(z) and by a discriminator."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.func import functional_call
from torch.nn.functional import softplus

from vae_lab.models import Terms
from vae_lab.models.blocks import mlp
from vae_lab.objectives.regularizers import Regularizer
from vae_lab.settings import Betas, Count, NonNegative, Positive, Widths
from vae_lab.traits import Traits


class TotalCorrelation(Regularizer):
    r"""The parts of the rate, each with a weight of its own (beta-TCVAE, Chen et al. 2018, Eqs. 2 and 5).

    .. math:: R = \underbrace{E \log \tfrac{q(z|x)}{q(z)}}_{I} + \underbrace{E \log \tfrac{q(z)}{\prod_j q(z_j)}}_{TC}
              + \underbrace{\textstyle\sum_j E \log \tfrac{q(z_j)}{p(z_j)}}_{KL}, \qquad
              (\alpha - 1) I + (\beta - 1) TC + (\gamma - 1) KL

    Added to D + R it gives D + alpha I + beta TC + gamma KL. The aggregate posterior over the N training examples is
    estimated from the B of the batch, for z drawn from q(z|x_n), n in the batch (Chen et al. 2018, and its
    appendix):

    * `mws`: :math:`\hat q(z) = \frac1{N B} \sum_m q(z|x_m)`. It is too small, mostly by a constant factor: TC and KL have
      offsets of (k - 1) log N and -k log N, where the batch says much of q(z), which have no gradient.
    * `mss`: :math:`\hat q(z) = \frac1N q(z|x_n) + \frac{N - 1}{N (B - 1)} \sum_{m \ne n} q(z|x_m)`, unbiased for a batch
      drawn without replacement, and exact if it is the whole split. The paper weights one of the others apart; this is
      its estimate averaged over the order of the others. The log of it is still biased, down.

    Arguments:
        alpha, beta, gamma: the weights of the mutual information, the total correlation and the KL dimension by
            dimension; 1 leaves a part as it is.
        estimator: of q(z).
    """

    @classmethod
    def traits_of(cls, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0, **_: object) -> Traits:
        needs = {
            "factorised_posterior": "it needs the density of every single latent under q",
            "factorised_prior": "it needs the density of every single latent under the prior",
            "shared_prior": "it compares the codes of all examples with one prior",
            "whole_batch": "it takes the examples of the whole batch as q(z)",
            "several_examples": "one example says nothing of a batch",
            "pathwise_z": "its gradient reaches q through z too",
            "additive_rate": "it weights the parts of the rate anew",
        }
        if min(alpha, beta, gamma) < 1:
            needs["rate_in_full"] = "a weight below 1 takes a part of the rate away"
        return Traits(needs=needs)

    def __init__(
        self,
        examples: int,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 6.0,
        gamma: NonNegative = 1.0,
        estimator: Literal["mws", "mss"] = "mss",
    ) -> None:
        super().__init__()
        self.weights = (alpha, beta, gamma)
        self.examples, self.estimator = examples, estimator

    def forward(self, terms: Terms) -> Tensor:
        if self.weights == (1, 1, 1):
            return terms.z.new_zeros(())
        weighted = ((w - 1) * part for w, part in zip(self.weights, self.parts(terms), strict=True) if w != 1)
        return sum(weighted, start=terms.z.new_zeros(()))

    def parts(self, terms: Terms) -> tuple[Tensor, Tensor, Tensor]:
        """The estimates of mutual information, total correlation and dimension-wise KL, scalars, nats."""
        assert isinstance(terms.prior, Independent)
        joint, single = self.aggregate(terms)
        information = terms.posterior.log_prob(terms.z) - joint
        apart = (single - terms.prior.base_dist.log_prob(terms.z)).sum(-1)
        return information.mean(), (joint - single.sum(-1)).mean(), apart.mean()

    def aggregate(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """The estimated log q(z), (K, B), and log q(z_j), (K, B, k), at the z of the batch."""
        assert isinstance(terms.posterior, Independent)
        pairs = terms.posterior.base_dist.log_prob(terms.z.unsqueeze(-2))  # (K, n, m, k): log q(z_nj | x_m)
        log_weights = self._weights(terms.z).log()
        return (pairs.sum(-1) + log_weights).logsumexp(-1), (pairs + log_weights.unsqueeze(-1)).logsumexp(-2)

    def _weights(self, z: Tensor) -> Tensor:
        """The weight of q(z_n | x_m) in the estimate of q(z_n), (n, m)."""
        n, batch = self.examples, z.shape[1]
        if self.estimator == "mws":
            return z.new_full((batch, batch), 1 / (n * batch))
        return z.new_full((batch, batch), (n - 1) / (n * max(batch - 1, 1))).fill_diagonal_(1 / n)


class Factor(Regularizer):
    r"""The total correlation by a discriminator (FactorVAE, Kim and Mnih 2018, Eqs. 2 and 3).

    .. math:: \gamma\, TC(z) \approx \gamma\, E_{q(z)}[l(z)]

    The logit l(z) tells z of q(z) from z of :math:`\prod_j q(z_j)`; the best one is the log ratio of the two densities.
    It learns by cross-entropy on the z of the batch, and on the same z with every latent permuted over the batch by
    itself (the paper permutes a second batch). Its loss has a gradient and no value here, and none that reaches the
    model; the total correlation has none that reaches the discriminator.

    An Adam of its own takes a step with every step of the run's optimiser (also those of an aggressive inference between
    two updates), at a constant learning rate, without decay and without clipping.
    Differences from the paper: one logit for its two, and plain ReLU.

    Arguments:
        gamma: the weight of the total correlation.
        hidden: widths of the discriminator (the paper: six of 1000).
        lr, betas: of the discriminator's Adam (the paper: 1e-4, for runs a hundred times as long as the lab's demo; the
            betas are those of disentanglement_lib, `unsupervised_study_v1/model_configs/shared.gin`).
    """

    revision = 1  # the discriminator has an optimiser of its own

    traits = Traits(
        needs={
            "pathwise_z": "its gradient reaches q through z",
            "whole_batch": "it permutes the latents over the whole batch",
            "several_examples": "one example says nothing of a batch",
            "unrecorded_step": "it takes a seed from a tensor within a step",
            "wide_moments": "a discriminator whose Adam forgets small gradients runs away from the model",
        }
    )

    def __init__(
        self,
        latent_dim: Count,
        gamma: NonNegative = 10.0,
        hidden: Widths = [256, 256],
        lr: Positive = 1e-3,
        betas: Betas = [0.5, 0.9],
    ) -> None:
        super().__init__()
        self.discriminator: nn.Module = mlp([latent_dim, *hidden, 1], "relu")
        self.gamma, self.lr, self.betas = gamma, lr, (betas[0], betas[1])

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": self.lr, "betas": self.betas}]

    def forward(self, terms: Terms) -> Tensor:
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        penalty = self.gamma * functional_call(self.discriminator, frozen, (terms.z,)).mean()
        if not self.learning:
            return penalty
        own = self.cross_entropy(terms.z.detach())
        return penalty + (own - own.detach())

    def cross_entropy(self, z: Tensor) -> Tensor:
        """The discriminator's own loss on z, (K, B, k)."""
        with self.draws(z.device):
            order = torch.rand_like(z).argsort(1)
        together, apart = self.discriminator(z), self.discriminator(z.gather(1, order))
        return 0.5 * (softplus(-together).mean() + softplus(apart).mean())
