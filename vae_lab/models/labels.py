"""Parts of a model that are told the label of an example: the conditional VAE (Sohn et al. 2015; Kingma et al. 2014, the
model M2 with every label known).

Each wraps a part that is told nothing, so that every encoder and decoder can be had with labels, and `given(y)` is that part
again, at labels y: whole numbers, (B,) for a batch or () for all of one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from vae_lab.distributions import diagonal
from vae_lab.traits import Traits


class Labelled(nn.Module):
    """A part of a model that is told labels."""

    def given(self, y: Tensor) -> Callable[..., Any]:
        """The part at labels y."""
        return partial(self, y=y)


class LabelledEncoder(Labelled):
    """q(z|x, y): the encoder sees x and, beside it, a learned channel for each label; where x is a vector, the label's
    one-hot vector."""

    def __init__(self, build: Callable[..., nn.Module], shape: Sequence[int], classes: int) -> None:
        super().__init__()
        if len(shape) == 3:
            self.net, beside = build(shape=[shape[0] + 1, *shape[1:]]), torch.randn(classes, 1, *shape[1:])
        else:
            self.net, beside = build(shape=[shape[0] + classes]), torch.eye(classes)
        self.beside = nn.Parameter(beside, requires_grad=len(shape) == 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([x, self.beside[y.expand(len(x))]], 1))


class LabelledDecoder(Labelled):
    """p(x|z, y): the decoder sees z and the label's one-hot vector."""

    def __init__(self, build: Callable[..., nn.Module], latent_dim: int, classes: int) -> None:
        super().__init__()
        self.net, self.classes = build(latent_dim=latent_dim + classes), classes

    def forward(self, z: Tensor, likelihood: nn.Module, y: Tensor) -> Distribution:
        rows = torch.eye(
            self.classes, dtype=z.dtype, device=z.device
        )  # `one_hot` would look at y, and the host would wait
        label = rows[y].expand(*z.shape[:-1], -1)
        return self.net(torch.cat([z, label], -1), likelihood)


class LabelledPrior(Labelled):
    """p(z|y): a Gaussian with a learned location and scale for each label, which begin at those of p(z)."""

    def __init__(self, prior: nn.Module, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.net = prior
        self.loc = nn.Parameter(torch.zeros(classes, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(classes, latent_dim))

    def forward(self, y: Tensor) -> Distribution:
        p = self.net()
        assert isinstance(p, Independent)
        return diagonal(p.base_dist.loc + self.loc[y], p.base_dist.scale.log() + self.log_scale[y])


class Ignored:
    """The model is told no labels."""

    neutral = True

    def encoder(self, build: Callable[..., nn.Module], shape: Sequence[int]) -> nn.Module:
        """An encoder, made by what builds one for a shape of x."""
        return build(shape=shape)

    def decoder(self, build: Callable[..., nn.Module], latent_dim: int) -> nn.Module:
        """A decoder, made by what builds one for a number of latents."""
        return build(latent_dim=latent_dim)

    def prior(self, prior: nn.Module, latent_dim: int) -> nn.Module:
        return prior


class Given(Ignored):
    r"""The model is told the label of each example: elbo, rate, distortion and nll are those of p(x|y).

    .. math:: \log p(x|y) \ge E_{q(z|x, y)}[\log p(x|z, y)] - KL(q(z|x, y) || p(z|y))

    Arguments:
        encoder, decoder, prior: which parts are told; p(z|y) = p(z) where the prior is not.
    """

    neutral = False

    def __init__(self, classes: int | None, encoder: bool = True, decoder: bool = True, prior: bool = False) -> None:
        if classes is None:
            raise ValueError("labels=given: this dataset has no labels")
        if not (encoder or decoder or prior):
            raise ValueError(
                "labels=given tells no part of the model: set labels.encoder, labels.decoder or labels.prior"
            )
        self.classes, self.told = classes, {"encoder": encoder, "decoder": decoder, "prior": prior}

    @classmethod
    def traits_of(cls, prior: bool = False, **_: Any) -> Traits:
        needs = {"labels": "it tells the model the label of each example, and this dataset has none"}
        if not prior:
            return Traits(needs=needs)
        own = "each label has a prior of its own (labels.prior=true)"
        normal = {"factorised_prior": "with labels.prior=true p(z|y) is a Gaussian that begins at p(z)"}
        return Traits(needs={**needs, **normal}, forbids={"standard_prior": own, "shared_prior": own})

    def encoder(self, build: Callable[..., nn.Module], shape: Sequence[int]) -> nn.Module:
        return LabelledEncoder(build, shape, self.classes) if self.told["encoder"] else build(shape=shape)

    def decoder(self, build: Callable[..., nn.Module], latent_dim: int) -> nn.Module:
        told = self.told["decoder"]
        return LabelledDecoder(build, latent_dim, self.classes) if told else build(latent_dim=latent_dim)

    def prior(self, prior: nn.Module, latent_dim: int) -> nn.Module:
        return LabelledPrior(prior, latent_dim, self.classes) if self.told["prior"] else prior
