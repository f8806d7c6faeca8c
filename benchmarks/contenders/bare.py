"""A loop in plain PyTorch, written by somebody who has read everything about speed: `python -m benchmarks.contenders.bare
MODEL BATCH_SIZE`. Data as bytes in memory, a batch by one index, noise in place, logits, a fused Adam, no logging."""

import math
import os
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contenders.nets import DRAWS, EXAMPLES, IMPORTANCE, grey, nets
from benchmarks.contenders.place import DEVICE
from benchmarks.turns import Turns

BLOCK = 512  # decoded examples at a time: what stays in cache


def log_weights(encoder: nn.Module, decoder: nn.Module, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """The distortion of each sample, the location and log-scale of q, and log p(z) - log q(z|x) of each sample."""
    loc, log_scale = encoder(x).chunk(2, -1)
    noise = torch.randn(samples, *loc.shape, device=loc.device)
    z = loc + log_scale.exp() * noise
    logits = decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    distortion = F.binary_cross_entropy_with_logits(logits, x.flatten(1).expand_as(logits), reduction="none").sum(-1)
    return distortion, torch.stack([loc, log_scale]), 0.5 * (noise.square() - z.square()).sum(-1) + log_scale.sum(-1)


def loss_of(encoder: nn.Module, decoder: nn.Module, x: Tensor, samples: int) -> Tensor:
    """Minus the importance-weighted bound of so many samples: of one, the ELBO with its rate in closed form."""
    distortion, (loc, log_scale), ratio = log_weights(encoder, decoder, x, samples)
    if samples == 1:
        rate = 0.5 * (loc.square() + (2 * log_scale).exp() - 2 * log_scale - 1).sum(-1)
        return (distortion[0] + rate).mean()
    return (math.log(samples) - (ratio - distortion).logsumexp(0)).mean()


@torch.inference_mode()
def nll_of(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> float:
    parts = []
    for samples in blocks(len(x)):
        distortion, _, ratio = log_weights(encoder, decoder, x, samples)
        parts.append((ratio - distortion).double().logsumexp(0))
    return float((math.log(IMPORTANCE) - torch.stack(parts).logsumexp(0)).mean())


def blocks(examples: int) -> list[int]:
    """The samples of NLL in blocks."""
    size = BLOCK // examples
    return [min(size, IMPORTANCE - first) for first in range(0, IMPORTANCE, size)]


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    data, (encoder, decoder) = grey().to(DEVICE), [net.to(DEVICE) for net in nets(model)]
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3, fused=True)
    turns = Turns()
    while True:
        for rows in torch.randperm(EXAMPLES).to(DEVICE).split(batch_size)[: EXAMPLES // batch_size]:
            grey_x = data[rows]
            x = (torch.randint(0, 255, grey_x.shape, dtype=torch.uint8, device=DEVICE) < grey_x).float()
            if model == "nll":
                nll_of(encoder, decoder, x)
            else:
                loss = loss_of(encoder, decoder, x, DRAWS.get(model, 1))
                adam.zero_grad(set_to_none=True)
                loss.backward()
                adam.step()
            turns.step()


if __name__ == "__main__":
    main()
