"""Sprites: their pictures against geometry, and their factors against their pictures."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab.data import DataError, Dataset
from vae_lab.data.sprites import GRID, RADIUS, SHAPES, SMALLEST, Sprites

AREA = {"square": 2.0, "ellipse": math.pi / 2, "heart": 3.66197 / 1.2935**2}
"""Of a shape of radius 1; the heart's by quadrature over the plane."""
GREY: dict[str, Any] = {"size": 40, "scales": 3, "orientations": 4, "positions": 3, "binarization": "none"}


@pytest.fixture(scope="module")
def grey() -> tuple[np.ndarray, np.ndarray]:
    """All pictures in [0, 1], float64, and their factors."""
    data = Sprites(**GREY)
    return data.pictures / GRID**2, data.combinations()


def moments(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass, centre (x to the right, y down, in pixels) and covariance of each picture."""
    steps = np.arange(pictures.shape[-1]) + 0.5
    mass = pictures.sum((1, 2))
    x, y = (pictures.sum(axis) @ steps / mass for axis in (1, 2))
    xx, yy = (pictures.sum(axis) @ steps**2 / mass for axis in (1, 2))
    xy = np.einsum("nij,i,j->n", pictures, steps, steps) / mass
    covariance = np.array([[xx - x * x, xy - x * y], [xy - x * y, yy - y * y]]).transpose(2, 0, 1)
    return mass, np.stack([x, y], 1), covariance


def test_every_combination_is_there_once() -> None:
    combinations = Sprites().combinations()
    assert len(np.unique(combinations, axis=0)) == len(combinations) == 3 * 4 * 8 * 8 * 8
    assert combinations.max(0).tolist() == [2, 3, 7, 7, 7]
    assert combinations.min(0).tolist() == [0] * 5


@pytest.mark.parametrize(
    "settings",
    [{}, {"size": 64, "positions": 4}, {"size": 8, "binarization": "none", "orientations": 4, "positions": 4}],
)
def test_no_two_combinations_give_one_picture(settings: dict[str, Any]) -> None:
    data = Sprites(**settings)
    seen = [next(iter(data.batches(split, 10_000))).x.flatten(1) for split in ("train", "val", "test")]
    assert len(np.unique(torch.cat(seen).numpy(), axis=0)) == math.prod(data.counts.values())


def test_counts_that_the_pixels_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"^dataset.size: 8 pixels a side cannot tell 6144 combinations of factors apart"
    ) as said:
        Sprites(size=8).fingerprint()
    assert "\n" not in str(said.value)
    with pytest.raises(DataError, match=r"^dataset.size"):
        Sprites(size=8).load("train")


def test_splits_that_would_be_empty_are_refused() -> None:
    with pytest.raises(DataError, match=r"^dataset.val_part=0.5, dataset.test_part=0.5"):
        Sprites(val_part=0.5, test_part=0.5)


def test_a_spec_renders_nothing() -> None:
    data = Sprites(size=64, positions=32, orientations=40)
    assert sum(data.spec().sizes.values()) == 3 * 4 * 40 * 32 * 32
    assert "pictures" not in vars(data)
    assert (data.spec().kind, Sprites(binarization="none").spec().kind) == ("binary", "unit")


def test_areas_are_those_of_the_shapes(grey: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, factors = grey
    mass = moments(pictures)[0]
    radius = RADIUS * 40 * np.linspace(SMALLEST, 1, 3)[factors[:, 1]]
    area = np.array(list(AREA.values()))[factors[:, 0]] * radius**2
    assert mass == pytest.approx(area, rel=0.03)


def test_the_centre_of_mass_is_where_the_factors_say(grey: tuple[np.ndarray, np.ndarray]) -> None:
    """Whatever the shape, its scale and its orientation: no factor moves another's mark."""
    pictures, factors = grey
    places = np.array([10.0, 20.0, 30.0])
    assert moments(pictures)[1] == pytest.approx(places[factors[:, 3:]], abs=0.06)


def test_an_ellipse_s_axes_turn_with_its_orientation(grey: tuple[np.ndarray, np.ndarray]) -> None:
    """Counter-clockwise as seen, in steps of 90 degrees by their number; variances r^2 / 4 and r^2 / 16."""
    pictures, factors = grey
    rows = (factors[:, 0] == list(SHAPES).index("ellipse")) & (factors[:, 1] == 2)
    values, vectors = np.linalg.eigh(moments(pictures[rows])[2])
    assert values == pytest.approx(np.tile([100 / 16, 100 / 4], (len(values), 1)), rel=0.05)
    angle = np.degrees(np.arctan2(-vectors[:, 1, 1], vectors[:, 0, 1])) % 180
    turned = np.abs((angle - 22.5 * factors[rows, 2] + 90) % 180 - 90)
    assert turned.max() < 1.5


def test_squares_and_hearts_are_as_round_as_they_should_be(grey: tuple[np.ndarray, np.ndarray]) -> None:
    """A square's covariance is r^2 / 6 in every direction; a heart's is the same turned back."""
    pictures, factors = grey
    whole = moments(pictures)[2]
    square = whole[(factors[:, 0] == 0) & (factors[:, 1] == 2)]
    assert square == pytest.approx(np.tile(np.eye(2) * 100 / 6, (len(square), 1, 1)), abs=0.3)
    heart = (factors[:, 0] == 2) & (factors[:, 1] == 2)
    angle = np.radians(22.5) * factors[heart, 2]
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)  # y is down
    upright = back @ whole[heart] @ back.transpose(0, 2, 1)
    assert upright == pytest.approx(np.tile(upright[0], (len(upright), 1, 1)), abs=0.3)


def test_a_heart_stands_on_its_tip() -> None:
    data = Sprites(size=64, scales=1, orientations=1, positions=1, binarization="none", val_part=0.34, test_part=0.34)
    heart = data.pictures[2] / GRID**2
    rows = np.flatnonzero(heart.sum(1) > 0.5)
    assert heart[rows[0]].sum() > 3 * heart[rows[-1]].sum()
    assert rows[-1] - 31.5 == pytest.approx(16, abs=1.5)  # the tip is one radius below the centre
    assert heart == pytest.approx(heart[:, ::-1], abs=0.02)  # left and right are alike


def test_the_largest_shape_stays_inside() -> None:
    """The white of the outermost positions is not cut: it is the white of the inner ones."""
    data = Sprites(binarization="none", positions=3)
    mass = (data.pictures / GRID**2).sum((1, 2)).reshape(-1, 9)
    assert mass == pytest.approx(np.repeat(mass[:, [4]], 9, 1), abs=0.5)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_factors_are_those_of_the_examples(split: str) -> None:
    """Rendered again from its factors alone each example is the same; the label is the shape."""
    data = Sprites(**{**GREY, "size": 20})
    factors, stored = data.factors(split), data.load(split)
    assert factors.values.shape == (len(stored.x), 5)
    assert factors.values.dtype == torch.int64
    row = np.ravel_multi_index(factors.values.numpy().T, tuple(factors.sizes.values()))
    assert np.array_equal(data.pictures[row], stored.x[:, 0].numpy())
    assert stored.y is not None
    assert torch.equal(stored.y, factors.values[:, list(factors.sizes).index("shape")])
    assert factors.ordered == {"scale", "orientation", "x", "y"}


def test_other_data_have_no_known_factors(name: str, make: Callable[..., Dataset]) -> None:
    assert (make(name).factors("test") is not None) == (name == "sprites")
