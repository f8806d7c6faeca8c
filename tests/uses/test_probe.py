"""The worth of a code: against planted codes of which it is known, and on a run."""

import json

import numpy as np
import pytest
import torch
from small_kinds import Make
from small_runs import Lab, Said

import vae_lab
from vae_lab.evaluation.probe import linear_probe, neighbours

Split = tuple[np.ndarray, np.ndarray]


def planted(seed: int, n: int = 600, classes: int = 4) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, n), rng


def both(code: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Linear probe and neighbours, trained on the first two thirds."""
    cut = 2 * len(code) // 3
    split = code[:cut], labels[:cut], code[cut:], labels[cut:]
    return linear_probe(*split).share, neighbours(*split).share


def test_a_code_that_is_the_label_is_read_off_without_a_mistake() -> None:
    labels, rng = planted(0)
    assert both(np.eye(4)[labels] + rng.normal(0, 0.01, (600, 4)), labels) == (1, 1)


def test_a_code_that_says_nothing_gives_chance() -> None:
    labels, rng = planted(1, n=6000)
    for share in both(rng.normal(size=(6000, 3)), labels):
        assert share == pytest.approx(1 / 4, abs=5 * np.sqrt(0.25 * 0.75 / 2000))


def test_a_parity_is_for_neighbours_alone() -> None:
    """Exclusive or of two signs: no line tells them apart."""
    rng = np.random.default_rng(2)
    code = rng.uniform(-1, 1, (1500, 2))
    line, near = both(code, (code[:, 0] * code[:, 1] > 0).astype(int))
    assert line < 0.65
    assert near > 0.9


def test_two_gaussians_are_told_apart_as_well_as_can_be() -> None:
    """N(-d, I) and N(d, I) along one axis: the best anybody can do is Phi(d)."""
    from scipy.stats import norm

    labels, rng = planted(3, n=9000, classes=2)
    code = rng.normal(size=(9000, 3)) + np.outer(2 * labels - 1, [1.0, 0, 0])
    assert both(code, labels)[0] == pytest.approx(norm.cdf(1.0), abs=4 * np.sqrt(0.84 * 0.16 / 3000))


def test_units_do_not_matter_to_the_probe_and_rotations_not_to_neighbours() -> None:
    labels, rng = planted(4)
    code = np.eye(4)[labels] + rng.normal(0, 0.6, (600, 4))
    line, near = both(code, labels)
    assert both(code * [1, 1e3, 1e-3, 5] + [0, 7, 0, -1], labels)[0] == pytest.approx(line, abs=0.01)
    assert both(code @ np.linalg.qr(rng.normal(size=(4, 4))).Q, labels)[1] == near


def test_a_run_is_probed_by_the_means_of_its_code(made: Make, lab: Lab) -> None:
    run = made("binary")
    said = lab("probe", run, "train_count=300", "test_count=100")
    assert (said.code, said.err) == (0, "")
    numbers = json.loads((run / "uses" / "probe.json").read_text())["numbers"]
    assert (numbers["train_examples"], numbers["test_examples"]) == (300, 100)
    loaded = vae_lab.load(run)
    data = loaded.dataset()
    (x, y), (x_test, y_test) = (
        (b.x, b.y) for b in (next(iter(data.batches(*s))) for s in (("train", 300), ("test", 100)))
    )
    assert y is not None
    assert y_test is not None
    z = [torch.as_tensor(loaded.encode(part)).double().numpy() for part in (x, x_test)]
    expected = linear_probe(z[0], y.numpy(), z[1], y_test.numpy())
    assert numbers["z"]["linear_probe"] == pytest.approx({"accuracy": expected.share, "standard_error": expected.error})
    assert numbers["x"]["linear_probe"]["accuracy"] > 0.7 > numbers["most_frequent_label"]


def test_what_cannot_be_probed_costs_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    assert lab("probe", run) == Said(2, "", "vae-lab: probe: this run's dataset has no labels\n")
    assert not (run / "uses").exists()


def test_one_label_is_too_few(made: Make, lab: Lab) -> None:
    said = lab("probe", made("binary"), "train_count=1")
    assert said.err == (
        "vae-lab: probe.train_count: 1 given; these examples have one label, and two are needed to tell apart\n"
    )
