"""Interpolation: its ways against geometry, its measures against closed forms, on every kind of data."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_kinds import KINDS, Make
from small_runs import Lab, Said
from torch import Tensor

import vae_lab
from vae_lab.evaluation.interpolate import geodesic, length, linear, spherical


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


def polar(z: Tensor) -> Tensor:
    """(r, phi) to the plane."""
    return z[:, :1] * torch.stack([z[:, 1].cos(), z[:, 1].sin()], 1)


def globe(z: Tensor) -> Tensor:
    """(latitude, longitude) to the unit sphere."""
    return torch.cat([z[:, :1].cos() * torch.stack([z[:, 1].cos(), z[:, 1].sin()], 1), z[:, :1].sin()], 1)


def test_a_geodesic_of_polar_coordinates_is_the_chord() -> None:
    """The straight line in (r, phi) is an arc; the shortest way in x is straight and goes evenly."""
    a, b = torch.tensor([[1.0, 0.0], [2.0, 1.2]], dtype=torch.float64)
    z = geodesic(polar, a, b, 9)
    ends = polar(torch.stack([a, b]))
    torch.testing.assert_close(polar(z), linear(ends[0], ends[1], 9), atol=1e-4, rtol=0)
    assert length(polar(linear(a, b, 9))) > 1.05 * length(polar(z))


@pytest.mark.parametrize("steps", [3, 8, 20])
def test_a_geodesic_of_the_globe_is_a_great_circle_walked_evenly(steps: int) -> None:
    a, b = torch.tensor([[0.7, 0.0], [0.6, 1.5]], dtype=torch.float64)
    x = globe(geodesic(globe, a, b, steps))
    torch.testing.assert_close(x, spherical(x[0], x[-1], steps), atol=1e-4, rtol=0)
    omega = math.acos(float(x[0] @ x[-1]))
    assert length(x) == pytest.approx(2 * (steps - 1) * math.sin(omega / 2 / (steps - 1)))  # chords


def test_a_geodesic_of_a_linear_decoder_is_the_line() -> None:
    a, b = ends(0)
    w = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(geodesic(lambda z: z @ w + 1, a, b, 6), linear(a, b, 6))
    assert torch.equal(geodesic(lambda z: z @ w, a, b, 2), linear(a, b, 2))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iterations", [1, 3, 100])
def test_a_geodesic_of_a_net_never_has_more_energy_than_the_line_and_keeps_its_ends(seed: int, iterations: int) -> None:
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(5, 20), torch.nn.Tanh(), torch.nn.Linear(20, 30)).double()
    a, b = ends(seed)
    with torch.no_grad():
        net[0].weight.mul_(4)
    z = geodesic(net, 2 * a, 2 * b, 8, iterations)
    torch.testing.assert_close(z[[0, -1]], torch.stack([2 * a, 2 * b]))
    with torch.no_grad():
        found, line = (net(way).diff(dim=0).square().sum() for way in (z, linear(2 * a, 2 * b, 8)))
    assert found < line
    assert all(parameter.grad is None for parameter in net.parameters())
    if iterations == 100:
        with torch.no_grad():
            parts = net(z).diff(dim=0).norm(dim=1)
        assert float(parts.max() / parts.min()) < 1.6  # evenly, but for what finitely many steps leave


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_geodesic_is_never_longer_in_x_than_the_line(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("interpolate", run, "way=geodesic", "nll_samples=2")
    if kind == "autoregressive":
        text = "a geodesic is measured by the decoder's mean, which this one does not have in closed form"
        assert said == Said(2, "", f"vae-lab: interpolate.way: geodesic given; {text} (choose linear or spherical)\n")
        assert not (run / "uses").exists()
        return
    assert (said.code, said.err) == (0, "")
    geodesic_x = json.loads((run / "uses" / "interpolate.json").read_text())["numbers"]["x"]
    assert lab("interpolate", run, "nll_samples=2").code == 0
    line_x = json.loads((run / "uses" / "interpolate.json").read_text())["numbers"]["x"]
    assert geodesic_x["length"] <= line_x["length"] * (1 + 1e-6)


def test_an_example_may_come_from_a_file(made: Make, lab: Lab) -> None:
    """The way between two rows is that between files that hold them."""
    run = made("grey")
    x = next(iter(vae_lab.load(run).dataset().batches("test", 3))).x
    np.save("one.npy", x[[2, 0]].numpy())
    found = []
    for words in (("first=2", "second=1"), ("first=one.npy", "second=1")):
        assert lab("interpolate", run, *words, "nll_samples=2").code == 0
        found.append(json.loads((run / "uses" / "interpolate.json").read_text())["numbers"])
    assert found[1] == found[0]
    np.save("other.npy", np.zeros((2, 4, 4), dtype=np.float32))
    said = lab("interpolate", run, "second=other.npy")
    assert said.err == (
        "vae-lab: interpolate.second: other.npy: x has shape (2, 4, 4): this run's examples are (n, 9, 7)\n"
    )
    said = lab("interpolate", run, "first=nowhere.npy")
    assert said.err.startswith("vae-lab: interpolate.first: nowhere.npy is missing: ")
    assert said.code == 2


WRONG = [
    ("steps=1", "interpolate.steps: 1 given; must be a whole number, at least 2"),
    ("first=50", "interpolate.first: 50 given; the test split has 50 examples, from 0"),
    ("second=-1", "interpolate.second: -1 given; must be a whole number, at least 0, or text"),
    (
        "way=sphrical",
        "interpolate.way: 'sphrical' given; must be one of linear, spherical, geodesic (did you mean 'spherical'?)",
    ),
]


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    for word, text in WRONG:
        assert lab("interpolate", run, word) == Said(2, "", f"vae-lab: {text}\n")
    assert not (run / "uses").exists()
