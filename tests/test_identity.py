"""The name of a run: what can change the trained model changes it, and nothing else does."""

import copy
import dataclasses
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_runs import TINY

from vae_lab import compose, config, identity, train
from vae_lab.identity import evaluation_hash, signature
from vae_lab.objectives.regularizers import DIP
from vae_lab.places import option_directories
from vae_lab.request import request
from vae_lab.store import LAST
from vae_lab.targets import locate
from vae_lab.training.checkpoint_io import read_checkpoint


def settings(*words: str) -> dict[str, Any]:
    return config.resolve(compose(*words))


def name(*words: str) -> str:
    return signature(settings(*words), "data")


def test_it_is_ten_hexadecimal_digits() -> None:
    assert len(name()) == 10
    int(name(), 16)


COSMETIC = [
    "runs_dir=elsewhere",
    "study.name=other",
    "study.arm=x",
    "logger=wandb",
    "logger=tensorboard",
    "evaluation.nll_samples=7",
    "evaluation.checkpoint=best",
    "rerun=true",
    "fail_fast=true",
    "optimized_metric=test/nll",
    "callbacks.checkpoint.every_n_updates=3",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=3",
    "+mitigation@x=none",
]
DEFAULTS = [
    "mitigation=none",
    "seed=0",
    "beta.value=1",
    "beta.value=1.0",
    "optimizer.lr=0.001",
    "optimizer.betas=[0.9,0.999]",
    "prior=normal",
    "scheduler=constant",
    "trainer.accumulate_grad_batches=1",
    "dataset.binarization=dynamic",
    "dataset.without=[]",
    "~optimizer.weight_decay",
]
CHANGES = [
    "seed=1",
    "latent_dim=3",
    "batch_size=3",
    "threads=2",
    "optimizer.lr=0.002",
    "optimizer=sgd",
    "beta.value=0.5",
    "mitigation=free_bits",
    "mitigation=kl_annealing",
    "encoder.hidden=[3]",
    "prior=mixture",
    "bound=iwae",
    "dataset.binarization=static",
    "dataset.without=[4]",
    "dataset.binarization_seed=1",
    "dataset.split_seed=1",
    "trainer.precision=64-true",
    "trainer.max_steps=3",
    "trainer.max_epochs=3",
    "trainer.gradient_clip_val=1",
    "trainer.val_check_interval=0.5",
    "trainer.accelerator=gpu",
    "+trainer.max_time=00:00:01:00",
    "callbacks=early_stopping",
    "scheduler=cosine",
]


@pytest.mark.parametrize("word", [*COSMETIC[:-1], *DEFAULTS])
def test_what_changes_no_model_changes_no_name(word: str) -> None:
    assert name(word) == name()


def test_what_changes_the_model_changes_the_name() -> None:
    names = [name(), *map(name, CHANGES), signature(settings(), "other data")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mitigation=free_bits", "rate=free_bits"),
        ("mitigation=beta_below_one", "beta.value=0.5"),
        ("optimizer.lr=1e-3", "optimizer.lr=0.001"),
        ("mitigation=kl_annealing", "beta=linear"),
    ],
)
def test_two_ways_to_say_the_same(one: str, other: str) -> None:
    assert name(one) == name(other)


def test_an_int_and_a_float_that_mean_different_things() -> None:
    """One update is not the whole run; but one is one where a class wants a float."""
    assert name("beta=linear", "beta.warmup=1") != name("beta=linear", "beta.warmup=1.0")
    assert name("trainer.val_check_interval=1") != name("trainer.val_check_interval=1.0")
    assert name("optimizer.lr=1") == name("optimizer.lr=1.0")


def test_the_order_of_keys_is_irrelevant() -> None:
    given = settings("encoder.hidden=[3,4]", "optimizer.lr=0.2")

    def turned(value: Any) -> Any:
        return {k: turned(v) for k, v in reversed(value.items())} if isinstance(value, dict) else value

    assert list(turned(given)) != list(given)
    assert signature(turned(given), "data") == signature(given, "data")
    assert name("seed=3", "latent_dim=4") == name("latent_dim=4", "seed=3")


def test_a_key_that_a_run_does_not_have_yet_renames_nothing() -> None:
    """A setting that is added later, at its default, is left out."""
    given = settings()
    older = copy.deepcopy(given)
    del older["optimizer"]["weight_decay"], older["trainer"]["gradient_clip_val"], older["encoder"]["activation"]
    assert signature(older, "data") == signature(given, "data")


def test_a_default_is_the_same_from_python_and_from_the_command_line() -> None:
    """Else a name that leaves defaults out would mean two things. (The trainers are one class at different settings.)"""
    seen = 0
    for directory in option_directories():
        for file in sorted(directory.glob("*/*.yaml")):
            content = yaml.safe_load(file.read_text())
            for node in nodes(content) if file.parent.name not in ("trainer", "hydra") else ():
                target = locate("", node["_target_"])
                defaults = inspect.signature(target).parameters
                fields = dataclasses.fields(target) if dataclasses.is_dataclass(target) else ()
                made = {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}
                for key, value in node.items():
                    interpolated = isinstance(value, str) and value.startswith("${")
                    if key in defaults and defaults[key].default is not inspect.Parameter.empty and not interpolated:
                        default = made.get(key, defaults[key].default)  # a list is made anew for each object
                        assert (list(default) if isinstance(default, tuple) else default) == value, (
                            f"{file.parent.name}/{file.name}: {key}"
                        )
                        seen += 1
    assert seen > 100


def nodes(content: Any) -> Iterator[dict[str, Any]]:
    """Every node that names a class, and those inside it."""
    if isinstance(content, dict):
        yield from [content] if "_target_" in content else []
        for value in content.values():
            yield from nodes(value)


def test_a_revision_of_a_class_renames_the_runs_that_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {words: name(*words) for words in [("regularizer=dip",), ("regularizer=mmd",), ()]}
    monkeypatch.setattr(DIP, "revision", 7, raising=False)
    identity._read_without_defaults.cache_clear()
    after = {words: name(*words) for words in before}
    identity._read_without_defaults.cache_clear()
    assert [words for words in before if before[words] != after[words]] == [("regularizer=dip",)]


def test_a_revision_may_depend_on_settings() -> None:
    """Under mixed precision q became float32; no other run has another name for it."""
    nodes = {
        word: compose(*TINY, f"trainer.precision={word}").trainer for word in ("32-true", "bf16-mixed", "bf16-true")
    }
    revisions = {word: identity.without_defaults(dict(node)).get("revision") for word, node in nodes.items()}
    assert revisions == {"32-true": None, "bf16-mixed": 1, "bf16-true": None}


def test_an_evaluation_has_a_name_of_its_own() -> None:
    def evaluation(*words: str) -> str:
        return evaluation_hash(request(compose(*TINY, *words)).evaluation.identity())

    assert evaluation() == evaluation("seed=3") == evaluation("evaluation.figures=false")
    assert len({evaluation(), evaluation("evaluation.nll_samples=5"), evaluation("evaluation.seed=5")}) == 3


# ---- the data


def directory(*words: str) -> str:
    return request(
        compose(*[w for w in TINY if not w.startswith("dataset")], "dataset=arrays", *words)
    ).directory.signature


def test_data_are_known_by_their_content(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 4)).astype(np.float32)
    (tmp_path / "there").mkdir()
    places = [tmp_path / "a.npy", tmp_path / "there" / "b.npy"]
    for place in places:
        np.save(place, x)
    np.savez(tmp_path / "c.npz", x=x)
    one, same = (directory(f"dataset.path={place}") for place in places)
    assert one == same
    x[3, 2] += 0.5
    np.save(places[1], x)
    os.utime(places[1], ns=(1, 1))
    assert directory(f"dataset.path={places[1]}") != one


def test_weights_to_start_from_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are read once for all the points of a grid."""
    paths = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = train(compose(*TINY, f"runs_dir={tmp_path / folder}", f"seed={seed}"), progress=False)
        paths.append(tmp_path / folder / "solo" / result["signature"])
    read: list[Path] = []
    monkeypatch.setattr(identity, "read_checkpoint", lambda file: read.append(file) or read_checkpoint(file))
    first, same, other = (request(compose(*TINY, f"init_from={path}")).directory.signature for path in paths)
    assert first == same != other
    assert first != request(compose(*TINY)).directory.signature
    assert first == signature(settings(*TINY, f"init_from={paths[0]}"), request(compose(*TINY)).dataset.fingerprint())
    assert len(read) == 3
    (paths[0] / LAST).write_bytes((paths[2] / LAST).read_bytes())
    assert request(compose(*TINY, f"init_from={paths[0]}")).directory.signature == other
