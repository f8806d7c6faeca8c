"""Seconds from a command to its first step of training: `python -m benchmarks.startup [--rounds 5]`.

The lab's whole command (configs composed and checked, data read, model built) beside a plain Lightning script, a bare
loop and pythae, and beside the imports alone that they cannot do without. In turn; writes
`benchmarks/results/startup.json`.
"""

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.against import command
from benchmarks.records import keep, show, spread
from benchmarks.turns import Contender

LAB = [sys.executable, "-m", "vae_lab", "train", "dataset=digits", "trainer.max_steps=1000000"]
IMPORTS = ("torch", "pytorch_lightning")
SCRIPTS = ("bare", "plain_lightning", "pythae")


def to_import(module: str, folder: Path) -> float:
    """Until it says that it has imported it."""
    began = time.perf_counter()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", f"import {module}; print(1, flush=True)"], cwd=folder, **pipes
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.perf_counter() - began


def of_the_lab(folder: Path) -> float:
    """Until its ledger counts an update."""
    began = time.perf_counter()
    process = subprocess.Popen(LAB, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            for ledger in folder.glob("runs/solo/*/.ledger"):
                if len(content := ledger.read_bytes()) >= 8 and struct.unpack_from("<q", content)[0]:
                    return time.perf_counter() - began
            time.sleep(0.01)
        raise RuntimeError(f"{' '.join(LAB)} ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def of_a_script(name: str, folder: Path) -> float:
    """Until it has told the time of one step."""
    contender = Contender(name, command(name, "vae", "128"), 1)
    began = time.perf_counter()
    process = contender.start(folder)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(1, file=process.stdin, flush=True)
        next(line for line in process.stdout if line.startswith('{"seconds": '))
        return time.perf_counter() - began
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for module in IMPORTS:
                found.setdefault(f"import {module}", []).append(to_import(module, folder))
            for script in SCRIPTS:
                found.setdefault(script, []).append(of_a_script(script, folder))
            found.setdefault("vae-lab train", []).append(of_the_lab(folder))
            shutil.rmtree(folder / "runs")
    show("to the first step", ("", "seconds"), [(name, spread(seconds)) for name, seconds in found.items()])
    keep("startup", rounds=rounds, seconds=found)


if __name__ == "__main__":
    main()
