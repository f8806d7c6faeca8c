"""Whole runs on data of a person's own: the units of a table change its nats and nothing else; what both kinds of data are put
to; what is told of them."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small_kinds import MLP
from small_runs import TINY, Lab

import vae_lab

LINEAR = [word for word in TINY if not word.startswith("dataset")]
TABLE = ["dataset=table", "dataset.path=t.csv", *LINEAR]
IMAGES = ["dataset=images", "dataset.path=pictures", "likelihood=gaussian", "decoder=mlp", *MLP]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 2)) @ RNG.normal(size=(2, 4)) + 0.3 * RNG.normal(size=(100, 4))


def write_table(x: np.ndarray, name: str = "t.csv", further: Any = ()) -> None:
    names = [*"abcd", *dict(further)]
    cells = [*map(list, x.T), *dict(further).values()]
    Path(name).write_text("\n".join(",".join(map(str, row)) for row in [names, *zip(*cells, strict=True)]))


def write_pictures(folder: str = "pictures") -> None:
    for i in range(40):
        path = Path(folder, ["left", "right"][i % 2])
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (9, 7), np.uint8)).save(path / f"{i:02}.png")


def trained(lab: Lab, *words: str) -> tuple[Path, dict[str, float], str]:
    said = lab("train", *words)
    assert said.code == 0, said
    run = Path(said.out.split()[-1])
    return run, json.loads((run / "result.json").read_text())["metrics"], said.err


def weights(run: Path) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vae_lab.load(run).model.state_dict().items()}


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_units_that_are_powers_of_two_give_the_same_model(bound: str, lab: Lab, in_tmp: Path) -> None:
    """To the bit, since powers of two are exact in floats."""
    factors = np.array([2.0**10, 2.0**-7, 1.0, 2.0])
    runs = []
    for x in (X, X * factors):
        write_table(x)
        runs.append(trained(lab, *TABLE, f"bound={bound}"))
    (run, metrics, _), (other_run, other, _) = runs
    assert run != other_run
    same = weights(run), weights(other_run)
    if bound == "elbo":  # bounds on importance weights subtract one large number from another
        assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
        assert metrics["test/rate"] == other["test/rate"]
    change = float(np.log(factors).sum())
    for name, sign in {"nll": 1, "distortion": 1, "elbo": -1}.items():
        for split in ("val", "test"):
            assert other[f"{split}/{name}"] == pytest.approx(metrics[f"{split}/{name}"] + sign * change, abs=2e-5)
    assert yaml.safe_load((other_run / "config.yaml").read_text())["spec"]["log_units"] == pytest.approx(
        yaml.safe_load((run / "config.yaml").read_text())["spec"]["log_units"] + change
    )


def test_another_unit_and_another_origin_change_the_nats_by_the_unit_alone(lab: Lab, in_tmp: Path) -> None:
    write_table(X)
    _, metrics, _ = trained(lab, *TABLE)
    write_table(X * [10, 1000, 1, 0.3] + [0, 5e4, -7, 1])
    _, other, _ = trained(lab, *TABLE)
    assert other["test/nll"] == pytest.approx(metrics["test/nll"] + math.log(10 * 1000 * 0.3), abs=1e-3)
    assert other["test/rate"] == pytest.approx(metrics["test/rate"], abs=1e-3)


def test_units_do_not_reach_what_is_not_standardised(lab: Lab, in_tmp: Path) -> None:
    write_table(X)
    run, _, _ = trained(lab, *TABLE, "dataset.standardize=false")
    assert vae_lab.load(run).model.log_units == 0


def test_a_run_of_before_there_were_units_loads(lab: Lab, in_tmp: Path) -> None:
    run, metrics, _ = trained(lab, *TINY)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["spec"].pop("log_units") == 0
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert vae_lab.load(run).model.log_units == 0
    said = lab("evaluate", str(run), "evaluation.nll_samples=5")
    assert said.code == 0, said
    assert json.loads((run / "result.json").read_text())["metrics"]["test/elbo"] == metrics["test/elbo"]


def test_a_loaded_run_has_the_units_and_evaluates_to_the_same_nats(lab: Lab, in_tmp: Path) -> None:
    write_table(X * 1000)
    run, metrics, _ = trained(lab, *TABLE)
    assert vae_lab.load(run).model.log_units == vae_lab.load(run).dataset().spec().log_units > 4 * math.log(300)
    assert lab("evaluate", str(run), "rerun=true").code == 2
    shutil.move("t.csv", "moved.csv")
    said = lab("evaluate", str(run), "dataset.path=moved.csv", "evaluation.nll_samples=3")
    assert said.code == 0, said
    assert json.loads((run / "result.json").read_text())["metrics"]["test/elbo"] == metrics["test/elbo"]


@pytest.mark.parametrize("kind", ["table", "images"])
def test_a_run_on_own_data_is_put_to_uses(kind: str, lab: Lab, in_tmp: Path) -> None:
    write_table(X, further={"kind": ["red", "green"] * 50})
    write_pictures()
    run, _, err = trained(lab, *({"table": [*TABLE, "dataset.label=kind"], "images": IMAGES}[kind]))
    assert err == ""
    for use in ("sample", "reconstruct", "interpolate", "probe"):
        said = lab(use, str(run))
        assert (said.code, said.err) == (0, "")
        assert json.loads((run / "uses" / f"{use}.json").read_text())["numbers"]


def test_what_is_in_two_splits_is_told_once_and_kept(lab: Lab, in_tmp: Path) -> None:
    parts = ["train"] * 80 + ["val"] * 10 + ["test"] * 10
    x = X.copy()
    x[80:83], x[99] = x[:3], x[0]
    write_table(x, further={"part": parts})
    said = lab("train", "-m", *TABLE, "dataset.split=part", "seed=0,1")
    assert said.code == 0
    assert said.err.count("warning: dataset=table: 3 of 10 val and 1 of 10 test examples are in train too") == 1
    for result in Path("runs").glob("*/*/result.json"):
        assert json.loads(result.read_text())["settings"]["spec"]["repeated"] == {"val": 3, "test": 1}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("dataset=table", "vae-lab: dataset.path: a value is needed (set dataset.path=...)\n"),
        ("dataset=table dataset.path=no.csv", "vae-lab: no.csv is missing: set dataset.path= to a .csv, .parquet or .npy file\n"),
        ("dataset=table dataset.path=t.csv dataset.columns=[a,e]", "vae-lab: dataset.columns: t.csv has no column 'e'; it has a, b, c, d\n"),
        ("dataset=images dataset.path=no", "vae-lab: no is missing: set dataset.path= to a folder of pictures\n"),
        ("dataset=images dataset.path=pictures dataset.size=0", "vae-lab: dataset.size: 0 given; must be a whole number, at least 1, or a list of 2, each a whole number, at least 1, or null\n"),
        ("dataset=images dataset.path=pictures dataset.size=[4]", "vae-lab: dataset.size: [4] given; must be a whole number, at least 1, or a list of 2, each a whole number, at least 1, or null\n"),
        ("dataset=images dataset.path=pictures dataset.fit=crp", "vae-lab: dataset.fit: 'crp' given; must be one of crop, stretch (did you mean 'crop'?)\n"),
    ],
)  # fmt: skip
def test_a_wrong_request_costs_one_line_and_writes_nothing(words: str, line: str, lab: Lab, in_tmp: Path) -> None:
    write_table(X)
    write_pictures()
    before = sorted(in_tmp.rglob("*"))
    said = lab("train", *words.split(), "likelihood=gaussian")
    assert (said.code, said.err) == (2, line)
    assert sorted(in_tmp.rglob("*")) == before


FEW = ["scores=[elbo]", "by=elbo", "samples=2", "resamples=5", "false_alarms=0.4"]


def rows_of(run: Path) -> list[list[str]]:
    return read_csv(run / "uses" / "score_data.csv")


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_new_pictures_are_known_by_their_files(lab: Lab, in_tmp: Path) -> None:
    write_pictures()
    run, _, _ = trained(lab, *IMAGES)
    names = ["a,b.png", "sub/10.png", "sub/9.png"]
    for i, name in enumerate(names):
        Path("new", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 7), 60 * i, np.uint8)).save(Path("new", name))
    assert lab("score", run, "data=new", *FEW).code == 0
    titles, *rows = rows_of(run)
    assert titles == ["row", "file", "elbo", "alarm"]
    assert [row[:2] for row in rows] == [[str(i), name] for i, name in enumerate(names)]
    run_again = vae_lab.load(run)
    alone = run_again.dataset().examples(Path("new/sub/9.png"))
    assert torch.equal(run_again.dataset().examples(Path("new"))[2:], alone)
    assert lab("score", run, "data=new/sub/9.png", *FEW).code == 0
    assert [row[:2] for row in rows_of(run)[1:]] == [["0", "9.png"]]


def test_new_rows_are_known_by_the_columns_that_x_has_not(lab: Lab, in_tmp: Path) -> None:
    """Those in `ignore` that the file has; one of the name of a score is told apart from it."""
    further = {"id": [f"p{i}" for i in range(100)], "elbo": range(100), "site": ["x"] * 100}
    write_table(X, further=further)
    run, _, _ = trained(lab, *TABLE, "dataset.ignore=[id,elbo,site]")
    write_table(X[:3], "new.csv", {"elbo": [7, 8, 9], "id": ["q", "", "s"]})
    assert lab("score", run, "data=new.csv", *FEW).code == 0
    titles, *rows = rows_of(run)
    assert titles == ["row", "id", "data.elbo", "elbo", "alarm"]
    assert [row[:3] for row in rows] == [["0", "q", "7"], ["1", "", "8"], ["2", "s", "9"]]


def test_categories_go_through_every_use_and_come_back_as_they_stand(lab: Lab, in_tmp: Path) -> None:
    """`score` reads them, `reconstruct`, `sample` and `interpolate` write them: in the columns and units of the file."""
    kinds = [["red", "green", "light blue"][i % 7 % 3] for i in range(100)]
    write_table(100 + 10 * X, further={"kind": kinds, "id": range(100)})
    run, _, err = trained(lab, *TABLE, "dataset.onehot=[kind]", "dataset.ignore=[id]")
    assert err == ""
    for use, names in {"reconstruct": ["originals", "mean", "sample"], "sample": ["draw", "mean"]}.items():
        assert lab(use, run, *(["count=200"] if use == "sample" else [])).err == ""
        for name in names:
            titles, *rows = read_csv(run / "uses" / f"{use}_{name}.csv")
            assert titles == [*"abcd", "kind"]
            assert {row[-1] for row in rows} <= {*kinds}
            assert 50 < np.array([row[:4] for row in rows], float).mean() < 150
    data = vae_lab.load(run).dataset()
    rows = read_csv(run / "uses" / "reconstruct_originals.csv")[1:]
    own = {(*np.round(100 + 10 * x, 3), kind) for x, kind in zip(X, kinds, strict=True)}
    assert {(*np.round([*map(float, row[:4])], 3), row[4]) for row in rows} <= own
    assert len(rows) == data.spec().sizes["test"]
    shutil.copy(run / "uses" / "reconstruct_originals.csv", "new.csv")  # what is written is read
    assert data.examples(Path("new.csv")).numpy() == pytest.approx(data.load("test").x.numpy(), abs=1e-5)
    assert lab("score", run, "data=new.csv", *FEW).code == 0
    assert lab("interpolate", run).err == ""
    assert len(read_csv(run / "uses" / "interpolate_mean.csv")) == 11
    Path("new.csv").write_text("a,b,c,d,kind\n1,2,3,4,violet\n")
    assert lab("score", run, "data=new.csv", *FEW).err == (
        "vae-lab: score.data: new.csv has 'violet' for kind in line 2, which training has not seen; there were green, light "
        "blue, red\n"
    )


@pytest.mark.parametrize("kind", ["table", "images"])
def test_a_class_of_ones_own_data_is_held_out_by_its_name(kind: str, lab: Lab, in_tmp: Path) -> None:
    write_pictures()
    write_table(X, further={"side": ["left", "right"] * 50})
    words = [*TABLE, "dataset.label=side"] if kind == "table" else IMAGES
    for value, line in [
        ("[middle]", "dataset.without: middle given; the classes are left, right"),
        ("[left,right]", "dataset.without: left, right given, which leaves no example in the train split; the classes are "
                         "left, right, and training needs one"),
    ]:  # fmt: skip
        assert lab("train", *words, f"dataset.without={value}") == (2, "", f"vae-lab: {line}\n")
    assert not Path("runs").exists()
    run, _, _ = trained(lab, *words, "dataset.without=[right]", "dataset.val_fraction=0.3", "dataset.test_fraction=0.3")
    for held_out in ([], ["held_out=right"]):
        said = lab("score", run, *FEW, *held_out)
        assert (said.code, said.err) == (0, "")
        found = json.loads((run / "uses" / "score.json").read_text())["numbers"]
        y = vae_lab.load(run).dataset().load("test").y
        assert y is not None
        assert (found["normal_examples"], found["others_examples"]) == ((y == 0).sum(), (y == 1).sum())
    said = lab("score", run, *FEW, "held_out=left")
    assert said.err == (
        "vae-lab: score.held_out: left given, which this run was trained on; train one without it, dataset.without=[left]\n"
    )
    said = lab("score", run, *FEW, "held_out=up")
    assert said.err == "vae-lab: score.held_out: up given; the classes of the test split are left, right\n"
