"""What float32 takes from x and how far x is from 1: laws, and the line that each array is told before training."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from small_kinds import MLP
from small_runs import Lab

from vae_lab.data.arrays import Arrays
from vae_lab.data.linear_gaussian import LinearGaussian
from vae_lab.data.magnitude import rounding, size
from vae_lab.data.table import Table

NOISE = np.random.default_rng(0).normal(size=(20_000, 1))
QUARTILES = 2 * 0.67449  # apart, in standard deviations of a normal
TRAIN = ["train", "dataset=arrays", "decoder=mlp", *MLP]


@pytest.mark.parametrize("mean", [2.0**k for k in (17, 20, 23)])
def test_rounding_is_a_quarter_of_a_step_at_the_median(mean: float) -> None:
    """Between mean and 2 mean floats are 2 ** -23 mean apart, and an error is uniform up to half of that."""
    x = 1.5 * mean + NOISE * mean / 2**15
    expected = mean * 2.0**-23 / 4 / (QUARTILES * mean / 2**15)
    assert rounding(x) == pytest.approx([expected], rel=0.05)


@pytest.mark.parametrize("k", [-300, -120, 0, 100])
def test_size_is_that_of_the_units(k: int) -> None:
    x = np.hstack([NOISE, 0.1 * NOISE + 3])
    assert size(x * 2.0**k) == pytest.approx(2.0**k * math.sqrt(np.mean(x[:, 1] ** 2)))


LOSES = "training is in float32, which loses how coordinate "
KEPT = {
    "noise": NOISE,
    "1e4 + noise": 1e4 + NOISE,
    "sparse": np.where(NOISE > 2, 1.0, 0.0),
    "times": 1.7e9 + 1e6 * NOISE,
    "tails": np.exp(5 * NOISE),
    "constant": np.full((50, 1), 0.1),
    "grey": np.round(255 / (1 + np.exp(NOISE))) / 255,
}
LOST = {
    "1e6 + 1e-3 noise": 1e6 + 1e-3 * NOISE,
    "1e6 + noise": 1e6 + NOISE,
    "one outlier": np.where(NOISE.max() == NOISE, 0, 1e6 + 1e-3 * NOISE),
    "too small": 1e-60 * NOISE,
    "grey": 0.5 + 1e-9 * NOISE,
    "long integers": (2**60 + np.arange(1000)[:, None]).astype(np.float64),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_float32_holds_is_not_said_to_be_lost(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", KEPT[kind])
    assert not [line for line in Arrays(str(tmp_path / "x.npy")).cautions() if line.startswith(LOSES)]


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("form", ["x.npy", "x.npz", "splits.npz"])
def test_what_float32_loses_is_said_with_what_to_do(kind: str, form: str, tmp_path: Path) -> None:
    x, path = np.hstack([KEPT["noise"][: len(LOST[kind])] / 9 % 1, LOST[kind]]), tmp_path / form
    if form == "x.npy":
        np.save(path, x)
    else:
        np.savez(path, **({"x": x} if form == "x.npz" else dict.fromkeys(("train", "val", "test"), x)))
    (line,) = Arrays(str(path)).cautions()
    assert line.startswith(f"{LOSES}1 of x varies (its rounding is ")
    assert ("standard deviation, in float64" in line) == (kind != "grey")
    assert ("use dataset=table" in line) == (form == "x.npy" and kind != "grey")


def test_generated_data_are_told_too() -> None:
    (line,) = LinearGaussian(mean=1e7).cautions()
    assert line.startswith(LOSES)
    assert LinearGaussian(mean=10).cautions() == []


@pytest.mark.parametrize(("factor", "told"), [(1e-3, True), (0.1, False), (1, False), (10, False), (1e3, True)])
def test_values_far_from_1_are_told_and_a_table_brings_them_there(factor: float, told: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for x in (factor * NOISE, (factor * NOISE).astype(np.float32)):
        np.save(path, x)
        lines = Arrays(str(path)).cautions()
        assert len(lines) == told
        start = "x has values of about "
        assert [float(line.removeprefix(start).split(",")[0]) for line in lines] == [
            pytest.approx(factor, rel=0.05)
        ] * told
        assert Table(str(path)).cautions() == []
        raw = Table(str(path), standardize=False).cautions()
        assert len(raw) == told
        assert all(line.endswith(": standardise (dataset.standardize=true)") for line in raw)


def test_binary_and_grey_levels_have_no_size(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (50, 4), np.uint8)
    for x in (levels, levels > 250, (levels > 250).astype(np.float64)):
        np.save(tmp_path / "x.npy", x)
        assert Arrays(str(tmp_path / "x.npy")).cautions() == []


@pytest.mark.parametrize(
    ("factor", "words", "cause"),
    [
        (1e25, [], "The inputs are the cause: x has values of about "),
        (
            1,
            ["likelihood.sigma=1e-20"],
            "The cause is likelihood.sigma=1e-20, which is small beside x (values of about ",
        ),
        (1, ["optimizer.lr=1e20"], "Try a smaller optimizer.lr or trainer.gradient_clip_val=1"),
    ],
)
def test_a_run_that_diverged_names_its_cause(
    factor: float, words: list[str], cause: str, lab: Lab, in_tmp: Path
) -> None:
    np.save("x.npy", (factor * NOISE[:400].reshape(100, 4)).astype(np.float32))
    known = [word for word in TRAIN if not word.startswith("trainer.max_steps")]
    said = lab(*known, "dataset.path=x.npy", "likelihood=gaussian", "trainer.max_steps=120", *words)
    assert said.code == 1
    assert ("warning: dataset=arrays: x has values of about " in said.err) == (factor != 1)
    assert f". {cause}" in said.err.splitlines()[-1]
    (file,) = Path("runs/solo").glob("*/result.json")
    assert f". {cause}" in json.loads(file.read_text())["error"]


@pytest.mark.parametrize("kind", ["real"])
def test_bits_that_are_served_as_numbers_are_looked_at_as_zeros_and_ones(kind: str, in_tmp: Path, lab: Lab) -> None:
    np.save("x.npy", np.random.default_rng(0).random((40, 3, 4)) > 0.5)
    path = ["dataset=arrays", "dataset.path=x.npy", f"dataset.kind={kind}", "likelihood=gaussian_shared"]
    said = lab("check", *path)
    assert (said.code, said.err) == (0, "")
