"""`python -m vae_lab.other_rank`: a process of a run that is not its first. `ranks` starts it."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch
import yaml

from vae_lab.build import build
from vae_lab.fitting import lightning_fit, make_trainer, prepared
from vae_lab.request import Request
from vae_lab.store import CONFIG, LAST, RunDirectory
from vae_lab.training.processes import joined
from vae_lab.training.trainer import device_of


def main() -> None:
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_first, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what an interrupt means
    _train(Path(job["directory"]), job["rank"], job["size"], Path(job["store"]), job["resume"])
    os._exit(0)  # the first process waits; taking torch down takes a second


def _end_with_first() -> None:
    os.read(0, 1)  # by the bare descriptor: a reader of sys.stdin would keep the interpreter from its end
    os._exit(1)


def _train(directory: Path, rank: int, size: int, store: Path, resume: bool) -> None:
    """Takes the steps of a run beside its first process, and writes nothing."""
    settings: dict[str, Any] = yaml.safe_load((directory / CONFIG).read_text(encoding="utf-8"))
    asked = Request(settings, build(settings["dataset"]), RunDirectory(directory))
    torch.set_num_threads(settings["threads"])
    print("ready", flush=True)
    os.dup2(2, 1)  # nobody reads on
    with joined(store, rank, size, device_of(settings["trainer"]["accelerator"])) as ranks:
        module = prepared(asked, resume, processes=ranks)
        trainer = make_trainer(asked, [], progress=False, rank=rank)
        lightning_fit(trainer, module, asked, str(directory / LAST) if resume else None)


if __name__ == "__main__":
    main()
