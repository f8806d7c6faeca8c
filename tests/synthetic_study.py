"""Run directories written as files, as `docs/run_directory.md` has them: a study that no model was trained for.

By hand: `python tests/synthetic_study.py FOLDER` writes seven arms and three seeds.
"""

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LATENTS = 16


@dataclass(frozen=True)
class Truth:
    """What the runs of a cell scatter around, in nats."""

    rate: float
    elbo: float = -20.0
    active: float = 8
    spread: float = 0.08
    strength: Mapping[str, Any] = field(default_factory=dict)


def write_run(folder: Path, arm: str, seed: int, truth: Truth, /, **changes: Any) -> Path:
    """One completed run; `changes` replace entries of its `result.json`."""
    run = folder / signature(arm, seed, truth)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("seed: 0\n")
    (run / "run.log").write_text("done\n")
    (run / "result.json").write_text(json.dumps(result(arm, seed, truth) | changes, indent=2))
    (run / "metrics.csv").write_text(history(truth, seed))
    for name in ("originals", "reconstructions", "shuffled", "samples"):
        write_picture(run / "figures" / f"{name}.png", seed)
    return run


def signature(arm: str, seed: int, truth: Truth) -> str:
    text = "-".join(str(value) for value in truth.strength.values())
    return f"{arm}{text}s{seed}"


def result(arm: str, seed: int, truth: Truth) -> dict[str, Any]:
    rng = np.random.default_rng([seed, *map(ord, signature(arm, seed, truth))])
    luck = np.random.default_rng(seed).normal(0, 0.1)
    metrics = {}
    for split in ("val", "test"):
        rate, elbo = truth.rate + rng.normal(0, truth.spread), truth.elbo + luck + rng.normal(0, truth.spread)
        metrics |= scores(split, rate, elbo, truth, rng)
    rates = spectrum(truth)
    details = {"rate_per_dimension": rates, "variances": [1 - np.exp(-2 * r) + 1e-4 for r in rates], "examples": 360}
    return {
        "signature": signature(arm, seed, truth),
        "study": "made_up",
        "arm": arm,
        "seed": seed,
        "status": "completed",
        "metrics": metrics,
        "details": {"val": details, "test": details},
        "evaluation": {"hash": "e1", "settings": {"nll_samples": 500}},
        "settings": {"seed": seed},
        "environment": {"vae_lab": "0.1.0", "commit": "abc1234", "versions": {"torch": "2.13.0"}, "device": "cpu"},
        "timing": {"seconds_fit": 31.5, "seconds_evaluate": 12.25, "steps": 2000, "steps_run": 2000, "attempts": 1},
    }


def scores(split: str, rate: float, elbo: float, truth: Truth, rng: np.random.Generator) -> dict[str, float | int]:
    nll = -elbo - 0.3 * rate
    return {
        f"{split}/elbo": elbo,
        f"{split}/elbo_se": 0.2,
        f"{split}/rate": rate,
        f"{split}/distortion": -elbo - rate,
        f"{split}/nll": nll,
        f"{split}/nll_se": 0.2,
        f"{split}/nll_tenth": nll + 0.02,
        f"{split}/ess": 41.5,
        f"{split}/active_units": round(truth.active + rng.normal(0, 0.6)),
        f"{split}/mutual_information": 0.8 * rate,
        f"{split}/mutual_information_se": 0.02,
        f"{split}/marginal_kl": 0.2 * rate,
    }


def spectrum(truth: Truth) -> list[float]:
    """A rate for each latent, summing to the arm's."""
    weight = np.where(np.arange(LATENTS) < truth.active, np.linspace(1, 0.3, LATENTS), 0.002)
    return [float(r) for r in truth.rate * weight / weight.sum()]


def history(truth: Truth, seed: int, points: int = 40, rise: float = 0.0) -> str:
    """The long history: an ELBO that settles, or still rises by `rise` over the last fifth."""
    rng, rows = np.random.default_rng(seed), io.StringIO()
    for i in range(1, points + 1):
        t, step = i / points, 50 * i
        late = rise * max(t - 0.8, 0) / 0.2
        elbo = truth.elbo - 25 * np.exp(-9 * t) + late + rng.normal(0, 0.02)
        rows.write(f"{step},{i},val/elbo,{elbo}\n{step},{i},val/rate,{truth.rate * (1 - np.exp(-6 * t))}\n")
        for j, rate in enumerate(spectrum(truth)):
            rows.write(f"{step},{i},val/rate_per_dimension/{j},{rate * (1 - np.exp(-6 * t))}\n")
    return rows.getvalue()


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).random((32, 32)) > 0.5).save(path)


def write_study(folder: Path, arms: Mapping[str, list[Truth]], seeds: int = 3, **facts: Any) -> Path:
    """A study's folder with its plan; an arm is a list of its strengths."""
    cells = []
    for arm, truths in arms.items():
        for truth in truths:
            for seed in range(seeds):
                write_run(folder, arm, seed, truth)
                cells.append(cell(arm, seed, truth))
    study = {"name": "made_up", "question": "Which remedy keeps the code in use?", "reference": "vanilla"} | facts
    write_plan(folder, study, cells)
    return folder


def cell(arm: str, seed: int, truth: Truth) -> dict[str, Any]:
    text = "-".join(str(value) for value in truth.strength.values())
    return {
        "arm": arm,
        "cell": arm + text,
        "strength": dict(truth.strength),
        "over": {"seed": seed},
        "signature": signature(arm, seed, truth),
    }


def write_plan(folder: Path, study: Mapping[str, Any], cells: list[dict[str, Any]]) -> None:
    command = "vae-lab train -m experiment=made_up seed=0,1,2"
    (folder / "plan.json").write_text(json.dumps({"study": study, "command": command, "cells": cells}))


def change(file: Path, place: tuple[Any, ...], value: Any) -> None:
    """Replaces one entry of a JSON file, or adds it."""
    content = json.loads(file.read_text())
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    file.write_text(json.dumps(content))


SEVEN = {
    "vanilla": [Truth(1.7, -20.6, 5)],
    "kl_annealing": [Truth(3.6, -20.6, 11)],
    "cyclical": [Truth(1.8, -20.7, 6, spread=0.2)],
    "free_bits": [
        Truth(3.0, -21.0, 14, strength={"rate.nats": 0.1}),
        Truth(6.0, -22.5, 16, strength={"rate.nats": 0.5}),
    ],
    "beta_below_one": [Truth(9.6, -22.3, 14, spread=0.3)],
    "delta": [Truth(2.2, -20.6, 7, spread=0.3)],
    "control": [Truth(3.8, -21.4, 13)],
}

if __name__ == "__main__":
    write_study(
        Path(sys.argv[1]), SEVEN, controls=["control"], budget={"runs": 24, "minutes": 8, "device": "2 CPU cores"}
    )
