"""Learning from few labels, as a use of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_kinds import KINDS, MLP, Make
from small_runs import Lab

import vae_lab
from vae_lab.evaluation.semi_supervised import m2
from vae_lab.uses.few_labels import SemiSupervised

METHODS = ["supervised", "m1", "m1_svm", "m2", "m1_m2"]
FEW = ["label_counts=[20]", "draws=2", "updates=5"]


def test_every_method_is_told_with_its_spread_over_draws(made: Make, lab: Lab) -> None:
    for kind in ("binary", "autoregressive"):
        run = made(kind)
        said = lab("semi_supervised", run, *FEW)
        assert (said.code, said.err) == (0, "")
        numbers = json.loads((run / "uses" / "semi_supervised.json").read_text())["numbers"]
        assert list(numbers["labels_20"]) == METHODS
        for found in numbers["labels_20"].values():
            assert 0 <= found["error"] <= 1
            assert found["spread"] >= 0
        Path("runs").rename(f"runs_{kind}")


def test_more_labels_help_and_the_same_seed_repeats(made: Make, lab: Lab) -> None:
    run = made("binary")
    words = ["label_counts=[10,500]", "draws=1", "methods=[supervised]", "updates=200"]
    told = []
    for _ in range(2):
        assert lab("semi_supervised", run, *words).code == 0
        told.append(json.loads((run / "uses" / "semi_supervised.json").read_text())["numbers"])
    few, many = (told[0][f"labels_{n}"]["supervised"] for n in (10, 500))
    assert many["error"] < few["error"] - 0.1
    assert few["spread"] is None
    assert told[0] == told[1]


WRONG = [
    (["label_counts=[5]"], "semi_supervised.label_counts: 5 labels given; there are 10 classes, and each needs one"),
    (["label_counts=[100000]"], "semi_supervised.label_counts: 100000 labels given; the rarest class has "),
    (
        ["label_counts=[]"],
        "semi_supervised.label_counts: [] given; must be a list of at least 1, each a whole number, at least 1",
    ),
    (
        ["methods=[m3]"],
        "semi_supervised.methods: ['m3'] given; must be a list of at least 1, each supervised, m1, m1_svm, m2, m1_m2",
    ),
    (["updates=0"], "semi_supervised.updates: 0 given; must be a whole number, at least 1"),
]


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("binary")
    for words, text in WRONG:
        said = lab("semi_supervised", run, *words)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"vae-lab: {text}")
        assert said.err.count("\n") == 1
    assert not (run / "uses").exists()


def test_data_without_labels_are_refused(made: Make, lab: Lab) -> None:
    said = lab("semi_supervised", made("vectors"))
    assert (said.code, said.err) == (2, "vae-lab: semi_supervised: this run's dataset has no labels\n")


@pytest.mark.usefixtures("in_tmp")
def test_m2_has_one_scale_for_all_labels_and_batches(lab: Lab) -> None:
    """A scale that is the best one for a batch would be that of the errors at labels that are ruled out, too."""
    words = ["dataset=digits", "dataset.binarization=none", "likelihood=gaussian_optimal", "decoder=mlp"]
    run = vae_lab.load(lab("train", *words, *MLP).out.split()[-1])
    task = SemiSupervised()._task(run, run.dataset(), np.arange(20), 0)
    x = task.test[0][:6]
    model = m2(x.shape[1], 10, task.likelihood(x.shape[1]), hidden=8, latent_dim=2).train()
    noise = torch.randn(1, 6, model.vae.posterior.noise_dim)
    apart = torch.cat([model.unlabelled(x[i : i + 1], noise[:, i : i + 1]) for i in range(6)])
    assert torch.allclose(model.unlabelled(x, noise), apart, rtol=1e-4)


@pytest.mark.usefixtures("in_tmp")
def test_classes_that_training_did_without_are_not_asked_for(lab: Lab) -> None:
    run = vae_lab.load(lab("train", *KINDS["binary"][0], "dataset.without=[4]").out.split()[-1])
    task = SemiSupervised()._task(run, run.dataset(), np.arange(20), 0)
    assert 4 not in task.test[2]
    assert len(task.test[0]) == len(task.test[1]) == len(task.test[2]) > 200


@pytest.mark.usefixtures("in_tmp")
def test_a_run_that_was_told_every_label_is_refused(lab: Lab) -> None:
    assert lab("train", "dataset=digits", "decoder=mlp", *MLP, "labels=given").code == 0
    (run,) = Path("runs/solo").iterdir()
    said = lab("semi_supervised", run)
    assert (said.code, said.err) == (
        2,
        "vae-lab: semi_supervised: this run's model is told labels (labels=given), and this use has none to tell it\n",
    )
