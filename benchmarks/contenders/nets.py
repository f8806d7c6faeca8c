"""The networks that are compared, in plain PyTorch: of the lab's sizes, for every contender but the lab itself."""

import itertools

import torch
from torch import Tensor, nn

LATENTS, EXAMPLES, SAMPLES, IMPORTANCE = 50, 10_000, 50, 1000
DRAWS = {"iwae": SAMPLES}  # of z for each example in training


def mlp(sizes: list[int]) -> nn.Sequential:
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


class Cropped(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.side, : self.side]


def conv_encoder(outputs: int) -> nn.Sequential:
    convolutions = [nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*convolutions, nn.Linear(64 * 7 * 7, 256), nn.ReLU(), nn.Linear(256, outputs))


def conv_decoder() -> nn.Sequential:
    dense = [nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 64 * 7 * 7), nn.Unflatten(1, (64, 7, 7)), nn.ReLU()]
    up = [nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)]
    return nn.Sequential(*dense, *up, nn.Flatten())


def nets(model: str) -> tuple[nn.Module, nn.Module]:
    """An encoder from x, (B, 1, 28, 28), to location and log-scale, (B, 2 k), and a decoder from z, (n, k), to logits."""
    if model == "conv":
        return conv_encoder(2 * LATENTS), conv_decoder()
    return nn.Sequential(nn.Flatten(), mlp([784, 200, 200, 2 * LATENTS])), mlp([LATENTS, 200, 200, 784])


def grey(generator: torch.Generator | None = None) -> Tensor:
    """Data, (n, 1, 28, 28), uint8."""
    return torch.randint(0, 256, (EXAMPLES, 1, 28, 28), dtype=torch.uint8, generator=generator)
