"""Anomaly detection on runs of every kind: groups, measures, alarms, and what each impossible wish is told."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_kinds import ARRAYS, KINDS, MLP, Make
from small_runs import Lab, Said

import vae_lab
from vae_lab.distributions import stream_seed
from vae_lab.evaluation.anomaly import Sampling
from vae_lab.evaluation.detection import detection, threshold
from vae_lab.uses.anomaly import constant, shuffled

FEW = ["count=20", "samples=4", "steps=3", "resamples=20"]
PLAIN = ["elbo", "nll", "distortion", "rate", "regret"]


def numbers(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "uses" / "score.json").read_text())["numbers"]
    return found


@pytest.fixture
def without(lab: Lab, in_tmp: Path) -> Path:
    """A run on digits without the class 4."""
    said = lab("train", *KINDS["binary"][0], "dataset.without=[4]")
    assert (said.code, said.err) == (0, ""), said
    (run,) = Path("runs/solo").iterdir()
    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("against", [pytest.param("constant", marks=pytest.mark.slow), "shuffled"])
def test_every_kind_of_model_scores(kind: str, against: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("score", run, f"against={against}", *FEW, "false_alarms=0.3")
    assert (said.code, said.err) == (0, ""), said
    found, image = numbers(run), kind != "vectors"
    assert [name for name in found if isinstance(found[name], dict)] == [
        *PLAIN, *(["complexity"] if image else []), "threshold",
    ]  # fmt: skip
    assert found["normal_examples"] == found["others_examples"] > 0
    for name in PLAIN:
        assert found[name]["auroc_low"] <= found[name]["auroc_high"]
        assert np.isfinite([found[name]["normal"], found[name]["others"]]).all()
    assert found["elbo"]["normal"] == pytest.approx(found["distortion"]["normal"] + found["rate"]["normal"])
    assert found["nll"]["normal"] <= found["elbo"]["normal"] + 1e-6  # Jensen, on the same draws
    pictures = {Path(line).stem for line in said.out.splitlines() if line.endswith(".png")}
    assert pictures == {"score_histograms", "score_roc"} | ({"score_normal", "score_others"} if image else set())
    assert all((run / "figures" / f"{picture}.png").stat().st_size > 0 for picture in pictures)
    assert not list(run.glob("uses/*.csv"))


def test_a_held_out_class_is_told_from_the_others(without: Path, lab: Lab) -> None:
    said = lab("score", without, "samples=5", "steps=3", "count=400", "resamples=50")
    assert (said.code, said.err) == (0, ""), said
    found, run = numbers(without), vae_lab.load(without)
    test = run.dataset().load("test")
    assert test.y is not None
    assert (found["normal_examples"], found["others_examples"]) == (int((test.y != 4).sum()), int((test.y == 4).sum()))
    batch = next(iter(run.dataset().batches("test", 300)))
    how = {group: Sampling(5, 3, 0.1, stream_seed(0, group)) for group in ("normal", "others")}
    x = {"normal": batch.x[batch.y != 4], "others": batch.x[batch.y == 4]}
    expected = {group: run.score(x[group], ["nll", "rate"], how[group]) for group in x}
    for name in ("nll", "rate"):
        normal, others = (expected[group][name].numpy() for group in ("normal", "others"))
        truth = detection(normal, others, 50, 0)
        assert [found[name][key] for key in ("auroc", "auroc_low", "auroc_high")] == pytest.approx(list(truth.auroc))
        assert [found[name][key] for key in ("aupr", "fpr95")] == pytest.approx([truth.aupr[0], truth.fpr95[0]])
        assert found[name]["normal"] == pytest.approx(normal.mean())
    first = numbers(without)
    assert lab("score", without, "samples=5", "steps=3", "count=400", "resamples=50", "held_out=4").code == 0
    assert numbers(without) == first


def test_simple_pictures_are_told_to_be_ranked_more_normal(lab: Lab, in_tmp: Path) -> None:
    """The known failure: grey pictures with noise, against flat ones, by a likelihood of pixels."""
    np.save("x.npy", np.random.default_rng(0).random((200, 6, 6), np.float32))
    assert lab("train", *ARRAYS, "decoder=mlp", *MLP).code == 0
    (run,) = Path("runs/solo").iterdir()
    assert lab("score", run, "against=constant", *FEW).code == 0
    found = numbers(run)
    for name in ("elbo", "nll"):
        assert found[name]["auroc"] < 0.1
        assert found[name]["others_are"] == "ranked more normal"
    assert found["complexity"]["others_are"] == "ranked more anomalous"
    assert found["threshold"]["alarms_others"] == 0


def test_equal_groups_are_not_told_apart(made: Make, lab: Lab) -> None:
    run = made("binary")
    x = next(iter(vae_lab.load(run).dataset().batches("test", 300))).x
    np.save("same.npy", x.numpy())
    assert (
        lab("score", run, "against=same.npy", "count=300", "samples=50", "scores=[rate,distortion]", "by=rate").code
        == 0
    )
    found = numbers(run)
    assert found["rate"]["auroc"] == pytest.approx(
        0.5, abs=1e-12
    )  # the same examples: every difference has its opposite
    assert found["rate"]["others_are"] == found["distortion"]["others_are"] == "not told apart"


def test_new_data_get_a_row_each_and_an_alarm_above_the_threshold(without: Path, lab: Lab) -> None:
    grey = vae_lab.load(without).dataset().load("test").x[:30]
    np.save("new.npy", (grey.float() / 16).numpy())
    said = lab("score", without, "data=new.npy", *FEW, "false_alarms=0.2", "by=regret", "seed=3")
    assert (said.code, said.err) == (0, "")
    with (without / "uses" / "score_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", *PLAIN, "complexity", "alarm"]
    assert [int(row["row"]) for row in rows] == list(range(30))
    run = vae_lab.load(without)
    x = run.dataset().examples(Path("new.npy"))
    expected = run.score(x, PLAIN, Sampling(4, 3, 0.1, stream_seed(3, "data")))
    for name in PLAIN:
        assert [float(row[name]) for row in rows] == pytest.approx(expected[name].tolist())
    validation = next(iter(run.dataset().batches("val", 20))).x
    known = run.score(validation, ["regret"], Sampling(4, 3, 0.1, stream_seed(3, "validation")))["regret"]
    found = numbers(without)
    assert found["threshold"]["value"] == pytest.approx(threshold(known.numpy(), 0.2))
    alarms = [float(row["regret"]) > found["threshold"]["value"] for row in rows]
    assert [row["alarm"] == "1" for row in rows] == alarms
    assert found["threshold"]["alarms_data"] == pytest.approx(np.mean(alarms))
    assert found["data_examples"] == 30


def test_new_data_alone_need_no_others(made: Make, lab: Lab) -> None:
    run = made("vectors")
    np.save("new.npy", torch.randn(7, 5).numpy())
    said = lab("score", run, "data=new.npy", "scores=[elbo]", "count=50")
    assert (said.code, said.err) == (0, "")
    found = numbers(run)
    assert list(found["elbo"]) == ["normal", "data"]
    assert found["threshold"]["by"] == "elbo"
    assert (found["validation_examples"], found["data_examples"]) == (50, 7)
    assert "others_examples" not in found
    assert len((run / "uses" / "score_data.csv").read_text().splitlines()) == 8


def test_the_alarms_of_normal_examples_are_as_rare_as_asked(made: Make, lab: Lab) -> None:
    """Validation and test of one law: over the draw of both the mean rate is below 10 %, and its deviation 6 %."""
    run = made("vectors")
    assert lab("score", run, "against=constant", "count=50", "scores=[elbo]", "by=elbo", "false_alarms=0.1").code == 0
    assert numbers(run)["threshold"]["alarms_normal"] < 0.1 + 4 * 0.06


def test_waic_is_over_the_runs_that_are_named(lab: Lab, in_tmp: Path) -> None:
    for seed in (0, 1, 2):
        assert lab("train", *KINDS["vectors"][0], f"seed={seed}").code == 0
    run, *others = sorted(Path("runs/solo").iterdir())
    named = f"runs=[{','.join(map(str, others))}]"
    assert lab("score", run, "against=shuffled", named, "samples=30", "count=50").code == 0
    a, *rest = (vae_lab.load(one) for one in (run, *others))
    x = next(iter(a.dataset().batches("test", 50))).x
    how = Sampling(30, seed=stream_seed(0, "normal"))
    nll = torch.stack([one.score(x, ["nll"], how)["nll"] for one in (a, *rest)])
    truth = nll.mean(0) + nll.var(0)
    assert a.score(x, ["waic"], how, rest)["waic"].tolist() == pytest.approx(truth.tolist())
    assert numbers(run)["waic"]["normal"] == pytest.approx(float(truth.mean()))
    with pytest.raises(ValueError, match="waic is over several models"):
        a.score(x, ["waic"], how)


@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 5, 4), (7,)])
def test_what_is_made_of_examples(shape: tuple[int, ...]) -> None:
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    flat, mixed = constant(x), shuffled(x)
    assert flat.shape == mixed.shape == x.shape
    rows, even, moved = (one.flatten(2) if len(shape) == 3 else one[:, None] for one in (x, flat, mixed))
    assert torch.allclose(even, rows.mean(-1, keepdim=True).expand_as(rows))
    assert torch.equal(moved.sort(-1).values, rows.sort(-1).values)
    assert not torch.equal(moved, rows)
    columns = {tuple(column) for example in rows[:1] for column in example.T.tolist()}
    assert {tuple(column) for column in moved[0].T.tolist()} == columns  # the channels of a pixel stay together
    assert torch.equal(shuffled(x), mixed)


def test_mistakes_cost_one_line_and_write_nothing(without: Path, lab: Lab) -> None:
    np.save("small.npy", np.zeros((5, 7, 8), np.uint8))
    np.save("colour.npy", np.zeros((5, 3, 8, 8), np.uint8))
    np.save("bad.npy", np.full((5, 8, 8), np.nan))
    classes = ", ".join(map(str, range(10)))
    for words, text in [
        (["held_out=11"], f"score.held_out: 11 given; the classes of the test split are {classes}"),
        (["held_out=3"], "score.held_out: 3 given, which this run was trained on; train one without it, dataset.without=[3]"),
        (["held_out=four"], f"score.held_out: four given; the classes of the test split are {classes}"),
        (["held_out=4", "against=constant"], "score: held_out and against given; examples are held against one other group at a time"),
        (["against=small.npy"], "score.against: small.npy: x has shape (5, 7, 8): this run's examples are (n, 8, 8)"),
        (["data=colour.npy"], "score.data: colour.npy: x has shape (5, 3, 8, 8): this run's examples are (n, 8, 8)"),
        (["data=bad.npy"], "score.data: bad.npy: x has nan in row 0 (of 5 such rows): x must be finite in float32; remove or repair it"),
        (["data=none.npy"], "score.data: none.npy given; must be a file or a folder that there is"),
        (["against=constnt"], "score.against: constnt given; must be a file or a folder that there is, or constant or shuffled (did you mean 'constant'?)"),
        (["scores=[nll,waic]"], "score.scores: waic given, which needs runs of the same data, as runs=[RUN2,RUN3]"),
        (["scores=[rate]", "by=nll"], "score.by: nll given; must be one of score.scores, rate"),
        (["scores=[]"], "score.scores: [] given; name one score at least, or null for all"),
        (["by=reget"], "score.by: 'reget' given; must be elbo, nll, distortion, rate, regret, waic, complexity, or null"),
        (["false_alarms=0"], "score.false_alarms: 0 given; must be a number, above 0, below 1"),
        (["false_alarms=0.01", "count=50"], "score.false_alarms: 0.01 false alarms need 99 normal examples; 50 of validation are scored"),
        (["runs=[nowhere]"], "nowhere: no such folder; a run is runs/STUDY/NAME, and `vae-lab ls` lists them"),
        ([f"runs=[{without}]"], f"score.runs: {without} is there twice; a variance is over different models"),
    ]:  # fmt: skip
        assert lab("score", without, *words) == Said(2, "", f"vae-lab: {text}\n"), words
    assert not (without / "uses").exists()


def test_runs_of_other_data_and_unfinished_ones_are_refused(without: Path, lab: Lab) -> None:
    assert lab("train", *KINDS["binary"][0]).code == 0
    (other,) = set(Path("runs/solo").iterdir()) - {without}
    told = f"score.runs: {other} was trained on other data than {without}, or otherwise split"
    assert lab("score", without, f"runs=[{other}]") == Said(2, "", f"vae-lab: {told}\n")
    (other / "result.json").unlink()
    told = f"score.runs: {other} has not completed; `vae-lab ls` shows its state"
    assert lab("score", without, f"runs=[{other}]") == Said(2, "", f"vae-lab: {told}\n")


def test_a_run_that_has_seen_everything_is_told_what_to_give(made: Make, lab: Lab) -> None:
    run = made("vectors")
    nothing = (
        "score: there is nothing to tell apart, since this run was trained on every class: give held_out= (of a run trained "
        "with dataset.without), against= or data="
    )
    no_labels = "score.held_out: 4 given; this run's dataset has no labels"
    not_images = "score.scores: complexity given, which is for images in [0, 1]"
    for words, text in [([], nothing), (["held_out=4"], no_labels), (["scores=[complexity]"], not_images)]:
        assert lab("score", run, *words) == Said(2, "", f"vae-lab: {text}\n")
    assert not (run / "uses").exists()


def test_splits_of_ones_own_may_hold_classes_that_training_has_not(lab: Lab, in_tmp: Path) -> None:
    """New classes of test are the others without being left out; test needs some of the known ones too."""
    x, y = np.random.default_rng(0).random((90, 5, 4), np.float32), np.arange(90) % 3
    for test, code in ((y[:30], 0), (np.full(30, 7), 2)):
        np.savez("x.npz", train=x[:30], val=x[30:60], test=x[60:], train_y=y[:30] % 2, val_y=y[:30] % 2, test_y=test)
        words = [word.replace("x.npy", "x.npz") for word in (*ARRAYS, "decoder=mlp", *MLP)]
        assert lab("train", *words).code == 0
        run = max(Path("runs/solo").iterdir(), key=lambda path: path.stat().st_mtime)
        said = lab("score", run, *FEW, "scores=[nll]")
        assert said.code == code, said
    assert said.err == "vae-lab: score: val and test need examples of the classes that the run was trained on\n"
    (first,) = Path("runs/solo").glob("*/uses/score.json")
    found = json.loads(first.read_text())["numbers"]
    assert (found["normal_examples"], found["others_examples"]) == (20, 10)
