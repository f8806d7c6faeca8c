"""Classes that training does without: what is left out, what stays, and what each impossible wish is told."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from vae_lab.data import DataError, Dataset


@pytest.fixture
def labelled(name: str, dataset: Dataset) -> Dataset:
    if dataset.spec().labels is None:
        pytest.skip(f"{name}: no labels")
    if not hasattr(dataset, "without") or "without" not in inspect.signature(type(dataset)).parameters:
        pytest.skip(f"{name}: has no option `without`")
    return dataset


def test_train_and_val_leave_the_classes_out_and_test_keeps_them(
    name: str, labelled: Dataset, make: Callable[..., Any]
) -> None:
    one, other, *_ = labelled.load("train").y.unique().tolist()  # type: ignore[union-attr]
    for classes in ([one], [other, one]):
        less = make(name, without=classes)
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
    classes = labelled.load("train").y.unique().tolist()  # type: ignore[union-attr]
    with pytest.raises(DataError) as error:
        make(name, without=[77]).spec()
    assert str(error.value) == f"dataset.without: 77 given; the classes are {', '.join(map(str, classes))}"
    with pytest.raises(DataError, match="which leaves no example in the train split"):
        make(name, without=classes).spec()


def test_no_labels_cost_one_line(tmp_path: Any) -> None:
    import numpy as np

    from vae_lab.data.arrays import Arrays

    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 5)))
    with pytest.raises(
        DataError, match=r"dataset\.without: this dataset has no labels, by which a class could be left"
    ):
        Arrays(str(tmp_path / "x.npy"), without=[0]).spec()
