"""The logs and the result say the same of a run's last update, wherever it is cut; and each weight is the one that was
trained with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from law_options import every

from vae_lab import compose, load, train
from vae_lab.distributions import stream
from vae_lab.store import RunDirectory

SMALL = (
    "batch_size=256",  # four updates an epoch: the last one is validated
    "trainer.max_steps=8",
    "evaluation.nll_samples=2",
    "evaluation.figures=false",
)
PRESETS = {  # what a preset's own terms or data ask for beside the small composition
    "optimal_sigma": ("dataset.binarization=none",),
    "shared_sigma": ("dataset.binarization=none",),
    "receptive_field": ("decoder.channels=4",),
    "aggressive": ("inference.inner_steps=2", "inference.window=1"),
}
STAGES = {
    "first stage": ("inference=two_stage", "inference.pretrain=9"),
    "end of the first stage": ("inference=two_stage", "inference.pretrain=8"),
    "second stage": ("inference=two_stage", "inference.pretrain=7"),
    "first stage, under a controller": ("inference=two_stage", "inference.pretrain=9", "beta=target_rate"),
    "warm-up": ("beta=linear", "beta.warmup=90"),
    "delay": ("beta=linear", "beta.delay=90"),
    "warm-up in the second stage": ("inference=two_stage", "inference.pretrain=4", "beta=cosine", "beta.warmup=1.0"),
    "sigmoid": ("beta=sigmoid", "beta.midpoint=9"),
    "cycle": ("beta=cyclical", "beta.cycles=2", "beta.ratio=1.0"),
    "capacity": ("rate=capacity",),
    "controller": ("beta=pi",),
    "multiplier": ("beta=geco",),
    "best": ("beta=soft_free_bits", "evaluation.checkpoint=best"),
    "aggressive": ("inference=aggressive", "inference.inner_steps=2", "inference.window=1", "beta=linear"),
    "semi-amortised": ("inference=semi_amortized", "inference.steps=2", "beta=linear", "beta.warmup=90"),
    "random terms": ("regularizer=[mmd,factor]", "corruption=gaussian_noise"),
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice


def run(folder: Path, *words: str) -> tuple[dict[str, float], RunDirectory]:
    result = train(compose(*SMALL, *words, f"runs_dir={folder}"), progress=False)
    return result["metrics"], RunDirectory(folder / "solo" / result["signature"])


def series(directory: RunDirectory, name: str) -> list[float]:
    return [value for _, _, each, value in directory.history() if each == name]


def check_last_update(metrics: dict[str, float], directory: RunDirectory) -> None:
    rows = {name: (step, value) for step, _, name, value in directory.history()}  # the last of each name
    shared = rows.keys() & metrics.keys()
    assert {f"val/{name}" for name in ("loss", "beta", "elbo", "rate", "distortion", "active_units")} <= shared
    for name in shared:
        assert rows[name] == (8, pytest.approx(metrics[name], rel=1e-9, abs=1e-9)), name


@pytest.mark.parametrize("words", STAGES.values(), ids=STAGES)
def test_logs_and_result_agree_at_the_last_update_in_each_stage(words: tuple[str, ...], tmp_path: Path) -> None:
    check_last_update(*run(tmp_path, "latent_dim=4", *words))


@pytest.mark.slow
@every("mitigation")
def test_logs_and_result_agree_under_every_mitigation(name: str, tmp_path: Path) -> None:
    check_last_update(*run(tmp_path, "latent_dim=4", f"mitigation={name}", *PRESETS.get(name, ())))


@torch.no_grad()
def parts(directory: RunDirectory) -> tuple[float, float]:
    """The mean distortion and rate of the validation split, by the draws that its loss has."""
    model: Any = load(directory.path).model
    (batch,) = load(directory.path).dataset().batches("val", 10**4)
    batches = batch.x.split(256)
    terms = [model.terms(batch._replace(x=x, y=None, index=None), model.noise(len(x), 1, stream(0, "held-out loss", i)))
             for i, x in enumerate(batches)]  # fmt: skip
    means = [
        (len(x), float(each.distortion.mean()), float(each.rate.mean())) for x, each in zip(batches, terms, strict=True)
    ]
    count = sum(n for n, _, _ in means)
    return sum(n * d for n, d, _ in means) / count, sum(n * r for n, _, r in means) / count


@pytest.mark.parametrize(("pretrain", "weight"), [(9, 0.0), (4, 0.5)])
def test_the_validation_loss_is_that_of_the_stage(pretrain: int, weight: float, tmp_path: Path) -> None:
    """Without the rate in the first stage; with half of it in the middle of the warm-up after it: at update 8 of one
    that begins at 4 and takes 8."""
    words = ("inference=two_stage", f"inference.pretrain={pretrain}", "beta=linear", "beta.delay=4", "beta.warmup=8")
    metrics, directory = run(tmp_path, "latent_dim=4", *words)
    distortion, rate = parts(directory)
    expected = distortion + weight * rate
    assert metrics["val/beta"] == weight
    assert series(directory, "val/loss")[-1] == pytest.approx(expected, rel=1e-6)
    assert metrics["val/loss"] == pytest.approx(expected, rel=1e-6)


def test_the_weight_that_is_logged_is_that_of_the_updates_beside_it(tmp_path: Path) -> None:
    """Of a controller too, which has moved on by then: u <- [u + s (r - R)]_+ from the logged rates, and beta = 1 - u."""
    words = ("beta=target_rate", "beta.nats=3", "beta.speed=0.05", "trainer.log_every_n_steps=1")
    metrics, directory = run(tmp_path, "latent_dim=4", *words)
    expected, u = [], 0.0
    for rate in series(directory, "train/rate"):
        expected.append(1 - u)
        u = min(1.0, max(0.0, u + 0.05 * (3 - rate)))
    assert len(set(expected)) == 8
    assert series(directory, "train/beta") == pytest.approx(expected, rel=1e-6)
    assert metrics["val/beta"] == pytest.approx(1 - u, rel=1e-6)
