"""Steps a second of the lab beside a bare PyTorch loop, plain Lightning and pythae, and beside what nothing can beat.

`python -m benchmarks.against [--rounds 11] [--rows vae-20 ...]` runs all of a row in turn, each in its own process, a
block of steps at a time: short ones and many rounds, since a shared machine changes its speed by half within seconds.
Rows: MODEL-BATCH; `vae` and `iwae` (50 samples) train a 784-200-200-50 network, `conv` a convolutional one, `pixelcnn` a
PixelCNN decoder on 8 x 8 images; a step of `nll` is the NLL of ten examples by 1,000 samples each. `floor` is the time of the
matrix products and convolutions alone; `bare` the best loop that we can write; `same` a bare loop over the lab's own model,
objective and loader; `compiled` the lab with compile=true. A number in brackets is a thread count above one. pythae is
installed from the package index into an environment of its own (`.venv-pythae`) at the first call.

Prints medians over rounds with the least and the greatest; the median of each round's ratio of the lab to each, with the second
least and the second greatest; and the most memory that each has had. Writes `benchmarks/results/against.json`.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.records import keep, ratio, ratio_between, ratio_spread, show, spread
from benchmarks.turns import Contender, in_turn

HERE = Path(__file__).parent
PYTHAE = HERE.parent / ".venv-pythae"
CORES = torch.get_num_threads()
ALL = ("floor", "bare", "same", "lab", "compiled", "plain_lightning", "pythae")


@dataclass(frozen=True)
class Row:
    """A model at a batch size, the steps of one turn, and who takes part."""

    model: str
    batch_size: int
    steps: int
    contenders: tuple[str, ...] = ALL

    @property
    def name(self) -> str:
        return f"{self.model}-{self.batch_size}"


ROWS = (
    Row("vae", 20, 60),
    Row("vae", 128, 30),
    Row("conv", 128, 4),
    Row("pixelcnn", 128, 8, ("same", "lab", "compiled")),
    Row("iwae", 20, 8),
    Row("nll", 10, 2, ("floor", "bare", "lab", "pythae")),
)
TARGETS = {  # row -> who is to be how many times as fast as whom, at least
    "vae-20": [("lab", "same", 0.82), ("lab", "pythae", 1.8), ("compiled", "pythae", 1.8)],
    "vae-128": [("lab", "same", 0.95), ("lab", "pythae", 1.4), ("compiled", "pythae", 1.4)],
    "iwae-20": [("compiled", "pythae", 1.4), ("lab", "pythae", 1.4)],
    "nll-10": [("lab", "pythae", 2.5)],
}


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


def command(name: str, *words: str) -> tuple[str, ...]:
    if name == "pythae":
        return (str(pythae()), str(HERE / "contenders" / "with_pythae.py"), *words)
    module, more = ("lab", ("compile=true",)) if name == "compiled" else (name, ())
    return (sys.executable, "-m", f"benchmarks.contenders.{module}", *words, *more)


def contenders(row: Row) -> list[Contender]:
    """Each on one thread; pythae and plain Lightning on torch's own number too, as a person would run them."""
    words = (row.model, str(row.batch_size))
    alone = [Contender(name, command(name, *words), 1) for name in row.contenders]
    usual = [name for name in row.contenders if name in ("pythae", "plain_lightning")] if CORES > 1 else []
    return [*alone, *(Contender(f"{name} ({CORES})", command(name, *words), CORES) for name in usual)]


def measured(row: Row, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        rates, peaks = in_turn(contenders(row), rounds, row.steps, Path(folder))
    return {"model": row.model, "batch_size": row.batch_size, "steps": row.steps, "rates": rates, "megabytes": peaks}


def tell(row: Row, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Prints the table of a row; what was to be reached, and what was."""
    rates = found["rates"]
    lines = [
        (
            name,
            spread(rates[name]),
            ratio_spread(rates["lab"], rates[name]),
            ratio_spread(rates["compiled"], rates[name]) if "compiled" in rates else "",
            f"{found['megabytes'][name]:.0f}",
        )
        for name in rates
    ]
    show(row.name, ("", "steps a second", "lab is", "compiled is", "peak MB"), lines)
    reached = [
        {
            "who": who,
            "whom": whom,
            "at_least": least,
            "is": ratio(rates[who], rates[whom]),
            "between": ratio_between(rates[who], rates[whom]),
        }
        for who, whom, least in TARGETS.get(row.name, [])
    ]
    for one in reached:
        print(
            f"  {one['who']} / {one['whom']}: {ratio_spread(rates[one['who']], rates[one['whom']])}, wanted {one['at_least']}"
        )
    return reached


RATIOS = (("lab", "same"), ("lab", "pythae"), ("compiled", "pythae"))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of docs/speed.md: steps a second of each, then the ratios."""
    titles = ["", *ALL, *(f"{a} / {b}" for a, b in RATIOS)]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        rates = row["rates"]
        medians = [spread(rates[name]).split()[0] if name in rates else "" for name in ALL]
        ratios = [ratio_spread(rates[a], rates[b]) if {a, b} <= rates.keys() else "" for a, b in RATIOS]
        lines.append([f"{row['model']}-{row['batch_size']}", *medians, *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    options = parser.parse_args()
    rows = []
    for row in (row for row in ROWS if row.name in options.rows):
        found = measured(row, options.rounds)
        rows.append({**found, "targets": tell(row, found)})
        keep("against", rounds=options.rounds, rows=rows)
    print(markdown(rows))


if __name__ == "__main__":
    main()
