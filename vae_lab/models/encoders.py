"""Networks from x to the raw parameters of q(z|x): (B, *shape) -> (B, outputs)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_lab.models.blocks import ACTIVATIONS, mlp
from vae_lab.settings import Activation, Count, Widths
from vae_lab.traits import Traits


class LinearEncoder(nn.Sequential):
    """One affine map: the encoder of the linear VAE (Lucas et al. 2019)."""

    def __init__(self, shape: Sequence[int], outputs: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(shape), outputs))


class DiagonalEncoder(nn.Module):
    """One number a coordinate: loc_j = a_j x_j and a log-scale that is the same for every x.

    The constrained model on which methods that see each latent by itself have a closed form. Needs as many latents as
    x has coordinates.
    """

    def __init__(self, shape: Sequence[int], outputs: int, latent_dim: int) -> None:
        super().__init__()
        if math.prod(shape) != latent_dim:
            raise ValueError(f"encoder=diagonal needs latent_dim={math.prod(shape)} (the size of x), not {latent_dim}")
        self.slope = nn.Parameter(torch.full((latent_dim,), 0.5))
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x: Tensor) -> Tensor:
        loc = self.slope * x.flatten(1)
        return torch.cat([loc, self.log_scale.expand_as(loc)], -1)


class MLPEncoder(nn.Sequential):
    """Fully connected layers of the widths `hidden`."""

    def __init__(
        self, shape: Sequence[int], outputs: int, hidden: Widths = [200, 200], activation: Activation = "tanh"
    ) -> None:
        super().__init__(nn.Flatten(), *mlp([math.prod(shape), *hidden, outputs], activation))


class ConvEncoder(nn.Sequential):
    """Convolutions of stride 2, one for each entry of `channels`, then one hidden layer. x is (channels, height, width)."""

    traits = Traits(needs={"image": "a convolution needs x of shape (channels, height, width)"})

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        channels: Widths = [32, 64],
        hidden: Count = 256,
        activation: Activation = "relu",
    ) -> None:
        sizes = [shape[0], *channels]
        height, width = shape[1:]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), ACTIVATIONS[activation]()]
            height, width = (height + 1) // 2, (width + 1) // 2
        super().__init__(*layers, nn.Flatten(), *mlp([sizes[-1] * height * width, hidden, outputs], activation))
