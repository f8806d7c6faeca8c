"""A run that is extended is the uncut one, to the bit; where it could not be, it is trained from the start and says why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vae_lab import compose, train
from vae_lab.store import LAST, RESULT

SMALL = (
    "encoder.hidden=[8]", "decoder.hidden=[8]", "latent_dim=3", "batch_size=256", "trainer.log_every_n_steps=5",
    "callbacks.checkpoint.every_n_updates=7", "evaluation.nll_samples=2", "evaluation.figures=false", "optimizer.lr=0.01",
)  # fmt: skip
STATEFUL = {  # the settings, and the two ends: an epoch has four updates
    "epochs": ((), "trainer.max_epochs=2", "trainer.max_epochs=4"),
    "the middle of an epoch": ((), "trainer.max_steps=6", "trainer.max_steps=11"),
    "steps, then epochs": (("beta=linear", "beta.warmup=9"), "trainer.max_steps=7", "trainer.max_epochs=3"),
    "plateau": (
        ("scheduler=plateau", "scheduler.patience=1", "scheduler.warmup=3", "callbacks=early_stopping"),
        "trainer.max_epochs=3", "trainer.max_epochs=6",
    ),
    "best": (("evaluation.checkpoint=best", "optimizer.lr=0.001"), "trainer.max_epochs=3", "trainer.max_epochs=4"),
    "controller": (("beta=pi", "trainer.val_check_interval=3"), "trainer.max_steps=10", "trainer.max_steps=14"),
    "two stages": (("inference=two_stage", "inference.pretrain=6"), "trainer.max_steps=5", "trainer.max_steps=9"),
    "discriminator": (
        ("regularizer=factor", "regularizer.factor.hidden=[8]", "trainer.accumulate_grad_batches=1"),
        "trainer.max_steps=6", "trainer.max_steps=9",
    ),
    "step": (("scheduler=step", "scheduler.period=5"), "trainer.max_steps=7", "trainer.max_steps=12"),
    "accumulation": (("trainer.accumulate_grad_batches=3",), "trainer.max_steps=3", "trainer.max_steps=7"),
}  # fmt: skip
QUICK = ("the middle of an epoch", "plateau", "best", "two stages")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice


def run(folder: Path, *words: str) -> tuple[dict[str, Any], Path, list[str]]:
    said: list[str] = []
    words = (*(word for word in SMALL if word.partition("=")[0] not in {w.partition("=")[0] for w in words}), *words)
    result = train(compose(*words, f"runs_dir={folder}"), progress=False, say=said.append)
    return result, folder / "solo" / result["signature"], said


@pytest.mark.parametrize(
    ("words", "short", "long"),
    [pytest.param(*case, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, case in STATEFUL.items()],
)
def test_an_extended_run_is_the_uncut_one(words: tuple[str, ...], short: str, long: str, tmp_path: Path) -> None:
    before, shorter, _ = run(tmp_path / "two", *words, short)
    files = {file: file.read_bytes() for file in sorted(shorter.rglob("*")) if file.is_file()}
    uncut, its_path, nothing = run(tmp_path / "one", *words, long)
    result, path, (line,) = run(tmp_path / "two", *words, long)
    assert nothing == []
    assert line.endswith(f": goes on from {shorter}, the same run until update {before['timing']['steps']}")
    assert path.name == its_path.name != shorter.name  # it is named as ever, by its settings
    assert result["metrics"] == uncut["metrics"]
    assert (path / "metrics.csv").read_text() == (its_path / "metrics.csv").read_text()
    states = [torch.load(p / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for p in (path, its_path)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    work = result["timing"]["steps_run"], result["timing"]["attempts"]
    assert work == (uncut["timing"]["steps"], 2)
    assert {file: file.read_bytes() for file in files} == files  # the shorter one is what it was


DEPENDENT = {
    "scheduler=cosine": "scheduler=cosine depends on the length of the run",
    "scheduler.warmup=0.5": "scheduler=constant depends on the length of the run",
    "beta=linear": "beta=linear depends on the length of the run",
    "inference=two_stage": "inference=two_stage depends on the length of the run",
    "beta=cyclical": "beta=cyclical depends on the length of the run",
}


@pytest.mark.parametrize(("word", "reason"), DEPENDENT.items(), ids=DEPENDENT)
def test_what_depends_on_the_length_is_trained_from_the_start_and_says_so(
    word: str, reason: str, tmp_path: Path
) -> None:
    _, shorter, _ = run(tmp_path, word, "trainer.max_steps=8")
    result, _, (line,) = run(tmp_path, word, "trainer.max_steps=12")
    assert line.endswith(f": trained from the start, not from the end of {shorter}: {reason}")
    assert (result["timing"]["steps_run"], result["timing"]["attempts"]) == (12, 1)


def changed(file: Path, *keys: str, value: Any) -> None:
    content = json.loads(file.read_text())
    node = content
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    file.write_text(json.dumps(content))


def test_only_the_same_run_is_gone_on_from_and_the_longest_of_them(tmp_path: Path) -> None:
    run(tmp_path, "trainer.max_steps=4")
    _, eight, _ = run(tmp_path, "trainer.max_steps=8")
    for other in ("seed=1", "bound=iwae", "trainer.gradient_clip_val=1.0"):
        assert run(tmp_path, other, "trainer.max_steps=9")[2] == []
    assert f"goes on from {eight}, " in run(tmp_path, "trainer.max_steps=9")[2][0]
    assert run(tmp_path, "trainer.max_steps=9", "rerun=true")[0]["timing"]["attempts"] == 1
    assert run(tmp_path, "trainer.max_steps=3")[2] == []  # from which a longer one is of no use


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


REFUSED: dict[str, Callable[[Path], None]] = {
    "it was made with torch 1.0, and this is ": lambda run: changed(run / RESULT, "environment", "torch", value="1.0"),
    "it ended before its last update": lambda run: changed(run / RESULT, "timing", "steps", value=3),
    "is damaged": lambda run: damage(run / LAST),
    "it is another run than its name says": lambda run: run.rename(run.with_name("0123456789")) and None,
}


@pytest.mark.parametrize(("reason", "spoil"), REFUSED.items(), ids=REFUSED)
def test_a_shorter_run_that_may_not_be_the_same_is_left_alone(
    reason: str, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    spoil(run(tmp_path, "trainer.max_steps=4")[1])
    result, _, (line,) = run(tmp_path, "trainer.max_steps=5")
    assert ": trained from the start, not from the end of " in line
    assert reason in line
    assert (result["timing"]["steps_run"], result["timing"]["attempts"]) == (5, 1)
