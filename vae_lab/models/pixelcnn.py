"""A decoder that models each pixel from the pixels before it, and z: strong enough to do without z."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from vae_lab.distributions import Autoregressive
from vae_lab.models.blocks import shifts
from vae_lab.models.decoders import Decoder, Likelihood
from vae_lab.settings import Count, Layers
from vae_lab.traits import Traits


class PixelCNNDecoder(Decoder):
    r"""The gated PixelCNN with its two stacks (van den Oord et al. 2016, "Conditional image generation with PixelCNN
    decoders", section 2), :math:`p(x|z) = \prod_i p(x_i | x_{<i}, z)`.

    A vertical stack reads the rows above, a horizontal one the pixels to the left, so that there is no blind spot. z
    enters every layer of the horizontal stack, the same at every pixel (their Eq. 4); the vertical stack sees x alone
    and is computed once however many samples of z there are.

    Arguments:
        channels: width of both stacks.
        layers: gated layers after the input layer.
        receptive_field: how far a pixel sees, in pixels: so many to the left in its own row and so many rows up; in the
            rows above one less to either side. Small values force global structure through z (Chen et al. 2017,
            section 3.1).
        skip: z also shifts the outputs of the horizontal input layer and of both layers of the head, by linear maps that
            start at zero, the same at every pixel. It then enters each layer but the vertical stack's.
    """

    traits = Traits(
        provides=frozenset({"autoregressive"}),
        needs={"image": "a PixelCNN needs x of shape (channels, height, width)"},
    )

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        arity: int,
        channels: Count = 16,
        layers: Layers = 2,
        receptive_field: Count = 5,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.arity = torch.Size(shape), arity
        first, *rest = _radii(receptive_field - 1, layers + 1)
        self.rows_in = _Rows(shape[0], channels, first)
        self.left_in = _Left(shape[0], channels, first)
        self.layers = nn.ModuleList(GatedLayer(channels, latent_dim, radius) for radius in rest)
        self.out = nn.Sequential(
            nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, shape[0] * arity)
        )
        self.shifts = shifts(latent_dim, [channels, channels, shape[0] * arity] if skip else [])

    def forward(self, z: Tensor, likelihood: Likelihood) -> Distribution:
        return Autoregressive(lambda x: likelihood(self.conditional(x, z)), z.shape[:-1], self.shape)

    def conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """The likelihood's parameters of every pixel given those before it, (*z.shape[:-1], *shape, arity). The leading
        dimensions of x are broadcast to those of z. Inside, channels come last: on small images pointwise layers are
        then plain matrix products, which take half the time of convolutions."""
        pixels = x.movedim(-3, -1)
        rows = self.rows_in(F.pad(pixels, (0, 0, 0, 0, 1, 0))[..., :-1, :, :])  # a row sees only rows above it
        h = self.left_in(F.pad(pixels, (0, 0, 1, 0))[..., :-1, :])  # a pixel sees only pixels left of it
        if self.shifts:
            h = h + self._shift(0, z)
        for layer in self.layers:
            rows, h = layer(rows, h, z)
        return self._head(h, z).unflatten(-1, (self.shape[0], self.arity)).movedim(-2, -4)

    def _head(self, h: Tensor, z: Tensor) -> Tensor:
        if not self.shifts:
            return self.out(h)
        hidden = self.out[:2](h) + self._shift(1, z)
        return self.out[2:](hidden) + self._shift(2, z)

    def _shift(self, i: int, z: Tensor) -> Tensor:
        return self.shifts[i](z)[..., None, None, :]


class GatedLayer(nn.Module):
    """One layer of both stacks, gated as tanh(a) * sigmoid(b) up to scale. The horizontal one is fed by the vertical one
    and by z, and is residual."""

    def __init__(self, channels: int, latent_dim: int, radius: int) -> None:
        super().__init__()
        self.rows = _Rows(channels, 2 * channels, radius)
        self.left = _Left(channels, 2 * channels, radius)
        self.rows_to_left = nn.Linear(channels, 2 * channels)
        self.z_to_left = nn.Linear(latent_dim, 2 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, rows: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        rows = _gate(self.rows(rows))
        seen = self.left(h) + self.rows_to_left(rows)
        return rows, h + self.out(_gate(seen + self.z_to_left(z)[..., None, None, :]))


def _gate(a: Tensor) -> Tensor:
    """tanh(v) * 2 sigmoid(2 g) for a = (v, g). Since 2 sigmoid(2 g) = 1 + tanh(g), one tanh over contiguous memory does
    both; the factors 2 are the next and the previous layer's to absorb."""
    value, gate = a.tanh().chunk(2, -1)
    return torch.addcmul(value, value, gate)


def _radii(total: int, parts: int) -> list[int]:
    """`total` split over `parts` as evenly as can be, the larger ones first."""
    each, more = divmod(total, parts)
    return [each + (i < more) for i in range(parts)]


class _Rows(nn.Conv2d):
    """A convolution over (..., height, width, channels) that sees `radius` rows above and its own, and `radius` columns
    to either side."""

    def __init__(self, n_in: int, n_out: int, radius: int) -> None:
        super().__init__(n_in, n_out, (radius + 1, 2 * radius + 1))
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        flat = F.pad(x.flatten(0, -4), (0, 0, self.radius, self.radius, self.radius, 0))
        return super().forward(flat.movedim(-1, 1)).movedim(1, -1).unflatten(0, x.shape[:-3])


class _Left(nn.Linear):
    """A convolution over (..., height, width, channels) that sees its own pixel and `radius` to the left."""

    def __init__(self, n_in: int, n_out: int, radius: int) -> None:
        super().__init__((radius + 1) * n_in, n_out)
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        width, padded = x.shape[-2], F.pad(x, (0, 0, self.radius, 0))
        return super().forward(torch.cat([padded[..., i : i + width, :] for i in range(self.radius + 1)], -1))
