"""The lab's loop over batches leaves out what nobody hears, and nothing else: beside Lightning's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from small_runs import UNENDING

from vae_lab import compose
from vae_lab.request import request
from vae_lab.run import execute
from vae_lab.training.checkpoint_io import read_checkpoint
from vae_lab.training.loop import EpochLoop

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice

WAYS = {
    "epochs": ["trainer.max_epochs=3"],
    "steps": ["trainer.max_steps=10", "callbacks.checkpoint.every_n_updates=3"],
    "accumulated": ["trainer.max_epochs=3", "trainer.accumulate_grad_batches=3"],
    "validated within an epoch": ["trainer.max_steps=13", "trainer.val_check_interval=2", "scheduler=plateau"],
    "over the epochs": ["trainer.max_steps=13", "trainer.val_check_interval=3", "trainer.check_val_every_n_epoch=null"],
    "clipped": ["trainer.max_steps=6", "trainer.gradient_clip_val=0.5"],
    "several steps on a batch": ["trainer.max_steps=6", "inference=aggressive", "inference.inner_steps=4", "inference.window=2"],
    "stopped early": ["trainer.max_epochs=9", "callbacks=early_stopping", "callbacks.early_stopping.min_delta=1000.0"],
}  # fmt: skip


class Hearing(pl.Callback):
    """One that listens to a hook that the lab's loop leaves out, so that Lightning's own runs."""

    def on_train_batch_start(self, *_: Any) -> None: ...


class Counting(pl.Callback):
    """What a callback is told, and what it finds of what it has logged itself."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loop = trainer.fit_loop.epoch_loop
        ready = loop.batch_progress.current.ready
        self.told.append(
            (batch_idx, trainer.global_step, trainer.current_epoch, ready, loop.batch_progress.is_last_batch)
        )
        pl_module.log("seen", float(batch_idx))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.told.append(float(trainer.callback_metrics["seen"]))


def trained(folder: Path, words: list[str], *callbacks: pl.Callback) -> tuple[str, dict[str, Any]]:
    """The series of a run, and its last checkpoint."""
    asked = request(compose(*UNENDING, "trainer.log_every_n_steps=2", *words, f"runs_dir={folder}"))
    execute(replace(asked, callbacks=callbacks), progress=False)
    return (asked.directory.path / "metrics.csv").read_text(), read_checkpoint(
        asked.directory.path / "checkpoints/last.ckpt"
    )


def assert_equal(a: Any, b: Any, at: str = "") -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            assert_equal(a[key], b[key], f"{at}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{at}.{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), at
    else:
        assert a == b, at


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_what_lightnings_own_loop_makes_of_it(way: str, tmp_path: Path) -> None:
    ours, theirs = trained(tmp_path / "ours", WAYS[way]), trained(tmp_path / "theirs", WAYS[way], Hearing())
    assert ours[0] == theirs[0]
    for checkpoint in (ours[1], theirs[1]):
        for state in checkpoint["callbacks"].values():  # the folders' names
            for key in [key for key, value in state.items() if str(tmp_path) in str(value)]:
                del state[key]
    assert_equal(ours[1], theirs[1])


def test_a_callback_is_told_the_same_and_may_log(tmp_path: Path) -> None:
    ours, theirs = Counting(), Counting()
    trained(tmp_path / "ours", WAYS["epochs"], ours)
    trained(tmp_path / "theirs", WAYS["epochs"], theirs, Hearing())
    assert len(ours.told) > 12
    assert ours.told == theirs.told


@pytest.mark.parametrize(
    "hook", ["on_train_batch_start", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]
)
def test_a_hook_that_is_left_out_is_called_where_somebody_implements_it(hook: str, tmp_path: Path) -> None:
    calls: list[int] = []
    listening = type("Listening", (pl.Callback,), {hook: lambda *_: calls.append(1)})
    trained(tmp_path, ["trainer.max_steps=5"], listening())
    assert len(calls) == 5


def test_nobody_hears_what_is_left_out_of_a_usual_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would compare Lightning's loop with itself."""
    found: list[bool] = []
    theirs = EpochLoop.advance
    monkeypatch.setattr(
        EpochLoop, "advance", lambda self, data: (found.append(self.needs_every_hook), theirs(self, data))[1]
    )
    trained(tmp_path / "usual", ["trainer.max_steps=2"])
    trained(tmp_path / "heard", ["trainer.max_steps=2"], Hearing())
    assert found == [False, False, True, True]
