"""What a tracker costs a study: 24 short runs of the demo's model, with and without it, in turn.

`python -m benchmarks.trackers` runs two arms over 12 seeds, 300 updates each (the composition of
`collapse_digits`, which `make demo` runs for 500), one after another in this process, as a worker of a study does. A tracked run follows
its twin at once, so that a slow second of the machine meets both; the second round goes the other way about. What is
paid once a process (the import of the tracker, its own process) is in the first tracked run, and counts. Prints medians,
and the ratio of the totals, both of the clock and of the CPU seconds that the runs and the tracker's own process took:
on a busy machine the second is the one to believe. Writes `benchmarks/results/trackers.json`.
"""

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.records import keep
from vae_lab import compose, train

ARMS = ("none", "kl_annealing")
PLAIN = "csv"


def words(updates: int) -> list[str]:
    return [
        "dataset=digits",
        "decoder=pixelcnn",
        "batch_size=64",
        "optimizer.lr=0.003",
        "evaluation.nll_samples=100",
        f"trainer.max_steps={updates}",
        "trainer.check_val_every_n_epoch=null",
        "trainer.val_check_interval=50",
    ]


Times = dict[str, float]


def now() -> Times:
    """The clock, and the CPU seconds of this process and of those it has started (W&B's own among them)."""
    me, tick = str(os.getpid()), os.sysconf("SC_CLK_TCK")
    cpu = time.process_time()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) / tick if fields[1] == me else 0
    return {"clock": time.perf_counter(), "cpu": cpu}


def cost(tracker: str, arm: str, seed: int, updates: int, folder: str) -> Times:
    """Of one run, composed, trained, evaluated and closed."""
    started = now()
    cfg = compose(
        *words(updates), f"mitigation={arm}", f"seed={seed}", f"logger={tracker}", f"runs_dir={folder}/{tracker}"
    )
    train(cfg, progress=False, say=lambda line: None)
    return {name: value - started[name] for name, value in now().items()}


def in_turn(tracker: str, runs: int, updates: int) -> dict[str, list[Times]]:
    taken: dict[str, list[Times]] = {PLAIN: [], tracker: []}
    with tempfile.TemporaryDirectory() as folder:
        cost(PLAIN, "none", 1000, 20, folder)  # a warm-up: what the lab itself imports
        for index in range(runs):
            pair = (PLAIN, tracker) if index % 2 == 0 else (tracker, PLAIN)
            for name in pair:
                arm, seed = ARMS[index % len(ARMS)], index // len(ARMS)
                taken[name].append(cost(name, arm, seed, updates, folder))
                print(
                    f"{name:8} {arm:13} " + "  ".join(f"{k} {v:6.2f} s" for k, v in taken[name][-1].items()), flush=True
                )
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
    row: dict[str, Any] = {
        "tracker": options.tracker,
        "runs": options.runs,
        "updates": options.updates,
        **{kind: compared(taken[PLAIN], taken[options.tracker], kind) for kind in ("clock", "cpu")},
        "each": taken,
    }
    for kind in ("clock", "cpu"):
        print(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in row[kind].items()))
    keep("trackers", **row)


def compared(plain: list[Times], tracked: list[Times], kind: str) -> dict[str, float]:
    a, b = ([times[kind] for times in run] for run in (plain, tracked))
    return {
        "median_plain": statistics.median(a),
        "median_tracked": statistics.median(b),
        "median_ratio": statistics.median(y / x for x, y in zip(a, b, strict=True)),
        "ratio_of_totals": sum(b) / sum(a),
        "first_run_extra": b[0] - a[0],
    }


if __name__ == "__main__":
    main()
