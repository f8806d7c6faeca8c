"""Runs that had not converged under a learning rate that decays, with curves of which what is missing is known."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Lab, results

from vae_lab import report
from vae_lab.estimators import linear
from vae_lab.report.convergence import trend

RATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "warm": lambda t: np.minimum(1, 10 * t),
    "cosine": lambda t: (1 + np.cos(math.pi * t)) / 2,
    "step": lambda t: 0.1 ** np.floor(3 * np.minimum(t, 0.999)),
    "plateau": lambda t: 0.5 ** np.floor(10 * np.clip(t - 0.5, 0, None)),
}


def share_rising(
    rate: str, points: int, elbo: Callable[[np.ndarray, np.ndarray], np.ndarray], noise: float, repeats: int = 300
) -> float:
    """How many of so many noisy curves seem to rise; `elbo` is a function of the share of tau and of the rate."""
    fine = (np.arange(5000) + 0.5) / 5000
    tau = np.cumsum(RATES[rate](fine))
    steps = 100 * np.arange(1, points + 1)
    share, rates = np.interp(steps / steps[-1], fine, tau / tau[-1]), RATES[rate](steps / steps[-1])
    logged = np.arange(0, steps[-1] + 1, 10)
    beside = (list(logged), list(RATES[rate](logged / steps[-1])))
    rng = np.random.default_rng(0)
    judged = [trend(list(steps), elbo(share, rates) + rng.normal(0, noise, points), beside) for _ in range(repeats)]
    return float(np.mean([one is not None and one.is_rising for one in judged]))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("points", "noise"), [(10, 0.1), (40, 0.1), (40, 0.5), (200, 0.5)])
def test_a_converged_run_is_seldom_named_though_a_decay_takes_its_noise_away(
    rate: str, points: int, noise: float
) -> None:
    """The ELBO is its optimum less what the weights' noise costs, in proportion to the rate."""
    cost = 0.0 if rate == "warm" else 5.0  # a warm-up adds noise, and is over
    assert share_rising(rate, points, lambda share, rates: -cost * rates, noise) < 0.1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("speed", [1.5, 3.0, 6.0])
def test_a_run_that_is_short_of_its_optimum_is_named(rate: str, speed: float) -> None:
    """Gradient flow: what is missing falls exponentially in tau, and 1.47 nats are left."""
    short = lambda share, rates: -1.47 * np.exp(speed * (1 - share)) - 0.5 * rates  # noqa: E731
    assert share_rising(rate, 40, short, 0.1) > 0.9


def test_a_constant_rate_changes_nothing_whatever_it_is() -> None:
    steps = list(range(100, 2100, 100))
    values = list(np.random.default_rng(0).normal(0, 1, 20) + 0.01 * np.arange(20) ** 2)
    plain, scaled = trend(steps, values), trend(steps, values, ([50, 2000], [0.3, 0.3]))
    assert plain is not None
    assert scaled is not None
    assert (scaled.rise, scaled.error) == pytest.approx((plain.rise, plain.error))


# ---- a linear VAE, whose optimum is known

DATA = ["dataset=linear_gaussian", "likelihood=gaussian", "likelihood.sigma=0.7745966692", "encoder=linear", "decoder=linear", "latent_dim=2",
        "dataset.train_size=200", "dataset.val_size=1000", "dataset.test_size=20", "batch_size=100",
        "trainer.log_every_n_steps=5", "trainer.check_val_every_n_epoch=5", "evaluation.nll_samples=2"]  # fmt: skip
SCHEDULERS = {"constant": [], "cosine": ["scheduler=cosine"], "step": ["scheduler=step", "scheduler.period=60"],
              "plateau": ["scheduler=plateau", "scheduler.patience=1"]}  # fmt: skip


def notes(lab: Lab, folder: Path, *words: str) -> tuple[float, list[str]]:
    """How far the run ended below the optimum of val, nats, and what its report says of convergence."""
    assert lab("train", *DATA, *words).code == 0
    (result,) = results(folder).values()
    settings: dict[str, Any] = result["settings"]["dataset"]
    eigenvalues = torch.tensor(settings["eigenvalues"], dtype=torch.float64)
    optimum = linear.optimum(eigenvalues, 2, settings["noise"]).elbo
    made = report.build(folder / "runs" / "solo")
    return optimum - result["metrics"]["val/elbo"], [note for note in made.notes if "onverged" in note]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_linear_vae_short_of_its_closed_form_is_named_under_every_scheduler(
    scheduler: str, in_tmp: Path, lab: Lab
) -> None:
    missing, said = notes(lab, in_tmp, "optimizer.lr=0.002", "trainer.max_steps=160", *SCHEDULERS[scheduler])
    assert missing > 1
    assert [note for note in said if note.startswith("Not converged: val/elbo still rose")]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_linear_vae_at_its_closed_form_is_not(scheduler: str, in_tmp: Path, lab: Lab) -> None:
    missing, said = notes(lab, in_tmp, "optimizer.lr=0.05", "trainer.max_steps=400", *SCHEDULERS[scheduler])
    assert abs(missing) < 0.1
    assert said == []
