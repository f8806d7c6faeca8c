"""The latent map: principal components against a planted plane and numpy's SVD, on every kind of data."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from small_kinds import KINDS, MLP, Make
from small_runs import TINY, Lab, Said

import vae_lab
from vae_lab.evaluation.pca import principal_plane


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_plane_is_found(seed: int) -> None:
    """Two strong directions and a little noise: the map is the plane up to signs, its shares the planted variances'."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(6, 6))).Q
    scales = np.array([3.0, 2.0, 1e-3, 1e-3, 1e-3, 1e-3])
    own = rng.normal(size=(400, 6)) * scales
    own -= own.mean(0)
    own = np.linalg.svd(own, full_matrices=False).U * scales  # uncorrelated exactly
    plane = principal_plane(own @ basis.T + 7)
    for i in range(2):
        sign = np.sign(own[0, i] * plane.points[0, i])
        assert plane.points[:, i] == pytest.approx(sign * own[:, i], abs=1e-9)
    assert plane.shares == pytest.approx(scales**2 / (scales**2).sum(), abs=1e-9)


def test_it_is_the_projection_on_the_leading_singular_vectors() -> None:
    z = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0])
    centred = z - z.mean(0)
    _, singular, right = np.linalg.svd(centred)
    plane = principal_plane(z)
    assert np.abs(plane.points) == pytest.approx(np.abs(centred @ right[:2].T))
    assert plane.shares == pytest.approx(singular**2 / (singular**2).sum())


def test_a_code_that_does_not_vary_has_no_shares() -> None:
    plane = principal_plane(np.full((5, 3), 2.0))
    assert plane.shares is None
    assert plane.points.tolist() == [[0.0, 0.0]] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_has_its_map(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("map", run, "count=40", "split=train")
    assert (said.code, said.err) == (0, "")
    numbers = json.loads((run / "uses" / "map.json").read_text())["numbers"]
    loaded = vae_lab.load(run)
    batch = next(iter(loaded.dataset().batches("train", 40)))
    expected = principal_plane(loaded.encode(batch.x).double().numpy())
    assert expected.shares is not None
    assert numbers == {
        "examples": 40,
        "variance_share": pytest.approx({"pc1": expected.shares[0], "pc2": expected.shares[1]}),
    }
    with (run / "uses" / "map_points.csv").open() as file:
        titles, *rows = csv.reader(file)
    assert titles == ["row", "label", "pc1", "pc2"]
    assert [row[0] for row in rows] == [str(i) for i in range(40)]
    assert [row[1] for row in rows] == ([""] * 40 if batch.y is None else [str(y) for y in batch.y.tolist()])
    assert np.array([row[2:] for row in rows], dtype=float) == pytest.approx(expected.points)
    assert (run / "figures" / "map_pca.png").stat().st_size > 5000


@pytest.mark.parametrize("words", [["dataset=digits", "encoder.hidden=[8]", "trainer.max_steps=3", "evaluation.nll_samples=2"],
                                   [word for word in TINY if not word.startswith("latent")]])  # fmt: skip
def test_one_latent_is_a_strip(words: list[str], lab: Lab, in_tmp: Path) -> None:
    assert lab("train", *words, "latent_dim=1").code == 0
    (run,) = Path("runs/solo").iterdir()
    assert lab("map", run).code == 0
    told = json.loads((run / "uses" / "map.json").read_text())["numbers"]["variance_share"]
    assert told == {"pc1": pytest.approx(1)}
    assert (run / "uses" / "map_points.csv").read_text().startswith("row,label,pc1\n")
    assert (run / "figures" / "map_pca.png").exists()


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    assert lab("map", run, "count=1") == Said(
        2, "", "vae-lab: map.count: 1 given; must be a whole number, at least 2\n"
    )
    assert not (run / "uses").exists()


def test_one_unit_is_as_long_on_both_axes(made: Make) -> None:
    """A component of little variance looks like little; every point is inside."""
    answer, _ = vae_lab.use("map", made("colour"))
    _, *rows = answer.tables["points"]
    points = np.array([row[2:] for row in rows], dtype=float)
    encoding = answer.charts["pca"]["encoding"]
    domains = np.array([encoding[axis]["scale"]["domain"] for axis in "xy"])
    (width, height), ranges = np.diff(domains)[:, 0], np.ptp(points, 0)
    assert width == pytest.approx(height)
    assert width == pytest.approx(1.05 * ranges.max())
    assert domains.mean(1) == pytest.approx((points.max(0) + points.min(0)) / 2)
    assert answer.charts["pca"]["width"] == answer.charts["pca"]["height"]
    assert not any(encoding[axis]["scale"]["nice"] for axis in "xy")


def test_classes_have_their_names_in_their_order(lab: Lab, in_tmp: Path) -> None:
    """In a table the numbers by size and words after them, in folders the alphabet."""
    rng, classes = np.random.default_rng(0), ["2", "10", "red"]
    rows = [f"{a},{b},{classes[i % 3]}" for i, (a, b) in enumerate(rng.normal(size=(60, 2)))]
    Path("t.csv").write_text("\n".join(["a,b,kind", *rows]))
    words = ["dataset=table", "dataset.path=t.csv", "dataset.label=kind", "likelihood=gaussian", "decoder=mlp", *MLP]
    assert lab("train", *words).code == 0
    (run,) = Path("runs/solo").iterdir()
    answer, _ = vae_lab.use("map", run, {"split": "train"})
    data = vae_lab.load(run).dataset().load("train")
    assert data.y is not None
    assert [row[1] for row in answer.tables["points"][1:]] == [classes[y] for y in data.y.tolist()]
    assert answer.charts["pca"]["encoding"]["color"]["scale"]["domain"] == classes
    shown = {point["label"] for point in answer.charts["pca"]["data"]["values"]}
    assert shown == set(classes)
