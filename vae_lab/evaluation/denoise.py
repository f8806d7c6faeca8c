"""How much of the noise a model takes away, and what it leaves of x."""

import torch
from torch import Tensor

from vae_lab.evaluation.panels import mean_of
from vae_lab.models import Autoencoding

WINDOW = 11
"""Pixels a side of the window of SSIM: of images that are smaller there is none."""
_BLOCK = 100


@torch.no_grad()
def denoised(model: Autoencoding, noisy: Tensor) -> Tensor | None:
    """The mean of p(x|z) at the mean of q(z|x~), for x~ (n, *shape); None where it has none in closed form."""
    return mean_of(model.decode(model.encode(noisy).mean))


def mean_squared_error(x: Tensor, clean: Tensor) -> float:
    """Over examples and values."""
    return float((x.double() - clean.double()).square().mean())


def peak_signal_to_noise(x: Tensor, clean: Tensor) -> float | None:
    """PSNR = 10 log10(1 / MSE), in decibels, for clean x in [0, 1]; the MSE is that over all examples. None where nothing
    differs."""
    error = mean_squared_error(x, clean)
    return -10 * _log10(error) if error else None


def signal_to_noise(x: Tensor, clean: Tensor) -> float | None:
    """SNR = 10 log10(variance / MSE), in decibels; the variance is that of each value of x over the examples, the mean over
    values, so that a constant is no signal. None where nothing differs, or nothing varies."""
    error, signal = mean_squared_error(x, clean), float(clean.double().var(0, correction=0).mean())
    return 10 * (_log10(signal) - _log10(error)) if error and signal else None


def structural_similarity(x: Tensor, clean: Tensor) -> float | None:
    """SSIM (Wang et al. 2004, Eq. 13) by torchmetrics, for clean images (n, channels, height, width) in [0, 1]: a Gaussian
    window of 11 pixels and a standard deviation of 1.5, K1 = 0.01, K2 = 0.03; the mean over pixels (edges mirrored),
    channels and examples. 1 for equal images. None for images smaller than the window."""
    if min(clean.shape[-2:]) < WINDOW:
        return None
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    whole = 0.0
    for a, b in zip(x.double().split(_BLOCK), clean.double().split(_BLOCK), strict=True):
        part = ssim(a, b, data_range=1.0, reduction="sum")
        assert isinstance(part, Tensor)
        whole += float(part)
    return whole / len(x)


def _log10(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).log10())
