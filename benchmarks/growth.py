"""How time and memory grow with latents, samples, examples and runs: `python -m benchmarks.growth [--rounds 5] [--runs 256]`.

Steps of the lab's training parts for latents and examples, NLL for samples K, each size in turn in every round; whole sweeps
of trivial runs for runs. NLL and training are to have memory that does not grow with K, and time that does not grow
with the number of examples. Writes `benchmarks/results/growth.json`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders.lab import MLP
from benchmarks.loops import bare_loop, parts
from benchmarks.many import TRIVIAL
from benchmarks.records import keep, show, spread
from vae_lab import compose
from vae_lab.config import resolve
from vae_lab.evaluation.nll import importance_nll
from vae_lab.models import Batch

LATENTS, SAMPLES, EXAMPLES, RUNS = (
    (2, 8, 32, 128, 512),
    (10, 100, 1000, 10_000),
    (1000, 10_000, 100_000, 1_000_000),
    (1, 4, 16, 64, 256),
)
STEPS = 30
PEAK = """
import os, sys, torch
from benchmarks.growth import nll
from benchmarks.turns import peak
torch.set_num_threads(1)
nll(int(sys.argv[1]))()
print(peak(os.getpid()))
"""


def settings(*words: str) -> dict[str, Any]:
    return resolve(compose("batch_size=128", *MLP, *words))


def steps(latents: int = 50, examples: int = 10_000) -> Callable[[], float]:
    """A block of steps of a bare loop over the lab's parts; seconds of one."""
    loop = bare_loop({**settings(), "latent_dim": latents}, examples=examples)

    def block() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            next(loop)
        return (time.perf_counter() - began) / STEPS

    return block


def nll(samples: int) -> Callable[[], float]:
    """The NLL of ten examples; seconds."""
    vae, x = parts(settings())[0].eval(), torch.rand(10, 1, 28, 28).round()

    def once() -> float:
        began = time.perf_counter()
        importance_nll(vae, [Batch(x)], samples)
        return time.perf_counter() - began

    return once


def sweep(runs: int) -> float:
    """Seconds of a whole command of so many trivial runs, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *TRIVIAL, f"seed=range(0,{runs})"]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "vae_lab", *words], cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - began


def in_turn(blocks: dict[int, Callable[[], float]], rounds: int) -> dict[int, list[float]]:
    for block in blocks.values():
        block()
    return {
        size: list(seconds)
        for size, seconds in zip(
            blocks, zip(*([b() for b in blocks.values()] for _ in range(rounds)), strict=True), strict=True
        )
    }


def peak(samples: int) -> float:
    """Megabytes that a process has had at most which estimates an NLL with so many samples."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(samples)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=max(RUNS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "latents": in_turn({n: steps(latents=n) for n in LATENTS}, asked.rounds),
        "examples": in_turn({n: steps(examples=n) for n in EXAMPLES}, asked.rounds),
        "samples": in_turn({n: nll(n) for n in SAMPLES}, asked.rounds),
        "peak_megabytes": {n: peak(n) for n in SAMPLES},
        "runs": {n: [sweep(n)] for n in RUNS if n <= asked.runs},
    }
    show("a step", ("latents", "ms"), [(str(n), spread([1e3 * s for s in v])) for n, v in found["latents"].items()])
    show("a step", ("examples", "ms"), [(f"{n:,}", spread([1e3 * s for s in v])) for n, v in found["examples"].items()])
    rows = [
        (f"{n:,}", spread([1e3 * s for s in v]), f"{found['peak_megabytes'][n]:.0f}")
        for n, v in found["samples"].items()
    ]
    show("NLL of ten examples", ("samples", "ms", "peak MB"), rows)
    show(
        "a sweep",
        ("runs", "seconds", "of each"),
        [(str(n), f"{v[0]:.1f}", f"{v[0] / n:.2f}") for n, v in found["runs"].items()],
    )
    keep("growth", rounds=asked.rounds, **found)


if __name__ == "__main__":
    main()
