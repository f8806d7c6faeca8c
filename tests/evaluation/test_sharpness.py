"""Sharpness against closed forms, and against SciPy's Laplacian."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from vae_lab.evaluation.sharpness import CUTOFF, high_frequency_power, laplacian_variance


def wave(u: float, v: float, height: int = 34, width: int = 34, amplitude: float = 1.0) -> Tensor:
    i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (height, width)), indexing="ij")
    return (amplitude * torch.cos(2 * torch.pi * (u * i + v * j)))[None, None]


@pytest.mark.parametrize(("u", "v"), [(1, 0), (0, 3), (5, 2), (-7, 8)])
def test_a_wave_is_an_eigenfunction_of_the_laplacian(u: int, v: int) -> None:
    """With eigenvalue 2 cos(2 pi u) + 2 cos(2 pi v) - 4; over whole periods of the 32 inner pixels its variance is 1/2."""
    eigenvalue = 2 * np.cos(2 * np.pi * u / 32) + 2 * np.cos(2 * np.pi * v / 32) - 4
    assert laplacian_variance(wave(u / 32, v / 32)).item() == pytest.approx(eigenvalue**2 / 2)


def test_the_laplacian_is_scipys() -> None:
    x = torch.rand(5, 3, 11, 17, generator=torch.Generator().manual_seed(0))
    expected = [np.mean([ndimage.laplace(c)[1:-1, 1:-1].var() for c in image]) for image in x.double().numpy()]
    assert laplacian_variance(x).numpy() == pytest.approx(np.array(expected), rel=1e-12)


@pytest.mark.parametrize(("u", "v"), [(3, 0), (0, 15), (10, 10), (4, 7), (5, 6)])
def test_a_wave_has_its_power_on_one_side_of_the_cutoff(u: int, v: int) -> None:
    is_high = np.hypot(u, v) / 32 > CUTOFF
    x = wave(u / 32, v / 32, 32, 32, amplitude=3.0)
    assert high_frequency_power(x).item() == pytest.approx(4.5 if is_high else 0.0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 12)])
def test_all_power_is_the_mean_square(shape: tuple[int, ...]) -> None:
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    assert high_frequency_power(x, cutoff=-1).numpy() == pytest.approx((x.double() ** 2).mean((1, 2, 3)).numpy())


def test_blur_lowers_both_and_a_constant_has_none() -> None:
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    last = [torch.full((6,), torch.inf, dtype=torch.float64)] * 2
    for sd in (0.0, 0.5, 1.0, 2.0):
        blurred = torch.from_numpy(np.stack([ndimage.gaussian_filter(c, sd, mode="wrap") for c in x[:, 0].numpy()]))[
            :, None
        ]
        found = [laplacian_variance(blurred), high_frequency_power(blurred)]
        assert all((new < old).all() for new, old in zip(found, last, strict=True))
        last = found
    flat = torch.full((2, 1, 9, 9), 0.3)
    assert laplacian_variance(flat).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert high_frequency_power(flat).tolist() == pytest.approx([0, 0], abs=1e-12)


def test_images_too_small_for_a_laplacian_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 2x5 pixels: a Laplacian needs 3x3 or more"):
        laplacian_variance(torch.zeros(1, 1, 2, 5))
