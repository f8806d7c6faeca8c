"""Models are selected by `val/elbo`, after the objective has settled; checkpoints are plain, whole, and can be moved."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import TINY

from vae_lab import compose, load, train
from vae_lab.distributions import stream, stream_seed
from vae_lab.fitting import make_module
from vae_lab.request import request
from vae_lab.store import RunDirectory
from vae_lab.training.ledger import Ledger

VALIDATE_EVERY = ("trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=2")  # of 4 batches an epoch
ANNEALED = ("mitigation=kl_annealing", "beta.warmup=10")


def run(folder: Path, *words: str) -> tuple[dict[str, Any], Path]:
    """Trains in a folder; the result, and the run's directory."""
    result = train(compose(*TINY, f"runs_dir={folder}", *words), progress=False, say=lambda line: None)
    return result, folder / "solo" / result["signature"]


def series(path: Path, name: str) -> dict[int, float]:
    return {step: value for step, _, key, value in RunDirectory(path).history() if key == name}


@pytest.mark.parametrize("validations", [(), VALIDATE_EVERY])
def test_the_best_checkpoint_is_of_the_best_validation_after_settling(
    validations: tuple[str, ...], tmp_path: Path
) -> None:
    """Also where every epoch ends with a validation, which Lightning treats in another way."""
    _, path = run(tmp_path, *ANNEALED, *validations, "trainer.max_steps=24", "optimizer.lr=0.3")
    elbo = {step: value for step, value in series(path, "val/elbo").items() if step >= 10}
    assert len(elbo) >= 3
    best = torch.load(path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["vae_lab"]["updates"] == max(elbo, key=lambda step: elbo[step])


def test_no_checkpoint_is_best_before_settling(tmp_path: Path) -> None:
    _, path = run(tmp_path, *ANNEALED, "trainer.max_steps=8")
    assert len(series(path, "val/elbo")) == 2
    assert not (path / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("validations", [(), VALIDATE_EVERY])
def test_early_stopping_counts_from_settling(validations: tuple[str, ...], tmp_path: Path) -> None:
    stopping = (
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=1e6",
    )
    result, path = run(tmp_path, *ANNEALED, *validations, *stopping, "trainer.max_steps=60")
    checked = [step for step in series(path, "val/elbo") if step >= 10]
    assert result["timing"]["steps"] == checked[1]  # the first sets the mark, the second does not pass it


def test_a_plateau_counts_validations_after_settling(tmp_path: Path) -> None:
    words = (*ANNEALED, *VALIDATE_EVERY, "scheduler=plateau", "scheduler.patience=1", "optimizer.lr=1e-12")
    _, path = run(tmp_path, *words, "trainer.max_steps=16")  # validations at 2, 4 ... 16; settled at 10
    last = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["lr_schedulers"][0]["last_epoch"] == 4
    assert len(series(path, "val/elbo")) == 8


def test_a_checkpoint_holds_plain_things_only(tmp_path: Path) -> None:
    _, path = run(tmp_path)
    for name in ("last", "best"):
        content = torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert plain(content), name
        assert "hyper_parameters" not in content


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, str | int | float | bool | torch.Tensor)


def test_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """Whatever was drawn before: two runs that end before their first update has done anything."""
    words = ("optimizer=sgd", "optimizer.lr=1e-30", "trainer.max_steps=1")
    weights = []
    for draws, seed in ((0, 3), (17, 3), (0, 4)):
        torch.manual_seed(99)
        torch.randn(draws)
        _, path = run(tmp_path / f"{draws}-{seed}", *words, f"seed={seed}")
        weights.append(load(path).model.state_dict())
    first, second, third = weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_a_validation_is_of_the_plain_model(tmp_path: Path) -> None:
    """`val/elbo` in closed form from the weights, whatever the objective makes of the rate."""
    bent = ("mitigation=free_bits", "rate.nats=5", "beta.value=0.1", "trainer.max_steps=4")
    result, path = run(tmp_path, *bent)
    asked = request(compose(*TINY, f"runs_dir={tmp_path}", *bent))
    model = load(path).model
    (batch,) = asked.dataset.batches("val", 256)
    q = model.encode(batch.x).base_dist
    rate = 0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()
    z = q.loc + q.scale * torch.randn(q.loc.shape, generator=stream(stream_seed(0, "val"), "evaluation", 0))
    errors = batch.x - model.decode(z).mean
    log_likelihood = -0.5 * errors.square() - 0.5 * torch.log(torch.tensor(2 * torch.pi))
    elbo = float((log_likelihood.sum(-1) - rate.sum(-1)).mean().detach())
    assert series(path, "val/elbo")[4] == pytest.approx(elbo, abs=1e-4)
    assert result["metrics"]["val/elbo"] == pytest.approx(elbo, abs=1e-4)
    assert series(path, "val/loss")[4] != pytest.approx(-elbo, abs=0.1)


class Cut(Exception):
    """What ends a run in the middle."""


def cut_at(updates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Ledger.count_update

    def counted(self: Ledger) -> None:
        if self.updates >= updates:
            raise Cut
        count(self)

    monkeypatch.setattr(Ledger, "count_update", counted)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_cut_in_the_middle_ends_as_if_it_never_was(
    accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        f"trainer.accumulate_grad_batches={accumulate}",
        "trainer.max_steps=23",
        "callbacks.checkpoint.every_n_updates=3",
        "scheduler=cosine",
        *VALIDATE_EVERY,
    )
    uncut, its_path = run(tmp_path / "uncut", *words)
    for at in (8, 17):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="Cut"):
            cut_at(at, patch)
            run(tmp_path / "cut", *words)
    result, path = run(tmp_path / "cut", *words)
    assert result["metrics"] == uncut["metrics"]
    assert (path / "metrics.csv").read_text() == (its_path / "metrics.csv").read_text()
    assert 23 < result["timing"]["steps_run"] <= 23 + 2 * 3
    a, b = (torch.load(p / "checkpoints" / "best.ckpt", weights_only=True) for p in (path, its_path))
    assert a["vae_lab"]["updates"] == b["vae_lab"]["updates"]


def test_the_end_of_a_run_without_its_result(tmp_path: Path) -> None:
    """Cut between its last update and its last word: nothing is trained, and the history stays as it was."""
    words = ("trainer.max_steps=10", "trainer.log_every_n_steps=4")
    before, path = run(tmp_path, *words)
    history = (path / "metrics.csv").read_text()
    (path / "result.json").unlink()
    after, _ = run(tmp_path, *words)
    assert after["metrics"] == before["metrics"]
    assert after["timing"]["steps_run"] == 10
    assert (path / "metrics.csv").read_text() == history


def test_a_cut_run_that_is_moved_keeps_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best checkpoint of a run that gets worse, and that is not deleted where it was copied from."""
    words = ("optimizer=sgd", "optimizer.lr=1e-30", *VALIDATE_EVERY, "callbacks.checkpoint.every_n_updates=3")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="Cut"):
        cut_at(8, patch)
        run(tmp_path / "here", *words)
    before = next(tmp_path.glob("here/solo/*/checkpoints/best.ckpt")).read_bytes()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    _, path = run(tmp_path / "there", *words)
    assert (path / "checkpoints" / "best.ckpt").read_bytes() == before  # no validation was better
    assert next(tmp_path.glob("here/solo/*/checkpoints/best.ckpt")).read_bytes() == before


def test_the_debug_trainer_runs(tmp_path: Path) -> None:
    result, _ = run(tmp_path, "trainer=debug", "trainer.max_steps=3")
    assert result["timing"]["steps"] == 3


def test_another_precision_is_another_run(tmp_path: Path) -> None:
    single, _ = run(tmp_path)
    for precision in ("64-true", "bf16-mixed"):
        other, _ = run(tmp_path, f"trainer.precision={precision}")
        assert other["signature"] != single["signature"]
        assert other["metrics"]["test/elbo"] == pytest.approx(single["metrics"]["test/elbo"], rel=0.02)


def test_lightnings_own_arguments_reach_its_trainer(tmp_path: Path) -> None:
    asked = request(compose(*TINY, "+trainer.limit_val_batches=0", f"runs_dir={tmp_path}"))
    assert make_module(asked).updates == 0
    _, path = run(tmp_path, "+trainer.limit_val_batches=0")
    assert not series(path, "val/elbo")
