r"""How sharp images are, to be set beside the data's own: what people call the blur of a VAE, in two numbers.

A decoder's mean is blurred by what z does not say, and samples from p(x|z) are not: each is measured by itself.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_LAPLACE = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
CUTOFF = 0.25
"""Cycles a pixel above which a frequency is high: half of the highest that a row of pixels can hold."""


def laplacian_variance(x: Tensor) -> Tensor:
    r"""The variance over inner pixels of the discrete Laplacian, the mean over channels: a usual measure of focus.

    .. math:: \Delta x_{ij} = x_{i-1,j} + x_{i+1,j} + x_{i,j-1} + x_{i,j+1} - 4 x_{ij}

    Arguments:
        x: images, (n, channels, height, width), three pixels a side or more.

    Returns:
        (n,), float64, in squared units of x.
    """
    n, channels, height, width = x.shape
    if min(height, width) < 3:
        raise ValueError(f"images of {height}x{width} pixels: a Laplacian needs 3x3 or more")
    flat = x.double().reshape(n * channels, 1, height, width)
    laplacian = conv2d(flat, _LAPLACE.to(flat)[None, None])
    return laplacian.flatten(1).var(1, correction=0).reshape(n, channels).mean(1)


def high_frequency_power(x: Tensor, cutoff: float = CUTOFF) -> Tensor:
    r"""The mean square of the part of an image whose frequencies lie above `cutoff`, the mean over channels.

    .. math:: \frac1{(HW)^2} \sum_{\sqrt{u^2 + v^2} > c} |\hat x_{uv}|^2

    with u, v in cycles a pixel. By Parseval's identity the sum over all frequencies is the mean square of the pixels.

    Arguments:
        x: images, (n, channels, height, width); they are taken to be periodic, so that opposite edges that differ count.

    Returns:
        (n,), float64, in squared units of x.
    """
    height, width = x.shape[-2:]
    u = torch.fft.fftfreq(height, dtype=torch.float64, device=x.device)
    v = torch.fft.fftfreq(width, dtype=torch.float64, device=x.device)
    high = (u[:, None] ** 2 + v**2).sqrt() > cutoff
    power = torch.fft.fft2(x.double()).abs() ** 2 / (height * width) ** 2
    return (power * high).sum((-2, -1)).mean(1)
