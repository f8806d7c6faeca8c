"""Pictures of shapes that are made here from known factors: nothing to download."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Interval

from vae_lab.data.binarization import Binarization
from vae_lab.data.dataset import DataError, Dataset, Factors, Spec, Split, kind_after, split_rows
from vae_lab.settings import Count

GRID = 8
"""Points a side of a pixel at which it is asked whether it lies in the shape: grey levels are 0 to GRID**2."""
RADIUS = 0.25
"""Of the largest shape, in sides of the picture."""

SMALLEST = 0.6
"""Of the scales; the largest is 1."""

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]
Size = Annotated[int, Ge(8)]
Part = Annotated[float, Interval(gt=0, lt=1)]


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) <= math.sqrt(0.5)


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u**2 + 4 * v**2 <= 1


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The curve (x^2 + y^2 - 1)^3 = x^2 y^3, whose centre of mass lies at (0, 0.2935) and whose tip is farthest from it."""
    x, y = 1.2935 * u, 1.2935 * v + 0.2935
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3


SHAPES: dict[str, Inside] = {
    "square": _square,
    "ellipse": _ellipse,
    "heart": _heart,
}
"""Where the shape is, about its centre of mass, in units of its radius, u to the right and v up."""


class Sprites(Dataset):
    r"""A white shape on black for every combination of five independent factors, after dSprites (Matthey et al. 2017):
    shape (square, ellipse, heart; also the label), scale, orientation, and x and y of its centre of mass.

    Scales go evenly from 0.6 to 1 of the largest radius, 0.25 of the picture's side; positions evenly as far as the largest
    shape stays inside. Orientations go from 0 to less than 90 degrees, after which a square repeats, so that, unlike in
    dSprites, an orientation means the same for every shape and no two combinations give one picture; counts that are too
    many for `size` to tell apart are refused. A pixel's grey is the share of 8x8 points in it that lie in the shape; by
    default it is white above a half.

    Arguments:
        size: pixels a side.
        scales, orientations, positions: how many of each; positions along x and along y. There are
            3 * scales * orientations * positions^2 pictures.
        val_part, test_part: of the pictures, at random.
        binarization: threshold, dynamic, static or none.
        binarization_seed: of the fixed draws, where there are any.
        split_seed: of the split.
        without: shapes that train and val leave out, and test keeps.

    Example:
        >>> Sprites().factors("test").sizes
        {'shape': 3, 'scale': 4, 'orientation': 8, 'x': 8, 'y': 8}
    """

    def __init__(
        self,
        size: Size = 32,
        scales: Count = 4,
        orientations: Count = 8,
        positions: Count = 8,
        val_part: Part = 0.1,
        test_part: Part = 0.2,
        binarization: Binarization = "threshold",
        binarization_seed: int = 0,
        split_seed: int = 0,
        without: Sequence[Literal["square", "ellipse", "heart"]] = [],
    ) -> None:
        self.size, self.split_seed, self.without = size, split_seed, without
        self.binarization, self.binarization_seed = binarization, binarization_seed
        self.counts = {
            "shape": len(SHAPES),
            "scale": scales,
            "orientation": orientations,
            "x": positions,
            "y": positions,
        }
        n = math.prod(self.counts.values())
        held = {"val": int(n * val_part), "test": int(n * test_part)}
        self.sizes = {"train": n - sum(held.values()), **held}
        if min(self.sizes.values()) < 1:
            raise DataError(
                f"dataset.val_part={val_part}, dataset.test_part={test_part}: of {n} pictures {self.sizes} are left for the "
                "splits; each needs one, so make them smaller than 1 together, or the counts larger"
            )

    def spec(self) -> Spec:
        shape, kind = (1, self.size, self.size), kind_after("unit", self.binarization)
        return self.trained_on(Spec(shape, kind, dict(self.sizes), labels=len(SHAPES)))

    def class_name(self, label: int) -> str:
        return [*SHAPES][label]

    def fingerprint(self) -> str:
        """Errors: `DataError` where two pictures are the same, so that this is said before a run starts."""
        binary = self.binarization == "threshold"
        seen = self.pictures > GRID**2 // 2 if binary else self.pictures
        different = len(np.unique(seen.reshape(len(seen), -1).view(f"V{self.size**2}")))
        if different < len(seen):
            hint = ", or keep the grey with dataset.binarization=none" if binary else ""
            raise DataError(
                f"dataset.size: {self.size} pixels a side cannot tell {len(seen)} combinations of factors apart (of their "
                f"pictures {different} are different): raise it, or lower scales, orientations or positions{hint}"
            )
        return "generated"

    def read(self) -> dict[str, Split]:
        self.fingerprint()
        x = torch.from_numpy(self.pictures)[:, None]
        shape = torch.from_numpy(self.combinations()[:, 0])
        return {name: Split(x[rows], shape[rows], levels=GRID**2) for name, rows in self._rows().items()}

    def factors(self, split: str) -> Factors:
        every = {name: torch.from_numpy(self.combinations())[rows] for name, rows in self._rows().items()}
        values = every[split]
        if self.without and split != "test":
            values = values[self.trains_on(values[:, 0], every["train"][:, 0])]
        return Factors(dict(self.counts), values, ordered=frozenset(self.counts) - {"shape"})

    def _rows(self) -> dict[str, torch.Tensor]:
        return split_rows(self.sizes, self.split_seed)

    def combinations(self) -> np.ndarray:
        """The factors of all pictures, (n, 5), int64, the last one (y) turning fastest."""
        sizes = tuple(self.counts.values())
        return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), 1)

    @functools.cached_property
    def pictures(self) -> np.ndarray:
        """All of them, (n, size, size), uint8 in {0..64}, in the order of `combinations`."""
        largest = RADIUS * self.size
        scales = np.linspace(1.0, SMALLEST, self.counts["scale"])[::-1]  # of one alone, the largest
        angles = np.arange(self.counts["orientation"]) * (np.pi / 2 / self.counts["orientation"])
        made = [
            [
                [self._moved(_counted(inside, scale * largest, angle, GRID * self.size)) for angle in angles]
                for scale in scales
            ]
            for inside in SHAPES.values()
        ]
        return np.array(made).reshape(-1, self.size, self.size)

    def _moved(self, counts: np.ndarray) -> np.ndarray:
        """One shape at all positions, (positions, positions, size, size), from x and y; y goes down."""
        largest, n, end = RADIUS * self.size, self.counts["x"], GRID * self.size
        ends = (largest, self.size - largest) if n > 1 else (self.size / 2, self.size / 2)
        starts = end - np.rint(GRID * np.linspace(*ends, n)).astype(int)
        return np.array([[counts[y : y + end : GRID, x : x + end : GRID] for y in starts] for x in starts])


def _counted(inside: Inside, radius: float, angle: float, reach: int) -> np.ndarray:
    """How many points of the shape lie in the pixel whose first point is (row, column) from the centre, both from -reach to
    reach: a picture of the shape anywhere on the finer grid is every eighth of them."""
    near = math.ceil(GRID * radius) + GRID
    steps = (np.arange(-near, near) + 0.5) / (GRID * radius)
    right, up = steps, -steps[:, None]
    cos, sin = math.cos(angle), math.sin(angle)
    mask = inside(right * cos + up * sin, up * cos - right * sin).astype(np.uint8)
    rows = np.add.reduce([mask[i : i + 2 * near - GRID + 1] for i in range(GRID)], dtype=np.uint8)
    counts = np.add.reduce([rows[:, i : i + 2 * near - GRID + 1] for i in range(GRID)], dtype=np.uint8)
    return np.pad(counts, reach - near)
