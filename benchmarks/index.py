"""How long `vae-lab ls` and `vae-lab report` take over ten thousand runs, whole commands.

`python -m benchmarks.index [--runs 10000]` trains one tiny run, writes as many run directories of its shape in a temporary
folder (twenty remedies with their real settings, one run in ten failed, cut short or damaged), and prints a table: wall
time and processor time of a command with no index, with one, and after a change, and of the report. The files are in the
system's cache.
"""

import argparse
import copy
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from vae_lab.index import INDEX, YOUNG

TINY = ["trainer.max_steps=20", "evaluation.nll_samples=10", "decoder=mlp"]
REMEDIES = ["none", "kl_annealing", "cyclical", "free_bits", "free_bits_total", "beta_below_one", "capacity", "geco"]
REMEDIES += ["target_rate", "infovae", "beta_tcvae", "factor", "dip_i", "dip_ii", "delta", "du", "batchnorm_mean"]
REMEDIES += ["aggressive", "denoising", "iwae"]


def a_real_run(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A trained run, and the settings of every remedy."""
    from vae_lab import compose, train
    from vae_lab.config import resolve

    result = train(compose(*TINY, f"runs_dir={folder}"), progress=False)
    spec = {"spec": result["settings"]["spec"]}
    return folder / "solo" / result["signature"], [resolve(compose(*TINY, f"mitigation={r}")) | spec for r in REMEDIES]


def write_runs(folder: Path, real: Path, settings: list[dict[str, Any]], count: int) -> None:
    result = json.loads((real / "result.json").read_text())
    history, log = (real / "metrics.csv").read_text(), (real / "run.log").read_text()
    configs = [
        yaml.safe_dump(each | {"study": {"name": "many", "arm": arm}}, sort_keys=False)
        for each, arm in zip(settings, REMEDIES, strict=True)
    ]
    for i in range(count):
        run, which, rng = folder / f"study{i % 10}" / f"{i:010x}", i % len(settings), random.Random(i)
        for part in (".hydra", "checkpoints", "figures"):
            (run / part).mkdir(parents=True)
        seed = i // len(settings)
        (run / "config.yaml").write_text(configs[which].replace("seed: 0", f"seed: {seed}", 1))
        for name, text in (
            (".ledger", "1"),
            ("metrics.csv", history),
            ("run.log", log),
            (".hydra/overrides.yaml", "[]"),
        ):
            (run / name).write_text(text)
        text = json.dumps(
            made_up(result, settings[which], REMEDIES[which], seed, rng) | {"signature": run.name}, indent=2
        )
        match i % 100:
            case 1 | 2 | 3:
                continue  # cut short
            case 4:
                text = text[:-100]  # damaged
        (run / "result.json").write_text(text)


def made_up(
    result: dict[str, Any], settings: dict[str, Any], arm: str, seed: int, rng: random.Random
) -> dict[str, Any]:
    made = copy.deepcopy(result) | {"arm": arm, "seed": seed}
    made["settings"] = settings | {"seed": seed, "study": {"name": "many", "arm": arm}, "overrides": [f"seed={seed}"]}
    made["metrics"] = {key: value and value + rng.gauss(0, 1) for key, value in result["metrics"].items()}
    if rng.random() < 0.06:
        made |= {"status": "failed", "error": "RuntimeError: made up", "metrics": {}}
    return made


def timed(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of a whole command: by the clock, and of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "vae_lab", *words]
    subprocess.run(
        command, cwd=folder, stdout=subprocess.DEVNULL, check=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(title: str, seconds: list[tuple[float, float]]) -> None:
    wall, cpu = ([pair[i] for pair in seconds] for i in (0, 1))
    print(f"{title:45} {statistics.median(wall):6.2f} {max(wall):6.2f} {statistics.median(cpu):6.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_runs(folder / "runs", *a_real_run(folder / "real"), asked.runs)
        time.sleep(YOUNG / 1e9 + 0.1)  # else the last ones are too young to be remembered
        print(f"{asked.runs} runs; seconds{'wall':>34} {'worst':>6} {'cpu':>6}")
        report("vae-lab --help", [timed(["--help"], folder) for _ in range(asked.rounds)])
        cold = []
        for _ in range(3):
            (folder / "runs" / INDEX).unlink(missing_ok=True)
            cold.append(timed(["ls"], folder))
        report("ls, no index", cold)
        for words in (
            ["ls"],
            ["ls", "state=failed"],
            ["ls", "test/nll<30", "seed=0,1", "--sort", "test/nll", "--limit", "20"],
            ["ls", "--export", "runs.csv"],
            ["ls", "--export", "runs.parquet"],
        ):
            report(" ".join(words), [timed(words, folder) for _ in range(asked.rounds)])
        changed = []
        for i in range(asked.rounds):
            (folder / "runs" / "study0" / f"{10 * i:010x}" / "result.json").write_text("{}")
            changed.append(timed(["ls"], folder))
        report("ls, after a change", changed)
        report("report", [timed(["report", "runs"], folder) for _ in range(3)])
        print(f"the page: {(folder / 'runs' / 'report.html').stat().st_size / 1e6:.1f} MB")
        print(f"the index: {(folder / 'runs' / INDEX).stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
