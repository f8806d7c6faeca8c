"""Models that are told labels: the uses that tell them the data's own do so, and the others say why not."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_kinds import KINDS
from small_runs import Lab, Said

import vae_lab
from vae_lab.distributions import per_dimension_kl
from vae_lab.evaluation.interpolate import length
from vae_lab.evaluation.pca import principal_plane
from vae_lab.finished import Run


@pytest.fixture
def told(lab: Lab, in_tmp: Path) -> Run:
    said = lab("train", *KINDS["binary"][0], "labels=given", "labels.prior=true", "optimizer.lr=0.1")
    assert (said.code, said.err) == (0, ""), said
    return vae_lab.load(said.out.split()[-1])


def numbers(run: Run, use: str) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads((run.path / "uses" / f"{use}.json").read_text())[
        "numbers"
    ]
    return found


def test_the_map_is_of_codes_at_their_labels(told: Run, lab: Lab) -> None:
    assert lab("map", told.path, "count=40").code == 0
    batch = next(iter(told.dataset().batches("test", 40)))
    with (told.path / "uses" / "map_points.csv").open() as file:
        points = np.array([row[2:] for row in csv.reader(file)][1:], float)
    at, other = (principal_plane(told.encode(batch.x, y).double().numpy()).points for y in (batch.y, batch.y.flip(0)))  # type: ignore[union-attr]
    assert points == pytest.approx(at)
    assert points != pytest.approx(other)


def test_noise_is_taken_away_at_the_labels(told: Run, lab: Lab) -> None:
    assert lab("denoise", told.path, "count=30", "levels=[0]").code == 0
    batch = next(iter(told.dataset().batches("test", 30)))
    mean = told.reconstruct(batch.x, y=batch.y).mean
    assert mean is not None
    error = numbers(told, "denoise")["sd_0"]["denoised"]["mean_squared_error"]
    assert error == pytest.approx(float((mean - batch.x).square().mean()))


@torch.no_grad()
def test_a_latent_is_moved_at_the_label_of_its_example(told: Run, lab: Lab) -> None:
    assert lab("traverse", told.path, "example=3", "latents=1").code == 0
    every = next(iter(told.dataset().batches("test", 300)))
    assert every.y is not None
    at = told.model.given(every.y)
    rates = per_dimension_kl(at.encode(every.x), at.prior())
    assert rates is not None
    with (told.path / "uses" / "traverse_latents.csv").open() as file:
        _, (latent, rate, _, moved, *values) = csv.reader(file)
    assert float(rate) == pytest.approx(float(rates.mean(0).max()), rel=1e-5)
    z = told.encode(every.x[3:4], every.y[3:4]).repeat(len(values), 1)
    z[:, int(latent)] = torch.tensor([*map(float, values)])
    assert float(moved) == pytest.approx(length(told.model.given(every.y[3]).decode(z).mean), rel=1e-4)


def test_what_has_no_label_costs_one_line(told: Run, lab: Lab) -> None:
    line = "traverse.example: null given; this run's model is told labels, and the origin has none"
    assert lab("traverse", told.path, "example=null") == Said(2, "", f"vae-lab: {line}\n")
    assert not (told.path / "uses").exists()
    plain = Path(lab("train", *KINDS["binary"][0]).out.split()[-1])
    line = f"score.runs: {told.path} is told labels (labels=given), and new examples have none"
    assert lab("score", plain, "against=constant", f"runs=[{told.path}]") == Said(2, "", f"vae-lab: {line}\n")
    assert not (plain / "uses").exists()
