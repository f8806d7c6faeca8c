"""A study of sixteen runs, four betas by four seeds: one run after the other, side by side, and as a loop over pythae.

`python -m benchmarks.study [--model vae|conv] [--rounds 5] [--epochs N]` times whole commands, start-up included, in turn:
the lab one run after the other on one thread and on all, side by side with one thread each (what `vae-lab study` does by
itself); of the MLP also the same compiled, and pythae on one thread and on all. Of one and all threads the one that was 1.3
times slower in the first round has no further turn. Every one trains the same networks for as many epochs on 10,000 images of
28 x 28; the lab also validates, checkpoints and evaluates, with K = 1.

It prints seconds, and of the MLP the overhead of a run in a warm sweep, from runs of one update. Writes
`benchmarks/results/study-MODEL.json`.
"""

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.against import CORES, HERE, pythae
from benchmarks.contenders.lab import WORDS
from benchmarks.contenders.nets import EXAMPLES
from benchmarks.records import keep, ratio, show, spread

BATCH = {"vae": 20, "conv": 128}
EPOCHS = {"vae": 3, "conv": 1}
GRID = ["beta=constant", "beta.value=0.5,1,2,4", "seed=0,1,2,3"]


def words(model: str, data: Path, *more: str) -> list[str]:
    """What trains one of the sixteen, and reports as little as can be."""
    given = [
        "dataset=arrays",
        f"dataset.path={data}",
        "dataset.binarization=dynamic",
        f"batch_size={BATCH[model]}",
        "evaluation.nll_samples=1",
    ]
    return [*given, "evaluation.figures=false", *WORDS[model], *more]


def grid(model: str, data: Path, epochs: int, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "vae_lab",
        "train",
        "-m",
        *words(model, data, f"trainer.max_epochs={epochs}"),
        *GRID,
        *more,
    ]


def ways(model: str, data: Path, epochs: int) -> dict[str, tuple[list[str], int]]:
    """Commands with the number of threads of the process."""
    joblib = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"]
    lab = {
        "one after the other": (grid(model, data, epochs, "threads=1"), 1),
        f"one after the other ({CORES})": (grid(model, data, epochs, f"threads={CORES}"), CORES),
        "side by side": (grid(model, data, epochs, *joblib), 1),
    }
    if model == "conv":  # in which the products are most of a step, whoever takes it
        return lab
    loop = [str(pythae()), str(HERE / "contenders" / "loop_of_pythae.py"), model, str(epochs), "pythae"]
    return {
        **lab,
        "side by side, compiled": (grid(model, data, epochs, *joblib, "compile=true"), 1),
        "pythae": (loop, 1),
        f"pythae ({CORES})": (loop, CORES),
    }


def seconds_of(command: list[str], threads: int, folder: Path) -> float:
    """Of a whole command, in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment: Mapping[str, str] = {**os.environ, **({name: str(threads) for name in names} if threads == 1 else {})}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return time.perf_counter() - began


def overhead(data: Path, folder: Path) -> float:
    """Seconds of a run in a warm sweep that are not steps: the median time between the ends of runs of one update each, which
    includes that one, a validation, a checkpoint and an evaluation of 100 examples with K = 1."""
    one = words("vae", data, "trainer.max_steps=1")
    seconds_of([sys.executable, "-m", "vae_lab", "train", "-m", *one, "seed=range(12)"], 1, folder)
    ends = sorted(path.stat().st_mtime for path in folder.glob("runs/solo/*/result.json"))
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(BATCH), default="vae")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "x.npz"
        x = np.random.default_rng(0).integers(0, 256, (EXAMPLES + 200, 1, 28, 28), dtype=np.uint8)
        np.savez(data, train=x[:EXAMPLES], val=x[EXAMPLES:-100], test=x[-100:])
        found: dict[str, list[float]] = {}
        left = ways(asked.model, data, asked.epochs or EPOCHS[asked.model])
        for _ in range(asked.rounds):
            for way, (command, threads) in left.items():
                found.setdefault(way, []).append(seconds_of(command, threads, folder / "work"))
                print(f"{way}: {found[way][-1]:.1f} s", flush=True)
            for pair in (("one after the other", f"one after the other ({CORES})"), ("pythae", f"pythae ({CORES})")):
                slower = max(pair, key=lambda way: found.get(way, [0.0])[0])
                if slower in left and found[slower][0] > 1.3 * min(found[way][0] for way in pair):
                    left.pop(slower)
        extra = [overhead(data, folder / "work") for _ in range(asked.rounds)] if asked.model == "vae" else []
    side = found["side by side"]
    rows = [(way, spread(s), f"{ratio(s, side[: len(s)]):.2f}") for way, s in found.items()]
    show(f"sixteen runs of {asked.model}", ("", "seconds", "times side by side"), rows)
    if extra:
        print(f"overhead of a run in a warm sweep: {spread(extra)} s")
    keep(f"study-{asked.model}", rounds=asked.rounds, seconds=found, overhead_seconds=extra)


if __name__ == "__main__":
    main()
