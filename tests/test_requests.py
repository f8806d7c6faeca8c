"""Many requests of one process: what they share, and in which order their runs begin."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import TINY

from vae_lab.config import composer
from vae_lab.fitting import built
from vae_lab.grid import Task, to_do
from vae_lab.request import Requests


@pytest.fixture(scope="module")
def compose() -> Iterator[Any]:
    with composer() as compose:
        yield compose


def test_runs_of_the_same_data_have_them_in_memory_once(compose: Any, tmp_path: Path) -> None:
    """Of another weight, another network, another seed; not of other data, nor of the same file once it has changed."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((200, 4), dtype=np.float32))
    words = [*TINY, "dataset=arrays", f"dataset.path={tmp_path / 'x.npy'}"]
    own = [
        word
        for word in words
        if not word.startswith(("dataset=linear", "dataset.train", "dataset.val", "dataset.test"))
    ]
    requests = Requests()
    data = [requests(compose([*own, *more])).dataset for more in ([], ["beta.value=2"], ["prior=mixture"], ["seed=1"])]
    assert all(one is data[0] for one in data)
    assert data[0].load("train") is data[1].load("train")
    assert requests(compose([*own, "dataset.binarization=threshold"])).dataset is not data[0]
    np.save(tmp_path / "x.npy", np.random.default_rng(1).random((200, 4), dtype=np.float32))
    assert requests(compose(own)).dataset is not data[0]


def test_the_longest_run_begins_first(compose: Any, tmp_path: Path) -> None:
    """By updates, examples, draws and parameters; those that are alike in their own order."""
    requests = Requests(then=built)
    arms = {
        "usual": [],
        "more draws": ["bound=iwae", "bound.samples=8"],
        "large batches": ["batch_size=100"],
        "other seed": ["seed=1"],
        "wide": ["encoder=mlp", "decoder=mlp", "encoder.hidden=[900]", "decoder.hidden=[900]"],
        "third seed": ["seed=2"],
    }
    replaced = {"wide": ("encoder=linear", "decoder=linear"), "large batches": ("batch_size=50",)}
    tasks = {}
    for name, more in arms.items():
        words = [*(word for word in TINY if word not in replaced.get(name, ())), f"runs_dir={tmp_path}", *more]
        tasks[name] = Task(tuple(words), requests(compose(words)))
    names = {task.path: name for name, task in tasks.items()}
    order = [names[task.path] for task in to_do(list(tasks.values()), retry_failed=False)]
    assert order == ["wide", "more draws", "large batches", "usual", "other seed", "third seed"]
