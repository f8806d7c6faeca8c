"""How fast trivial runs follow one another in a sweep, and whether memory stays flat.

`python -m benchmarks.many [--runs 500]` sends linear VAEs of 20 updates through the joblib launcher on two processes, and
prints runs a second (of all, and once the workers are warm) and the resident memory of the launching process and of its
workers at a fifth of the runs and at the end. Writes `benchmarks/results/many.json`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.records import keep

TRIVIAL = ["dataset=linear_gaussian", "likelihood=gaussian", "encoder=linear", "decoder=linear", "latent_dim=2"]
TRIVIAL += ["trainer.max_steps=20", "evaluation.nll_samples=10", "study.name=many"]


def children(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for file in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, file.read_text().split())
    return found


def resident(pid: int) -> float:
    """Megabytes that a process alone has in memory, and those that it shares."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def memory(pid: int) -> list[float]:
    """Of the launching process and of its workers, the largest three first; the fork that hands jobs out is small."""
    found = []
    for each in children(pid):
        try:
            found.append(resident(each))
        except OSError:  # it has just ended
            continue
    return [round(size) for size in sorted(found, reverse=True)[:3]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *TRIVIAL, f"seed=range(0,{runs})"]
        log = folder / "log"
        with log.open("w") as out:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "vae_lab", *words], cwd=folder, stdout=out, stderr=subprocess.STDOUT
            )
            seen: list[tuple[float, int, list[float]]] = []
            while process.poll() is None:
                time.sleep(1)
                done = len(list(folder.glob("runs/many/*/result.json")))
                seen.append((time.perf_counter() - started, done, memory(process.pid)))
            seconds = time.perf_counter() - started
        assert process.returncode == 0, log.read_text()[-2000:]
    warm = [at for at in seen if at[1] >= runs / 5]
    rate = (warm[-1][1] - warm[0][1]) / (warm[-1][0] - warm[0][0])
    facts = {
        "runs": runs,
        "seconds": seconds,
        "runs_per_second": runs / seconds,
        "runs_per_second_warm": rate,
        "megabytes_at_a_fifth": warm[0][2],
        "megabytes_at_the_end": max((at for at in seen if at[1] >= 0.95 * runs and at[2]), key=lambda at: sum(at[2]))[
            2
        ],
    }
    print("\n".join(f"{name:24} {value}" for name, value in facts.items()))
    keep("many", **facts)


if __name__ == "__main__":
    main()
