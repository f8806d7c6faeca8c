"""What a tracker costs a study: 24 short runs of the demo's model, with and without it, in turn.

`python -m benchmarks.trackers` runs two arms over 12 seeds, 300 updates each (the autoregressive decoder of
`collapse_digits` on the digits), one after another in this process, as a worker of a study does. A tracked run follows
its twin at once, so that a slow second of the machine meets both; the second round goes the other way about. What is
paid once a process (the import of the tracker, its own process) is in the first tracked run, and counts. Prints medians,
totals and the ratio of the totals; writes `benchmarks/results/trackers.json`.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from vae_lab import compose, train

ARMS = ("none", "kl_annealing")
PLAIN = "csv"


def words(updates: int) -> list[str]:
    return [
        "dataset=digits",
        "decoder=pixelcnn",
        "evaluation.nll_samples=100",
        f"trainer.max_steps={updates}",
        "trainer.check_val_every_n_epoch=5",
    ]


def seconds(tracker: str, arm: str, seed: int, updates: int, folder: str) -> float:
    """Of one run, composed, trained, evaluated and closed."""
    started = time.perf_counter()
    cfg = compose(
        *words(updates), f"mitigation={arm}", f"seed={seed}", f"logger={tracker}", f"runs_dir={folder}/{tracker}"
    )
    train(cfg, progress=False, say=lambda line: None)
    return time.perf_counter() - started


def in_turn(tracker: str, runs: int, updates: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {PLAIN: [], tracker: []}
    with tempfile.TemporaryDirectory() as folder:
        seconds(PLAIN, "none", 1000, 20, folder)  # a warm-up: what the lab itself imports
        for index in range(runs):
            pair = (PLAIN, tracker) if index % 2 == 0 else (tracker, PLAIN)
            for name in pair:
                arm, seed = ARMS[index % len(ARMS)], index // len(ARMS)
                taken[name].append(seconds(name, arm, seed, updates, folder))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracker", default="wandb", help="an option of the group logger")
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--updates", type=int, default=300)
    options = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    torch.set_num_threads(1)
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    taken = in_turn(options.tracker, options.runs, options.updates)
    plain, tracked = taken[PLAIN], taken[options.tracker]
    row: dict[str, Any] = {
        "tracker": options.tracker,
        "runs": options.runs,
        "updates": options.updates,
        "total_ratio": sum(tracked) / sum(plain),
        "median_ratio": statistics.median(b / a for a, b in zip(plain, tracked, strict=True)),
        "first_run_extra": tracked[0] - plain[0],
        "median_plain": statistics.median(plain),
        "median_tracked": statistics.median(tracked),
        "seconds": taken,
        "facts": {"machine": platform.machine(), "cpus": os.cpu_count(), "torch": torch.__version__, "threads": 1},
    }
    print(
        f"{options.runs} runs of {options.updates} updates: {row['median_plain']:.2f} s without, "
        f"{row['median_tracked']:.2f} s with {options.tracker} (medians); ratio {row['median_ratio']:.3f} of a pair's "
        f"median, {row['total_ratio']:.3f} of the totals; {row['first_run_extra']:.2f} s more in the first run"
    )
    target = Path(__file__).parent / "results" / "trackers.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(row, indent=2) + "\n")


if __name__ == "__main__":
    main()
