"""Interpolation: its ways against geometry, its measures against closed forms, on every kind of data."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_kinds import KINDS, Make
from small_runs import Lab, Said
from torch import Tensor

import vae_lab
from vae_lab.evaluation.interpolate import length, linear, spherical


def ends(seed: int, k: int = 5) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return a, b


@pytest.mark.parametrize("way", [linear, spherical])
@pytest.mark.parametrize("seed", range(5))
def test_a_way_begins_and_ends_where_it_was_asked_to(way: object, seed: int) -> None:
    a, b = ends(seed)
    z = way(a, b, 7)  # type: ignore[operator]
    assert z.shape == (7, 5)
    assert torch.allclose(z[0], a)
    assert torch.allclose(z[-1], b)
    back = way(b, a, 7)  # type: ignore[operator]
    assert torch.allclose(back.flip(0), z)


@pytest.mark.parametrize("seed", range(5))
def test_a_great_circle_stays_in_its_plane_on_its_sphere_and_turns_evenly(seed: int) -> None:
    a, b = ends(seed)
    b = b * a.norm() / b.norm()
    z = spherical(a, b, 9)
    assert z.norm(dim=1).tolist() == pytest.approx([float(a.norm())] * 9)
    cosines = (z[1:] * z[:-1]).sum(1) / a.norm() ** 2
    omega = math.acos(float(a @ b / a.norm() ** 2))
    assert cosines.acos().tolist() == pytest.approx([omega / 8] * 8)
    assert torch.linalg.matrix_rank(torch.cat([z, a[None], b[None]]), rtol=1e-9) == 2
    assert length(z) == pytest.approx(16 * float(a.norm()) * math.sin(omega / 16))  # chords


@pytest.mark.parametrize(("a", "b"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 0.0], [2.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0])])
def test_where_there_is_no_great_circle_the_line_is_taken(a: list[float], b: list[float]) -> None:
    ends = torch.tensor([a, b])
    assert torch.equal(spherical(*ends, 5), linear(*ends, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_interpolates(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("interpolate", run, "steps=4", "second=2", "nll_samples=3")
    assert (said.code, said.err) == (0, "")
    numbers = json.loads((run / "uses" / "interpolate.json").read_text())["numbers"]
    assert list(numbers["nll"]) == [f"step_{i}" for i in range(4)]
    loaded = vae_lab.load(run)
    x = next(iter(loaded.dataset().batches("test", 3))).x
    found = loaded.interpolate(x[0], x[2], steps=4)
    assert found.draw.shape == (4, *x.shape[1:])
    assert torch.equal(found.draw, loaded.interpolate(x[0], x[2], steps=4).draw)
    assert numbers["z"]["length"] == pytest.approx(length(found.z))
    assert numbers["z"]["relative"] == pytest.approx(1)
    if found.mean is None:
        assert kind == "autoregressive"
        assert numbers["x"] is None
    else:
        assert numbers["x"]["length"] == pytest.approx(length(found.mean))
        assert numbers["x"]["relative"] >= 1 - 1e-6
    if kind == "vectors":  # a linear decoder maps a straight line to one
        assert numbers["x"]["relative"] == pytest.approx(1, abs=1e-6)
    pictures = [Path(line) for line in said.out.splitlines() if line.endswith(".png")]
    assert {path.stem for path in pictures} == (
        set() if x.dim() != 4 else {"interpolate_draw"} | ({"interpolate_mean"} if found.mean is not None else set())
    )
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width == 4 * 6 * (x.shape[-1] + 2)  # four steps and two examples, with margins


WRONG = [
    ("steps=1", "interpolate.steps: 1 given; must be a whole number, at least 2"),
    ("first=50", "interpolate.first: 50 given; the test split has 50 examples, from 0"),
    ("second=-1", "interpolate.second: -1 given; must be a whole number, at least 0"),
    ("way=sphrical", "interpolate.way: 'sphrical' given; must be one of linear, spherical (did you mean 'spherical'?)"),
]


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    for word, text in WRONG:
        assert lab("interpolate", run, word) == Said(2, "", f"vae-lab: {text}\n")
    assert not (run / "uses").exists()
