"""Classes that training does without: what is left out, what stays, and what each impossible wish is told."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab.data import DataError, Dataset
from vae_lab.data.arrays import Arrays
from vae_lab.data.sprites import Sprites
from vae_lab.data.table import Table


@pytest.fixture
def labelled(name: str, dataset: Dataset) -> Dataset:
    if dataset.spec().labels is None:
        pytest.skip(f"{name}: no labels")
    assert "without" in inspect.signature(type(dataset)).parameters
    return dataset


def test_train_and_val_leave_the_classes_out_and_test_keeps_them(
    name: str, labelled: Dataset, make: Callable[..., Any]
) -> None:
    one, other, *_ = labelled.load("train").y.unique().tolist()  # type: ignore[union-attr]
    for classes in ([one], [other, one]):
        less = make(name, without=[labelled.class_name(c) for c in classes])
        assert less.fingerprint() == labelled.fingerprint()
        assert less.spec().sizes == {split: len(less.load(split).x) for split in ("train", "val", "test")}
        for split in ("train", "val", "test"):
            whole, left = labelled.load(split), less.load(split)
            kept = torch.ones(len(whole.x), dtype=torch.bool)
            for c in classes if split != "test" else []:
                kept &= whole.y != c
            assert split == "test" or not kept.all()
            assert torch.equal(left.x, whole.x[kept])
            assert torch.equal(left.y, whole.y[kept])
            served = list(less.batches(split, 64))
            assert torch.equal(torch.cat([batch.y for batch in served]), left.y)


def test_without_none_is_the_dataset_itself(name: str, labelled: Dataset, make: Callable[..., Any]) -> None:
    assert make(name, without=[]).spec() == labelled.spec()


def test_impossible_wishes_cost_one_line(name: str, labelled: Dataset, make: Callable[..., Any]) -> None:
    classes = [labelled.class_name(c) for c in labelled.load("train").y.unique().tolist()]  # type: ignore[union-attr]
    with pytest.raises(DataError) as error:
        make(name, without=[77]).spec()
    listed = ", ".join(classes)
    assert str(error.value) == f"dataset.without: 77 given; the classes are {listed}"
    with pytest.raises(DataError) as error:
        make(name, without=classes).spec()
    assert str(error.value) == (
        f"dataset.without: {listed} given, which leaves no example in the train split; the classes are {listed}, and training "
        "needs one"
    )


def test_no_labels_cost_one_line(tmp_path: Path, make: Callable[..., Any]) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 5)))
    with pytest.raises(
        DataError, match=r"dataset\.without: this dataset has no labels, by which a class could be left"
    ):
        Arrays(str(tmp_path / "x.npy"), without=[0]).spec()
    with pytest.raises(DataError, match=r"dataset\.without: this dataset has no labels"):
        make("table", without=["a"]).spec()


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A table of two kinds, of which one lies far from the other and varies more, and of a column that only it varies in."""
    rng = np.random.default_rng(1)
    kind = rng.permutation(np.repeat(["benign", "malignant"], [80, 40]))
    x = np.where((kind == "benign")[:, None], rng.normal(1, 2, (120, 3)), rng.normal(50, 30, (120, 3)))
    rows = [",".join([*map(repr, map(float, row)), k]) for row, k in zip(x, kind, strict=True)]
    (tmp_path / "cells.csv").write_text("\n".join(["a,b,c,kind", *rows]))
    return tmp_path / "cells.csv", x, kind


def test_a_table_is_standardised_by_what_training_sees(cells: tuple[Path, np.ndarray, np.ndarray]) -> None:
    """Mean 0, standard deviation 1 and the change of units are of the train split without the class; test, and its class,
    are seen in the same scale."""
    path, x, kind = cells
    whole, less = Table(str(path), label="kind"), Table(str(path), label="kind", without=["malignant"])
    train = less.load("train").x.double()
    assert train.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert train.std(0, correction=0).tolist() == pytest.approx([1, 1, 1], rel=1e-6)
    assert less.load("train").y.tolist() == [0] * len(train)  # type: ignore[union-attr]
    assert less.spec().labels == 2
    mean, scale = less.scaling
    rows = less._parts["train"].numpy()
    seen = x[rows[kind[rows] == "benign"]]
    assert mean.tolist() == pytest.approx(seen.mean(0).tolist())
    assert scale.tolist() == pytest.approx(seen.std(0).tolist())
    assert less.spec().log_units == pytest.approx(float(np.log(seen.std(0)).sum()))
    assert less.spec().log_units < whole.spec().log_units - 3 * math.log(5)
    test = less.load("test")
    assert torch.allclose(less.original(test.x), whole.original(whole.load("test").x), atol=1e-3)
    assert test.y.tolist() == whole.load("test").y.tolist()  # type: ignore[union-attr]
    assert less.fingerprint() == whole.fingerprint()
    assert torch.equal(less.examples(path)[less._parts["test"]], test.x)


def test_a_column_that_only_the_class_left_out_varies_in_has_no_scale(tmp_path: Path) -> None:
    rows = [f"{i % 7},{0 if i % 2 else i},{i % 2}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind", *rows]))
    assert Table(str(tmp_path / "t.csv"), label="kind").spec().shape == (2,)
    with pytest.raises(DataError, match="the train split has one and the same value in all of b"):
        Table(str(tmp_path / "t.csv"), label="kind", without=[0]).spec()


def test_classes_of_a_table_are_named_as_the_file_names_them(tmp_path: Path) -> None:
    """Labels 5 and 7 are y = 0 and 1."""
    (tmp_path / "t.csv").write_text("\n".join(["a,kind", *(f"{i * i},{5 + i % 2 * 2}" for i in range(60))]))
    assert Table(str(tmp_path / "t.csv"), label="kind", without=[7]).load("train").y.unique().tolist() == [0]  # type: ignore[union-attr]
    for wrong in ([1], ["seven"]):
        with pytest.raises(DataError) as error:
            Table(str(tmp_path / "t.csv"), label="kind", without=wrong).spec()
        assert str(error.value) == f"dataset.without: {wrong[0]} given; the classes are 5, 7"
    with pytest.raises(DataError, match="5, 7 given, which leaves no example in the train split; the classes are 5, 7"):
        Table(str(tmp_path / "t.csv"), label="kind", without=[5, 7]).spec()


def test_the_factors_of_sprites_are_those_of_the_pictures_that_are_left() -> None:
    less = Sprites(scales=2, orientations=2, positions=4, without=["heart"])
    for split in ("train", "val", "test"):
        kept = less.load(split)
        assert torch.equal(less.factors(split).values[:, 0], kept.y)  # type: ignore[arg-type]
        assert (2 in kept.y) == (split == "test")  # type: ignore[operator]
