"""A run and a study small enough to be made many times, and the command line as a process of its own."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TINY = [
    "dataset=linear_gaussian",
    "likelihood=gaussian",
    "encoder=linear",
    "decoder=linear",
    "latent_dim=2",
    "dataset.train_size=200",
    "dataset.val_size=50",
    "dataset.test_size=50",
    "batch_size=50",
    "trainer.max_steps=12",
    "trainer.log_every_n_steps=4",
    "evaluation.nll_samples=4",
]

UNENDING = [word for word in TINY if not word.startswith("trainer.max_steps")]
"""TINY, but for when it ends: no word may be there twice."""

STUDY = """\
# @package _global_
defaults:
  - override /dataset: linear_gaussian
  - override /likelihood: gaussian
  - override /encoder: linear
  - override /decoder: linear
latent_dim: 2
dataset: {train_size: 200, val_size: 50, test_size: 50}
batch_size: 50
trainer: {max_steps: 12, log_every_n_steps: 4}
evaluation: {nll_samples: 4}
study:
  name: small
  question: Does it run?
  reference: plain
arms:
  plain: {mitigation: none}
  annealed: {mitigation: kl_annealing, beta.end: [1.0, 0.5]}
over: {seed: [0, 1]}
"""


class Said(NamedTuple):
    """What a command left: its exit code, and its two streams."""

    code: int
    out: str
    err: str


Lab = Callable[..., Said]


def write_study(folder: Path, name: str, text: str) -> Path:
    file = folder / "experiments" / name / "study.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


ELSEWHERE = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
"""Words before a command that make its host another one, with process ids of its own; root may say them."""


def start(folder: Path, *words: str, before: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
    """`vae-lab WORDS` as a process, the leader of its own session."""
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "vae_lab", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
    )
    STARTED.append(process)
    return process


STARTED: list[subprocess.Popen[str]] = []


def end_started(first: int = 0) -> None:
    """Kills what is left of the process groups that were started, from the n-th on, and forgets them."""
    for process in STARTED[first:]:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    del STARTED[first:]


def finish(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=300)
    return Said(process.returncode, out, err)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Every `result.json` below a folder, by the name of its run."""
    return {file.parent.name: json.loads(file.read_text()) for file in sorted(folder.glob("**/result.json"))}


def updates(folder: Path, ledger: str = "runs/*/*/.ledger") -> int:
    """The updates taken so far by all runs below a folder."""
    ledgers = [file.read_bytes() for file in folder.glob(ledger)]
    return sum(struct.unpack_from("<q", content)[0] for content in ledgers if content)


def check_alone(process: subprocess.Popen[str]) -> None:
    """Nothing that the process started is left."""
    deadline = time.monotonic() + 20
    while listed := subprocess.run(
        ["ps", "-o", "cmd=", "--sid", str(process.pid)], capture_output=True, text=True
    ).stdout:
        assert time.monotonic() < deadline, listed
        time.sleep(0.1)
