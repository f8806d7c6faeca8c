"""Training steps a second of the lab, a bare PyTorch loop, plain Lightning and pythae, on one 784-200-200-50 net.

`python -m benchmarks.against` runs them in turn, each in its own process, in at least five rounds; pythae is installed from
the package index into an environment of its own (`.venv-pythae`) at the first call. It prints medians with the least and
the greatest, and writes `benchmarks/results/against.json`.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.turns import Contender, in_turn

HERE = Path(__file__).parent
PYTHAE = HERE.parent / ".venv-pythae"
ROWS = (("vae", 20, 100), ("vae", 128, 50), ("iwae", 20, 10))  # model, batch size, steps of a turn
NAMES = ("bare", "lab", "plain_lightning")


def pythae() -> Path:
    """The Python that has pythae, installed if it is not there."""
    python = PYTHAE / "bin" / "python"
    if not (PYTHAE / ".installed").exists():
        venv.create(PYTHAE, with_pip=True, clear=True)
        wanted = [f"torch=={torch.__version__.partition('+')[0]}", "pythae==0.1.2"]
        for package in wanted:  # torch first: the newest one would be several GB
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
        (PYTHAE / ".installed").touch()
    return python


def contenders(model: str, batch_size: int, threads: int) -> list[Contender]:
    words = [model, str(batch_size)]
    ours = [Contender(name, (sys.executable, "-m", f"benchmarks.contenders.{name}", *words), threads) for name in NAMES]
    with_pythae = (str(pythae()), str(HERE / "contenders" / "with_pythae.py"), *words)
    return [*ours, Contender("pythae", with_pythae, threads)]


def row(model: str, batch_size: int, steps: int, threads: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        rates = in_turn(contenders(model, batch_size, threads), rounds, steps, Path(folder))
    ratios = {
        name: statistics.median(lab / other for lab, other in zip(rates["lab"], rates[name], strict=True))
        for name in rates
        if name != "lab"
    }
    return {"model": model, "batch_size": batch_size, "threads": threads, "rates": rates, "lab_over": ratios}


def told(row: dict[str, Any]) -> str:
    columns = [f"{name} {_spread(rates)}" for name, rates in row["rates"].items()]
    ratios = [f"{ratio:.2f} x {name}" for name, ratio in row["lab_over"].items()]
    head = f"{row['model']} batch {row['batch_size']}, {row['threads']} thread(s)"
    return f"{head}: steps/s {', '.join(columns)}; lab is {', '.join(ratios)}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} [{min(values):.0f}, {max(values):.0f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for threads in (1, torch.get_num_threads()):
        for model, batch_size, steps in ROWS:
            rows.append(row(model, batch_size, steps, threads, options.rounds))
            print(told(rows[-1]), flush=True)
    facts = {"machine": platform.machine(), "cores": torch.get_num_threads(), "torch": torch.__version__}
    target = HERE / "results" / "against.json"
    target.write_text(json.dumps({"facts": facts, "rounds": options.rounds, "rows": rows}, indent=2) + "\n")
    print(target.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
