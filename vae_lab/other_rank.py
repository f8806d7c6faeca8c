"""`python -m vae_lab.other_rank`: a process of a run that is not its first. `ranks` starts it."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import torch

from vae_lab.build import build
from vae_lab.fitting import lightning_fit, make_trainer, prepared
from vae_lab.request import Request
from vae_lab.store import CONFIG, LAST, RunDirectory
from vae_lab.training.processes import Ranks, joined
from vae_lab.training.trainer import device_of
from vae_lab.yaml_text import read_yaml


def main() -> None:
    job = json.loads(sys.stdin.readline())
    watcher = threading.Thread(target=_end_with_first, daemon=True)
    watcher.start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what an interrupt means
    settings = read_yaml(Path(job["directory"]) / CONFIG)
    asked = Request(settings, build(settings["dataset"]), RunDirectory(Path(job["directory"])))
    torch.set_num_threads(settings["threads"])
    print("ready", flush=True)
    os.dup2(2, 1)  # nobody reads on
    device = device_of(settings["trainer"]["accelerator"])
    with joined(Path(job["store"]), job["rank"], job["size"], device) as ranks:
        take_part(asked, ranks, job["resume"])
        watcher.join()  # one that left earlier could cut off others in the middle of their last exchange


def take_part(asked: Request, ranks: Ranks, resume: bool) -> None:
    """Takes the steps of a run beside its first process, and writes nothing."""
    module = prepared(asked, resume, processes=ranks)
    trainer = make_trainer(asked, [], rank=ranks.rank)
    lightning_fit(trainer, module, asked, str(asked.directory.path / LAST) if resume else None)


def _end_with_first() -> None:
    os.read(0, 1)  # by the bare descriptor: a reader of sys.stdin would keep the interpreter from its end
    os._exit(1)


if __name__ == "__main__":
    main()
