"""New data of the form of a dataset: what a model sees of them, and what each bad file is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab.data import DataError, Dataset
from vae_lab.data.arrays import Arrays
from vae_lab.data.digits import Digits

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 4, 3), np.uint8)
REAL = RNG.normal(size=(40, 5))


def saved(folder: Path, x: Any, name: str = "new.npy") -> Path:
    np.save(folder / name, x) if name.endswith("npy") else np.savez(folder / name, x=x, y=np.arange(len(x)))
    return folder / name


@pytest.fixture
def like(tmp_path: Path) -> Callable[..., Arrays]:
    return lambda x, **settings: Arrays(str(saved(tmp_path, x, "own.npy")), **settings)


@pytest.mark.parametrize(
    ("x", "how"),
    [(GREY, "none"), (GREY, "threshold"), (GREY[:, None] / 255, "none"), (GREY > 99, "none"), (REAL, "none")],
)
@pytest.mark.parametrize("file", ["new.npy", "new.npz"])
def test_a_held_out_split_that_is_given_as_new_is_seen_as_it_was(
    x: Any, how: Any, file: str, like: Any, tmp_path: Path
) -> None:
    data = like(x, binarization=how)
    test = data.load("test").x.numpy()
    seen = data.examples(saved(tmp_path, test, file))
    assert torch.equal(seen, next(iter(data.batches("test", len(test)))).x)
    assert seen.dtype == torch.float32


@pytest.mark.parametrize("x", [np.full((3, 4, 3), 51, np.uint8), np.full((3, 4, 3), 0.2), np.zeros((3, 4, 3), bool)])
def test_other_ways_to_write_the_same_grey_are_the_same(x: Any, like: Any, tmp_path: Path) -> None:
    seen = like(GREY).examples(saved(tmp_path, x))
    assert torch.allclose(seen, torch.full((3, 1, 4, 3), 0.0 if x.dtype == bool else 0.2))


@pytest.mark.parametrize("how", ["dynamic", "static"])
@pytest.mark.parametrize("x", [np.full((5000, 4, 3), 51, np.uint8), np.full((5000, 4, 3), 0.2)])
def test_grey_is_drawn_once_by_the_seed_of_the_dataset(x: Any, how: Any, like: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, x)
    seen, again, other = (like(GREY, binarization=how, binarization_seed=seed).examples(path) for seed in (0, 0, 1))
    assert torch.equal(seen, again)
    assert not torch.equal(seen, other)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert float(seen.mean()) == pytest.approx(0.2, abs=5 * (0.16 / 60_000) ** 0.5)


BITS = RNG.integers(0, 2, (40, 4, 3), np.uint8)
WAYS = [bool, np.uint8, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("how", ["none", "dynamic", "static", "threshold"])
@pytest.mark.parametrize("own", [GREY, GREY / 255, BITS, BITS > 0], ids=["levels", "grey", "0 and 1", "bool"])
def test_zeros_and_ones_are_the_same_in_every_dtype(own: Any, how: Any, like: Any, tmp_path: Path) -> None:
    """As in training, which takes uint8 of nothing but 0 and 1 for these numbers."""
    data = like(own, binarization=how)
    for dtype in WAYS:
        seen = data.examples(saved(tmp_path, BITS.astype(dtype)))
        assert torch.equal(seen[:, 0], torch.from_numpy(BITS).float()), dtype


@pytest.mark.parametrize("dtype", WAYS)
@pytest.mark.parametrize("how", ["none", "dynamic", "static", "threshold"])
def test_a_file_means_the_same_to_training_and_to_a_use(dtype: Any, how: Any, like: Any, tmp_path: Path) -> None:
    """Zeros and ones, and grey that no draw changes: 0 and the top level."""
    for x in (BITS.astype(dtype), 255 * BITS if dtype == np.uint8 else BITS.astype(dtype)):
        data = like(x, binarization=how)
        trained = data.load("test").x
        assert torch.equal(
            data.examples(saved(tmp_path, trained.numpy().astype(dtype))), next(iter(data.batches("test", 40))).x
        )


def test_declared_grey_levels_are_grey_levels_to_a_use_too(like: Any, tmp_path: Path) -> None:
    data = like(BITS, kind="unit")
    path = saved(tmp_path, data.load("test").x.numpy())
    assert torch.equal(data.examples(path), next(iter(data.batches("test", 40))).x)
    assert float(data.examples(path).max()) == pytest.approx(1 / 255)


@pytest.mark.parametrize("how", ["none", "threshold"])
def test_digits_in_their_own_17_levels_are_what_training_sees(how: Any, tmp_path: Path) -> None:
    """As scikit-learn has them; levels beyond 16 are those of 255."""
    data = Digits(how)
    own = data.load("test").x
    assert torch.equal(data.examples(saved(tmp_path, own.numpy())), next(iter(data.batches("test", len(own)))).x)
    bright = own.numpy() // 16 * 255
    assert torch.equal(data.examples(saved(tmp_path, bright)), torch.from_numpy(bright > 0).float())


def test_every_dataset_reads_new_data(name: str, dataset: Dataset, tmp_path: Path) -> None:
    """Its own x, made once: what is fixed is left as it is."""
    if name in ("table", "images"):  # in their own form: tests/test_own_data.py
        assert type(dataset).examples is not Dataset.examples
        return
    x = next(iter(dataset.batches("test", 20))).x
    assert torch.equal(dataset.examples(saved(tmp_path, x.numpy())), x)


NAN = REAL.copy()
NAN[[3, 9], 1] = np.nan
BRING = "bring x to what it was trained on"
WRONG = [
    (GREY, {}, GREY[:, :3], "x has shape (40, 3, 3): this run's examples are (n, 4, 3)"),
    (GREY, {}, GREY.repeat(3, 0).reshape(40, 3, 4, 3), "x has shape (40, 3, 4, 3): this run's examples are (n, 4, 3)"),
    (GREY.repeat(3, 0).reshape(40, 3, 4, 3), {}, GREY, "x has shape (40, 4, 3): this run's examples are (n, 3, 4, 3)"),
    (REAL, {}, REAL[:, 1:], "x has shape (40, 4): this run's examples are (n, 5)"),
    (REAL, {}, REAL.astype(int), "x has dtype int64: use bool, uint8 (grey levels 0 to 255), float32 or float64"),
    (REAL, {}, NAN, "x has nan in row 3 (of 2 such rows): x must be finite in float32; remove or repair it"),
    (GREY, {}, np.full((40, 4, 3), 9.0), f"x has 9.0 in row 0 (of 40 such rows): this run takes [0, 1]; {BRING}"),
    (GREY, {"binarization": "dynamic"}, np.full((40, 4, 3), -0.5),
     f"x has -0.5 in row 0 (of 40 such rows): this run takes [0, 1]; {BRING}"),
    (GREY > 99, {}, np.full((40, 4, 3), 7, np.uint8),
     f"x has 7 in row 0 (of 40 such rows): this run takes 0 and 1; {BRING}"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "settings", "new", "text"), WRONG)
def test_other_data_cost_one_line(own: Any, settings: Any, new: Any, text: str, like: Any, tmp_path: Path) -> None:
    data, path = like(own, **settings), saved(tmp_path, new)
    with pytest.raises(DataError) as error:
        data.examples(path)
    assert str(error.value) == f"{path}: {text}"


def test_no_file_and_no_x_cost_one_line(like: Any, tmp_path: Path) -> None:
    data = like(GREY)
    for path, text in (
        (tmp_path / "nowhere.npy", "is missing"),
        (saved(tmp_path, GREY, "y.npz"), "has no key `x`"),
        (tmp_path / "text.npy", "is not a whole .npy or .npz file"),
    ):
        if path.name == "y.npz":
            np.savez(path, images=GREY)
        elif path.name == "text.npy":
            path.write_text("row,score\n")
        with pytest.raises(DataError, match=text) as error:
            data.examples(path)
        assert "\n" not in str(error.value)
