"""How grey x in [0, 1] becomes binary.

Burda et al. (2016) redraw x ~ Bernoulli(grey) at every presentation (`dynamic`); Salakhutdinov and Murray (2008) draw
it once (`static`). Likelihoods under the two are different numbers.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vae_lab.distributions.streams import stream

Binarization = Literal["dynamic", "static", "threshold", "none"]


def fixed(x: Tensor, levels: int, how: Binarization, seed: int, split: str) -> Tensor:
    """x of a split as it is at every presentation: bool, or x itself for `none`.

    Under `dynamic` and `static` it is one draw, a function of (seed, split) alone and made on the CPU, so that every
    run and every device is evaluated on the same one.

    Arguments:
        x: grey, uint8 in {0..levels} or float in [0, 1]. Binary x (bool) is left as it is.
        seed: the dataset's own, not the run's.
    """
    if how == "none" or x.dtype == torch.bool:
        return x
    if how == "threshold":
        return x > (levels // 2 if x.dtype == torch.uint8 else 0.5)
    return draw(x, levels, stream(seed, f"binarization of {split}")).bool()


def draw(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    """One draw of Bernoulli(x / levels) for each pixel, float32, of x's shape and on the generator's device.

    For r uniform over {0..levels-1}, x > r has probability x / levels exactly: x of the values of r are below x.
    """
    if x.dtype == torch.uint8:
        noise = uniform_levels(x.numel(), levels, generator).view(x.shape)
    else:
        noise = torch.rand(x.shape, generator=generator, device=x.device)
    return torch.gt(x, noise, out=torch.empty(x.shape, device=x.device))


def uniform_levels(n: int, levels: int, generator: torch.Generator) -> Tensor:
    """n independent draws, uniform over {0..levels-1}, uint8, shape (n,). levels is 2 to 255.

    On the CPU torch spends 7 ns a draw, which is more than a small network's share of the step. Eight bytes of one
    64-bit draw take 1.3 ns each; those beyond the largest multiple of `levels` are drawn again, which keeps it exact.

    Example:
        >>> uniform_levels(6, 16, stream(0, "example")).tolist()
        [13, 14, 13, 0, 8, 10]
    """
    if generator.device.type != "cpu":
        return torch.randint(levels, (n,), generator=generator, device=generator.device, dtype=torch.uint8)
    width = 256 // levels
    draws = _bytes(n, generator)
    again = (draws >= width * levels).nonzero()[0]
    while len(again):
        draws[again] = _bytes(len(again), generator)
        again = again[draws[again] >= width * levels]
    return torch.from_numpy(draws if width == 1 else draws // np.uint8(width))


def _bytes(n: int, generator: torch.Generator) -> np.ndarray:
    words = torch.empty(-(-n // 8), dtype=torch.int64)
    return words.random_(-(2**63), None, generator=generator).numpy().view(np.uint8)[:n]
