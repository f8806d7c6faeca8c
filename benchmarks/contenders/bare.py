"""A loop in plain PyTorch, written by somebody who has read everything about speed: `python -m benchmarks.contenders.bare
MODEL BATCH_SIZE`. Data as bytes in memory, a batch by one index, noise in place, logits, a fused Adam, no logging."""

import itertools
import math
import os
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.turns import Turns

HIDDEN, LATENTS, EXAMPLES, SAMPLES = 200, 50, 10_000, 50


def net(sizes: list[int]) -> nn.Sequential:
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def loss_of(encoder: nn.Module, decoder: nn.Module, x: Tensor, samples: int) -> Tensor:
    """Minus the importance-weighted bound of so many samples: of one, the ELBO with its rate in closed form."""
    loc, log_scale = encoder(x).chunk(2, -1)
    noise = torch.randn(samples, *loc.shape)
    z = loc + log_scale.exp() * noise
    logits = decoder(z)
    distortion = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    if samples == 1:
        rate = 0.5 * (loc.square() + (2 * log_scale).exp() - 2 * log_scale - 1).sum(-1)
        return (distortion[0] + rate).mean()
    log_w = 0.5 * (noise.square() - z.square()).sum(-1) + log_scale.sum(-1) - distortion
    return (math.log(samples) - log_w.logsumexp(0)).mean()


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    data = torch.randint(0, 256, (EXAMPLES, 784), dtype=torch.uint8)
    encoder, decoder = net([784, HIDDEN, HIDDEN, 2 * LATENTS]), net([LATENTS, HIDDEN, HIDDEN, 784])
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3, fused=True)
    turns = Turns()
    while True:
        for rows in torch.randperm(EXAMPLES).split(batch_size)[: EXAMPLES // batch_size]:
            x = (torch.randint(0, 255, (batch_size, 784), dtype=torch.uint8) < data[rows]).float()
            loss = loss_of(encoder, decoder, x, SAMPLES if model == "iwae" else 1)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            turns.step()


if __name__ == "__main__":
    main()
