"""The learning rate of every update against its closed form, under every scheduler, warm-up, inference and device of
optimisation that has one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from law_options import every

from vae_lab import compose, train
from vae_lab.errors import RunFailed
from vae_lab.request import request
from vae_lab.training.ledger import Ledger

SMALL = (
    "encoder.hidden=[8]", "decoder.hidden=[8]", "latent_dim=3", "batch_size=256", "trainer.max_steps=24",
    "trainer.log_every_n_steps=5", "callbacks.checkpoint.every_n_updates=4", "evaluation.nll_samples=2",
    "evaluation.figures=false", "optimizer.lr=0.01",
)  # fmt: skip
WARMUP = 9
CLOSED: dict[str, Callable[[int], float]] = {
    "constant": lambda t: 1.0,
    "step": lambda t: 0.1 ** (t // 7),
    "cosine": lambda t: 0.2 + 0.8 * (1 + math.cos(math.pi * t / 24)) / 2,
    "plateau": lambda t: (
        0.5 ** max(0, (t - 12) // 8)
    ),  # the best at 12, the first after the warm-up; then two worse, ...
}
SET = {"step": ["scheduler.period=7"], "cosine": ["scheduler.end=0.2"], "plateau": ["scheduler.patience=1"]}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step that an Adam takes."""
    taken: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> Any:
        taken.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    return taken


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ELBO of validation that is worse each time."""
    from vae_lab.training.module import Training

    validated = Training._validated
    monkeypatch.setattr(Training, "_validated", lambda self: validated(self) | {"val/elbo": -float(self.updates)})


def run(folder: Path, *words: str) -> tuple[dict[str, Any], Path]:
    result = train(compose(*SMALL, *words, f"runs_dir={folder}"), progress=False)
    return result, folder / "solo" / result["signature"]


@every("scheduler")
@pytest.mark.parametrize("warmup", [f"{WARMUP}", "0"])
def test_the_rate_of_every_update_is_the_schedulers_times_the_warm_up(
    name: str, warmup: str, tmp_path: Path, rates: list[float], falling: None
) -> None:
    run(tmp_path, f"scheduler={name}", f"scheduler.warmup={warmup}", *SET.get(name, []))
    warm = [1.0 if warmup == "0" else min(1.0, (t + 1) / WARMUP) for t in range(24)]
    closed = CLOSED[name] if (name, warmup) != ("plateau", "0") else lambda t: 0.5 ** max(0, (t - 4) // 8)
    assert rates == pytest.approx([0.01 * w * closed(t) for t, w in enumerate(warm)], rel=1e-9)


@pytest.mark.parametrize(("name", "cut"), [("plateau", 6), ("cosine", 13)])
def test_a_cut_inside_or_after_the_warm_up_changes_nothing(
    name: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"scheduler={name}", f"scheduler.warmup={WARMUP}", *SET[name])
    uncut, its_path = run(tmp_path / "uncut", *words)
    count = Ledger.count_update

    def counted(self: Ledger) -> None:
        if self.updates >= cut:
            raise InterruptedError
        count(self)

    with monkeypatch.context() as patch, pytest.raises(RunFailed):
        patch.setattr(Ledger, "count_update", counted)
        run(tmp_path / "cut", *words)
    result, path = run(tmp_path / "cut", *words)
    assert result["metrics"] == uncut["metrics"]
    assert result["timing"]["attempts"] == 2
    assert (path / "metrics.csv").read_text() == (its_path / "metrics.csv").read_text()


def test_inner_steps_are_warmed_too_and_the_end_is_the_plain_rate(tmp_path: Path, rates: list[float]) -> None:
    """Those between updates t - 1 and t have the rate of update t."""
    run(tmp_path, "inference=aggressive", "inference.inner_steps=2", "inference.window=1", "scheduler.warmup=0.1667")
    assert rates == pytest.approx([0.01 * min(1.0, (t + 1) / 4) for t in range(24) for _ in range(3)])


def test_a_warm_up_has_a_name_and_none_has_that_of_before(tmp_path: Path) -> None:
    def name(*words: str) -> str:
        return request(compose(*SMALL, *words)).directory.signature

    assert name("scheduler.warmup=0") == name()
    assert len({name(), name("scheduler.warmup=9"), name("scheduler.warmup=10")}) == 3
