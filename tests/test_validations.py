"""When a run validates, against the runs themselves; and what acts on validations where there are too few."""

from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY, Lab

from vae_lab import compose, train
from vae_lab.request import request
from vae_lab.store import RunDirectory
from vae_lab.validations import validated_at

PLACES = {
    "each epoch": "trainer.max_steps=12",
    "cut in an epoch": "trainer.max_steps=11",
    "every other epoch": "trainer.max_steps=21 trainer.check_val_every_n_epoch=2",
    "in an epoch": "trainer.max_epochs=2 trainer.val_check_interval=3",
    "part of an epoch": "trainer.max_epochs=2 trainer.val_check_interval=0.5",
    "over the run": "trainer.max_steps=17 trainer.check_val_every_n_epoch=null trainer.val_check_interval=5",
    "accumulated": "trainer.max_epochs=2 trainer.accumulate_grad_batches=3 trainer.val_check_interval=2",
    "none": "trainer.max_steps=8 trainer.check_val_every_n_epoch=3",
    "switched off": "trainer.max_steps=8 +trainer.limit_val_batches=0",
}


@pytest.mark.parametrize("words", PLACES.values(), ids=PLACES)
def test_a_run_validates_where_it_is_foretold(words: str, tmp_path: Path) -> None:
    base = [word for word in TINY if not word.startswith("trainer.max_steps")]
    cfg = compose(*base, *words.split(), f"runs_dir={tmp_path}")
    asked = request(cfg)
    result = train(cfg, progress=False)
    rows: list[Any] = RunDirectory(tmp_path / "solo" / result["signature"]).history()
    steps = [step for step, _, name, _ in rows if name == "val/elbo"]
    assert validated_at(asked.settings, asked.dataset.spec()) == steps


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("callbacks=early_stopping", "callbacks.early_stopping=early_stopping"),
        ("scheduler=plateau", "scheduler=plateau"),
        ("evaluation.checkpoint=best", "evaluation.checkpoint=best"),
    ],
)
def test_what_waits_for_validations_that_never_come_is_refused(words: str, who: str, in_tmp: Path, lab: Lab) -> None:
    said = lab("train", *TINY, words, "trainer.check_val_every_n_epoch=4")
    text = "it acts on val/elbo, and this run is never validated"
    where = "trainer.check_val_every_n_epoch=4; 12 updates, 4 batches an epoch"
    assert (said.code, said.out, said.err) == (2, "", f"vae-lab: {who}: {text} ({where})\n")
    assert not list(in_tmp.iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("callbacks=early_stopping callbacks.early_stopping.patience=2", "needs 3 validations before the end, and there are 2"),
        ("scheduler=plateau scheduler.patience=1", "needs 3 validations before the end, and there are 2"),
        ("scheduler=plateau scheduler.patience=1 scheduler.warmup=5", "needs 3 validations before the end, and there are 1"),
        ("callbacks=early_stopping callbacks.early_stopping.patience=1", ""),
        ("trainer.max_epochs=20", "trainer.max_steps=12 ends the run, at update 12, and trainer.max_epochs=20 has no effect"),
        ("trainer.max_epochs=2", "trainer.max_epochs=2 ends the run, at update 8, and trainer.max_steps=12 has no effect"),
    ],
)  # fmt: skip
def test_what_cannot_act_in_a_run_is_told_before_it(words: str, line: str, in_tmp: Path, lab: Lab) -> None:
    said = lab("check", *TINY, *words.split())
    assert (said.code, said.err.count("\n")) == (0, 1 if line else 0)
    assert line in said.err
