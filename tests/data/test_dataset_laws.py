"""Laws that every conf/dataset/*.yaml keeps."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_lab.data import Batches, Dataset
from vae_lab.models import Batch

SPLITS = ("train", "val", "test")
BATCH = 64


def same(a: Batch, b: Batch) -> bool:
    pairs = [(a.x, b.x), (a.index, b.index)] + ([] if a.y is None else [(a.y, b.y)])
    return all(torch.equal(left, right) for left, right in pairs)


def values_fit(x: Tensor, kind: str) -> bool:
    if kind == "binary":
        return bool(((x == 0) | (x == 1)).all())
    return bool(x.isfinite().all()) and (kind == "real" or bool(((x >= 0) & (x <= 1)).all()))


def test_the_yaml_lists_every_argument_with_its_default(name: str, settings_of: Callable[..., Any]) -> None:
    cls, node = settings_of(name)
    arguments = inspect.signature(cls).parameters
    assert list(node) == list(arguments)
    place = {"path", "root"}
    assert {k: v for k, v in node.items() if k not in place} == {
        k: p.default for k, p in arguments.items() if k not in place
    }


def test_every_setting_is_annotated_and_documented(name: str, settings_of: Callable[..., Any]) -> None:
    cls, node = settings_of(name)
    assert all(p.annotation is not p.empty for p in inspect.signature(cls).parameters.values())
    assert not [key for key in node if key not in cls.__doc__]


def test_the_spec_says_what_the_data_are(dataset: Dataset) -> None:
    spec = dataset.spec()
    for split in SPLITS:
        stored = dataset.load(split)
        batch = next(iter(dataset.batches(split, BATCH)))
        assert stored.x.shape == (spec.sizes[split], *spec.shape)
        assert batch.x.shape[1:] == spec.shape
        assert batch.x.dtype == torch.float32
        assert values_fit(batch.x, spec.kind)
        assert (stored.y is None) == (spec.labels is None)
        if stored.y is not None and spec.labels is not None:
            assert stored.y.shape == (spec.sizes[split],)
            assert 0 <= int(stored.y.min()) <= int(stored.y.max()) < spec.labels
    assert ("binary_x" in spec.traits.provides) == (spec.kind == "binary")
    assert ("image" in spec.traits.provides) == (len(spec.shape) == 3)


def test_no_example_is_in_two_splits(dataset: Dataset) -> None:
    rows = {split: {x.numpy().tobytes() for x in dataset.load(split).x} for split in SPLITS}
    assert not rows["train"] & rows["val"]
    assert not rows["train"] & rows["test"]
    assert not rows["val"] & rows["test"]


def test_two_loads_are_equal_and_leave_the_global_noise_alone(
    name: str, dataset: Dataset, make: Callable[..., Dataset]
) -> None:
    state, again = torch.get_rng_state(), make(name)
    for split in SPLITS:
        assert torch.equal(dataset.load(split).x, again.load(split).x)
        next(iter(again.batches(split, BATCH, shuffle=True)))
    assert torch.equal(torch.get_rng_state(), state)
    assert again.spec() == dataset.spec()


def test_the_split_seed_moves_the_split(name: str, dataset: Dataset, make: Callable[..., Dataset]) -> None:
    if not hasattr(dataset, "split_seed"):
        pytest.skip(f"{name}: the split is the official one")
    other = make(name, split_seed=1)
    assert not torch.equal(dataset.load("val").x, other.load("val").x)
    assert other.fingerprint() == dataset.fingerprint()


def test_the_fingerprint_is_a_function_of_the_content(
    name: str, dataset: Dataset, make: Callable[..., Dataset]
) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}|generated", dataset.fingerprint())
    assert make(name).fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("split", SPLITS)
def test_an_evaluation_serves_every_example_in_order_always_the_same(dataset: Dataset, split: str) -> None:
    first, other_run = dataset.batches(split, BATCH, seed=0), dataset.batches(split, BATCH, seed=1)
    n = dataset.spec().sizes[split]
    assert len(first) == -(-n // BATCH)
    served = list(first)
    assert torch.equal(torch.cat([batch.index for batch in served]), torch.arange(n))
    assert all(same(a, b) for a, b in zip(served, first, strict=True))
    assert all(same(a, b) for a, b in zip(served, other_run, strict=True))
    assert first.state_dict() == {"served": 0}


def test_an_epoch_serves_full_batches_without_repeats_in_an_order_of_its_own(dataset: Dataset) -> None:
    loader = dataset.batches("train", BATCH, shuffle=True)
    orders = [torch.cat([batch.index for batch in loader]) for _ in range(2)]
    assert len(loader) == dataset.spec().sizes["train"] // BATCH or len(loader) == 1
    assert all(len(order) == len(order.unique()) == len(loader) * loader.batch_size for order in orders)
    assert not torch.equal(*orders)


def test_a_run_cut_anywhere_goes_on_to_the_bit(dataset: Dataset) -> None:
    def loader() -> Batches:
        return dataset.batches("train", BATCH, seed=3, shuffle=True)

    uncut = loader()
    whole = [*uncut, *uncut][: 2 * len(uncut)]
    for served in (0, 1, len(uncut) - 1, len(uncut)):
        cut = loader()
        cut.load_state_dict({"served": served})
        here = next(iter(cut))
        assert same(here, whole[served])
        assert cut.state_dict() == {"served": served + 1}
        rest = sum(1 for _ in cut)
        assert (served + 1 + rest) % len(uncut) == 0


def test_the_seed_of_the_run_moves_the_order(dataset: Dataset) -> None:
    a, b = (next(iter(dataset.batches("train", BATCH, seed=seed, shuffle=True))) for seed in (0, 1))
    assert a.index is not None
    assert not torch.equal(a.index.sort().values if len(a.index) < BATCH else a.index, b.index)
