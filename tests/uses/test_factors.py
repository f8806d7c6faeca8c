"""The use of known factors: on a run, on codes of which the scores are known, and refused where it makes no sense."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_kinds import KINDS, MLP, Make
from small_runs import Lab, Said
from torch import Tensor

import vae_lab
from vae_lab.evaluation.factor_pairs import beta_vae_score, factor_vae_score
from vae_lab.evaluation.factors import alive, dci, entropies, mig, modularity, mutual_information, sap, sap_regression
from vae_lab.finished import Run

COUNTS = ["dataset.scales=2", "dataset.orientations=3", "dataset.positions=4"]
BINARY = ["dataset=sprites", "dataset.size=20", *COUNTS, "decoder=mlp", *MLP]
GREY = [*BINARY, "dataset.binarization=none", "likelihood=gaussian"]
NAMES = ["shape", "scale", "orientation", "x", "y"]

Train = Callable[[list[str]], Path]


@pytest.fixture
def trained(lab: Lab, in_tmp: Path) -> Train:
    def train(words: list[str]) -> Path:
        said = lab("train", *words)
        assert (said.code, said.err) == (0, ""), said
        (run,) = Path("runs/solo").iterdir()
        return run

    return train


def numbers_of(run: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((run / "uses" / "factors.json").read_text())["numbers"]
    return numbers


@pytest.mark.parametrize("words", [BINARY, GREY], ids=["binary", "grey"])
def test_a_run_is_measured_by_the_means_of_its_code(words: list[str], trained: Train, lab: Lab) -> None:
    run = trained(words)
    said = lab("factors", run, "split=train", "count=200", "bins=7", "seed=3")
    assert (said.code, said.err) == (0, "")
    loaded, numbers = vae_lab.load(run), numbers_of(run)
    data = loaded.dataset()
    factors = data.factors("train")
    assert factors is not None
    codes = loaded.encode(next(iter(data.batches("train", 200))).x).double().numpy()
    values = factors.values[:200].numpy()
    information = mutual_information(codes, values, 7)
    trees = dci(codes, values, 3)
    assert numbers["examples"] == 200
    assert numbers["living_codes"] == alive(codes).sum()
    assert numbers["z"] == pytest.approx(
        {
            "mig": mig(information, entropies(values)),
            "dci_disentanglement": trees.disentanglement,
            "dci_completeness": trees.completeness,
            "dci_informativeness": trees.informativeness,
            "sap": sap(codes, values, 3),
            "sap_regression": sap_regression(codes, values[:, 1:]),
            "modularity": modularity(information[alive(codes)]),
            "factor_vae": factor_vae_score(codes, values, 3),
            "beta_vae": beta_vae_score(codes, values, 3),
        },
        abs=1e-6,
    )
    assert [name for name in numbers["z"] if numbers["factors"][name] < 0.9] == [
        "sap"
    ]  # one line tells two values apart
    with (run / "uses" / "factors_information.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["z", *NAMES]
    assert np.array(rows[1:], float)[:, 1:] == pytest.approx(information / entropies(values))
    with Image.open(run / "figures" / "factors_information.png") as picture:
        assert min(picture.size) > 50


def test_a_code_that_holds_the_factors_scores_as_they_do(
    trained: Train, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that knows: each example's mean is its factors, whatever the size of a batch."""
    run = trained(BINARY)
    data = vae_lab.load(run).dataset()
    factors = data.factors("train")
    assert factors is not None
    known = {
        x.numpy().tobytes(): row
        for x, row in zip(next(iter(data.batches("train", 1000))).x, factors.values, strict=True)
    }

    def encode(self: Run, x: Tensor) -> Tensor:
        return torch.stack([known[one.numpy().tobytes()] for one in x]).float()

    monkeypatch.setattr(Run, "encode", encode)
    monkeypatch.setattr("vae_lab.uses.factors._BATCH", 64)
    assert lab("factors", run, "split=train").code == 0
    numbers = numbers_of(run)
    assert numbers["z"] == pytest.approx(numbers["factors"])
    assert numbers["chance"]["mig"] < 0.2 < 0.9 < numbers["z"]["mig"]
    assert numbers["chance"]["factor_vae"] < 0.5 < numbers["z"]["factor_vae"]


def test_a_factor_with_one_value_is_left_out(trained: Train, lab: Lab) -> None:
    run = trained([word.replace("scales=2", "scales=1") for word in BINARY])
    assert lab("factors", run, "split=train").code == 0
    header = (run / "uses" / "factors_importance.csv").read_text().splitlines()[0]
    assert header == "z,shape,orientation,x,y"


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_which_nobody_knows_the_factors_cost_one_line(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    text = "factors: nobody knows what this run's data were made from; dataset=sprites has known factors"
    assert lab("factors", run) == Said(2, "", f"vae-lab: {text}\n")
    assert not (run / "uses").exists()


WRONG = [
    ("count=20", "factors.count: 20 given; among these 20 examples of the test split shape=2 is there 4 times, and 10 are needed: use more, or split=train"),
    ("count=1", "factors: 0 of the factors shape, scale, orientation, x, y vary among these examples, and two are needed"),
    ("bins=1", "factors.bins: 1 given; must be a whole number, at least 2"),
    ("split=tset", "factors.split: 'tset' given; must be one of train, val, test (did you mean 'test'?)"),
]  # fmt: skip


def test_mistakes_cost_one_line(trained: Train, lab: Lab) -> None:
    run = trained(BINARY)
    for word, text in WRONG:
        assert lab("factors", run, word) == Said(2, "", f"vae-lab: {text}\n")
    assert not (run / "uses").exists()


def test_pictures_that_are_alike_are_refused_before_a_run_starts(lab: Lab, in_tmp: Path) -> None:
    said = lab("train", "dataset=sprites", "dataset.size=8")
    assert said.code == 2
    assert said.err.startswith(
        "vae-lab: dataset.size: 8 pixels a side cannot tell 6144 combinations of factors apart (of"
    )
    assert said.err.count("\n") == 1
    assert not Path("runs").exists()
