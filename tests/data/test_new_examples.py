"""New data of the form of a dataset: what a model sees of them, and what each bad file is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab.data import DataError, Dataset
from vae_lab.data.arrays import Arrays

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
