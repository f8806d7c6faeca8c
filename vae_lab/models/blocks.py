"""Parts that encoders and decoders share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_lab.settings import Activation

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
}


def mlp(sizes: Sequence[int], activation: Activation) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them, and none after the last.

    Example:
        >>> mlp([4, 3, 2], "relu")
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
          (1): ReLU()
          (2): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class SkipMLP(nn.Module):
    """An `mlp` of which every layer after the first sees the input again, beside the layer before (Dieng et al. 2019)."""

    def __init__(self, sizes: Sequence[int], activation: Activation) -> None:
        super().__init__()
        first, *rest = pairwise(sizes)
        wider = [(n_in + sizes[0], n_out) for n_in, n_out in rest]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in (first, *wider))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, z: Tensor) -> Tensor:
        first, *rest = self.layers
        h: Tensor = first(z)
        for layer in rest:
            h = layer(torch.cat([self.activation(h), z], -1))
        return h


def shifts(latent_dim: int, sizes: Sequence[int]) -> nn.ModuleList:
    """Linear maps from z to what is added to layers of the given sizes. They start at zero: a network that is given them
    starts as what it was without."""
    maps = [nn.Linear(latent_dim, size, bias=False) for size in sizes]
    for each in maps:
        nn.init.zeros_(each.weight)
    return nn.ModuleList(maps)
