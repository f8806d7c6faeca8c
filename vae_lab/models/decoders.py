"""Networks from z to p(x|z). A decoder's `forward(z, likelihood)` returns the distribution; z is (..., k).

With `skip` a decoder shows z to each of its layers, which ties it to z more closely (Dieng et al. 2019). Decoders of one
layer have no such setting: it would change nothing.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.models.blocks import ACTIVATIONS, SkipMLP, mlp, shifts
from vae_lab.settings import Activation, Count, Widths
from vae_lab.traits import Traits

Likelihood = Callable[[Tensor], Distribution]


class Decoder(nn.Module):
    """A decoder whose pixels are independent given z: `raw(z)` gives the likelihood's parameters, (n, *shape, arity)
    for z of shape (n, k)."""

    def forward(self, z: Tensor, likelihood: Likelihood) -> Distribution:
        flat = self.raw(z.flatten(0, -2))
        return likelihood(flat.unflatten(0, z.shape[:-1]))

    def raw(self, z: Tensor) -> Tensor:
        raise NotImplementedError


class MLPDecoder(Decoder):
    """Fully connected layers of the widths `hidden`. With `skip`, z is a part of the input of every layer."""

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        arity: int,
        hidden: Widths = [200, 200],
        activation: Activation = "tanh",
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.out_shape = (*shape, arity)
        self.net = (SkipMLP if skip else mlp)([latent_dim, *hidden, math.prod(self.out_shape)], activation)

    def raw(self, z: Tensor) -> Tensor:
        return self.net(z).unflatten(-1, self.out_shape)


class LinearDecoder(Decoder):
    """One affine map: x = W z + mu, the decoder of probabilistic PCA (Tipping and Bishop 1999; Lucas et al. 2019)."""

    def __init__(self, latent_dim: int, shape: Sequence[int], arity: int) -> None:
        super().__init__()
        self.out_shape = (*shape, arity)
        self.net = nn.Linear(latent_dim, math.prod(self.out_shape))

    def raw(self, z: Tensor) -> Tensor:
        return self.net(z).unflatten(-1, self.out_shape)


class DiagonalDecoder(Decoder):
    """One number a coordinate: x_j = w_j z_j. The partner of `encoder=diagonal`."""

    def __init__(self, latent_dim: int, shape: Sequence[int], arity: int) -> None:
        super().__init__()
        if math.prod(shape) != latent_dim or arity != 1:
            raise ValueError(f"decoder=diagonal needs latent_dim={math.prod(shape)} (the size of x), not {latent_dim}")
        self.out_shape = (*shape, arity)
        self.weight = nn.Parameter(torch.full((latent_dim,), 0.5))

    def raw(self, z: Tensor) -> Tensor:
        return (self.weight * z).unflatten(-1, self.out_shape)


class ConvDecoder(Decoder):
    """One hidden layer, then transposed convolutions of stride 2, one for each entry of `channels`, cropped to `shape`.

    With `skip`, z is a part of the input of the fully connected layers and shifts the output of every convolution, each
    channel by a learned linear map of z that starts at zero.
    """

    traits = Traits(needs={"image": "a convolution needs x of shape (channels, height, width)"})

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        arity: int,
        channels: Widths = [64, 32],
        hidden: Count = 256,
        activation: Activation = "relu",
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.arity = tuple(shape), arity
        sizes = [*channels, shape[0] * arity]
        factor = 2 ** len(channels)
        small = (channels[0], -(-shape[1] // factor), -(-shape[2] // factor))
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [ACTIVATIONS[activation](), nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)]
        dense = (SkipMLP if skip else mlp)([latent_dim, hidden, math.prod(small)], activation)
        self.net = nn.Sequential(dense, nn.Unflatten(1, small), *layers)
        self.shifts = shifts(latent_dim, sizes[1:] if skip else [])

    def raw(self, z: Tensor) -> Tensor:
        channels, height, width = self.shape
        image = self._image(z)[..., :height, :width]
        return image.unflatten(1, (channels, self.arity)).movedim(2, -1)

    def _image(self, z: Tensor) -> Tensor:
        """The output of the last convolution, not yet cropped."""
        if not self.shifts:
            return self.net(z)
        h, shift = z, iter(self.shifts)
        for layer in self.net:
            h = layer(h)
            if isinstance(layer, nn.ConvTranspose2d):
                h = h + next(shift)(z)[..., None, None]
        return h
