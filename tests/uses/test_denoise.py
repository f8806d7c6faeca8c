"""Denoising: its measures against closed forms and scipy, a trained linear denoiser against the best there is, every kind."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from small_kinds import ARRAYS, KINDS, MLP, Make
from small_runs import Lab, Said

import vae_lab
from vae_lab.estimators import linear
from vae_lab.evaluation.denoise import (
    denoised,
    mean_squared_error,
    peak_signal_to_noise,
    signal_to_noise,
    structural_similarity,
)


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def ssim_by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, Eqs. 6 to 13, of one channel of one image; the window ends after 5 pixels, edges are mirrored."""

    def blur(a: np.ndarray) -> np.ndarray:
        made: np.ndarray = gaussian_filter(a, 1.5, truncate=3.5, mode="mirror")
        return made

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


@pytest.mark.parametrize("shape", [(3, 1, 11, 11), (2, 3, 15, 20), (230, 1, 12, 12)])
def test_ssim_is_that_of_its_paper(shape: tuple[int, ...]) -> None:
    x, y = images(0, *shape), images(1, *shape) * 0.5 + 0.5 * images(0, *shape)
    pairs = zip(x.double().flatten(0, 1).numpy(), y.double().flatten(0, 1).numpy(), strict=True)
    assert structural_similarity(y, x) == pytest.approx(np.mean([ssim_by_scipy(a, b) for a, b in pairs]), abs=1e-9)
    assert structural_similarity(x, x) == pytest.approx(1)


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    assert structural_similarity(images(0, 2, 1, 10, 30), images(1, 2, 1, 10, 30)) is None


def test_decibels_are_those_of_the_error() -> None:
    """An error of 0.1 everywhere is 20 dB below 1; noise of sd s on data of variance v is 10 log10(v / s^2) below it."""
    x = images(0, 5, 1, 6, 6) * 0.5
    assert peak_signal_to_noise(x + 0.1, x) == pytest.approx(20, abs=1e-4)
    wide = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(0)) * 2 + 50
    noisy = wide + 0.5 * torch.randn(40_000, 3, generator=torch.Generator().manual_seed(1))
    assert signal_to_noise(noisy, wide) == pytest.approx(10 * np.log10(16), abs=0.1)
    assert mean_squared_error(noisy, wide) == pytest.approx(0.25, rel=0.02)
    assert peak_signal_to_noise(x, x) is signal_to_noise(x, x) is None
    assert signal_to_noise(torch.zeros(4, 2), torch.ones(4, 2)) is None


LINEAR = ["dataset=linear_gaussian", "dataset.train_size=20000", "encoder=linear",
          "decoder=linear", "likelihood=gaussian", "batch_size=500", "optimizer.lr=0.01", "scheduler=cosine",
          "trainer.max_steps=800", "trainer.check_val_every_n_epoch=20", "evaluation.nll_samples=2"]  # fmt: skip


@pytest.mark.parametrize("latent_dim", [2, 5])
def test_a_linear_denoiser_is_as_good_as_can_be(latent_dim: int, lab: Lab, in_tmp: Path) -> None:
    """Trained and asked by command: its error is within 2 % of the closed form, and nothing is below it but by sampling."""
    words = ["mitigation=denoising_autoencoder", "corruption.sd=0.7", f"latent_dim={latent_dim}"]
    assert lab("train", *LINEAR, *words).code == 0
    (run,) = Path("runs/solo").iterdir()
    assert lab("denoise", run, "split=train", "count=20000", "levels=[0.7]").code == 0
    told = json.loads((run / "uses" / "denoise.json").read_text())["numbers"]["sd_0.7"]
    least = linear.denoising_error(torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2]), latent_dim, 0.49) / 5
    assert told["noisy"]["mean_squared_error"] == pytest.approx(0.49, rel=0.02)
    assert 0.98 * least < told["denoised"]["mean_squared_error"] < 1.02 * least
    assert told["denoised"]["snr"] == pytest.approx(10 * np.log10(7.7 / 5 / least), abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_denoised(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("denoise", run, "count=5", "noise=input_dropout", "levels=[0,0.5]")
    if kind == "autoregressive":
        text = "denoise: this run's decoder has no mean in closed form, which would be the answer"
        assert said == Said(2, "", f"vae-lab: {text}\n")
        assert not (run / "uses").exists()
        return
    assert (said.code, said.err) == (0, "")
    numbers = json.loads((run / "uses" / "denoise.json").read_text())["numbers"]
    loaded = vae_lab.load(run)
    x = next(iter(loaded.dataset().batches("test", 5))).x
    clean = denoised(loaded.model, x)
    assert clean is not None
    at_zero, at_half = numbers["probability_0"], numbers["probability_0.5"]
    assert at_zero["noisy"]["mean_squared_error"] == 0
    assert at_zero["denoised"]["mean_squared_error"] == pytest.approx(mean_squared_error(clean, x))
    assert at_half["noisy"]["mean_squared_error"] > 0
    image = kind != "vectors"
    assert set(at_half["denoised"]) == {"mean_squared_error", "snr"} | ({"psnr", "ssim"} if image else set())
    with (run / "uses" / "denoise_levels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["probability"], row["of"]) for row in rows] == [
        (level, of) for level in ("0", "0.5") for of in ("noisy", "denoised")
    ]
    names = {path.stem.removeprefix("denoise_") for path in (run / "figures").glob("denoise_*.png")}
    assert names == ({"clean", "noisy", "denoised", "psnr"} if image else {"snr"})
    if image:
        assert at_half["denoised"]["ssim"] is None  # all are smaller than the window
        for name, height in (("clean", 1), ("noisy", 2), ("denoised", 2)):
            with Image.open(run / "figures" / f"denoise_{name}.png") as picture:
                assert picture.size == (4 * 5 * (x.shape[-1] + 2), 4 * height * (x.shape[-2] + 2))


def test_larger_images_have_their_ssim_and_its_chart(lab: Lab, in_tmp: Path) -> None:
    np.save("x.npy", images(0, 60, 1, 12, 14).numpy())
    assert lab("train", *ARRAYS, "decoder=mlp", *MLP).code == 0
    (run,) = Path("runs/solo").iterdir()
    assert lab("denoise", run).code == 0
    numbers = json.loads((run / "uses" / "denoise.json").read_text())["numbers"]
    noisy = [numbers[f"sd_{level}"]["noisy"] for level in ("0", "0.1", "0.2", "0.4", "0.8")]
    assert noisy[0]["ssim"] == 1
    assert noisy[0]["psnr"] is None
    for one in ("ssim", "psnr"):
        values = [level[one] for level in noisy if level[one] is not None]
        assert values == sorted(values, reverse=True)
    psnr = [level["psnr"] for level in noisy[1:]]
    assert psnr == pytest.approx([20, 20 - 6.02, 20 - 12.04, 20 - 18.06], abs=0.5)  # 20 log10(1 / sd)
    assert (run / "figures" / "denoise_ssim.png").exists()


WRONG = [
    ("noise=none", "denoise.noise: 'none' given; must be one of gaussian_noise, input_dropout, salt_and_pepper"),
    ("noise=salt_and_pepper", "denoise.noise=salt_and_pepper cannot be used here: 0 and 1 are the ends of no other x"),
    ("levels=[0.1,-1]", "denoise.levels: [0.1, -1] given; must be a list of at least 1, each a number, at least 0"),
    ("levels=[]", "denoise.levels: [] given; must be a list of at least 1, each a number, at least 0"),
]


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    for word, text in WRONG:
        assert lab("denoise", run, word) == Said(2, "", f"vae-lab: {text}\n")
    said = lab("denoise", run, "noise=input_dropout", "levels=[2]")
    assert said.err == "vae-lab: corruption.probability: 2 given; must be a number, at least 0, at most 1\n"
    assert not (run / "uses").exists()
