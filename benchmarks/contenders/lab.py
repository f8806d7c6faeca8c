"""The lab's own training, with its logging, ledger, guard and checkpoints: `python -m benchmarks.contenders.lab MODEL
BATCH_SIZE`."""

import logging
import os
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.contenders.in_turn import InTurn
from benchmarks.overhead import parts, training_of
from vae_lab import compose
from vae_lab.build import build
from vae_lab.config import resolve
from vae_lab.training.history import HistoryLogger

WORDS = {"vae": [], "iwae": ["bound=iwae", "bound.samples=50"]}


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    nets = ["latent_dim=50", "encoder.hidden=[200,200]", "decoder.hidden=[200,200]"]
    settings = resolve(compose(f"batch_size={batch_size}", *nets, *WORDS[model]))
    made, objective, loader = parts(settings)
    with tempfile.TemporaryDirectory() as folder:
        module = training_of(made, objective, settings, Path(folder))
        node = {**settings["trainer"], "max_steps": 10**6, "enable_progress_bar": False}
        last = build(settings["callbacks"]["checkpoint"], directory=folder)
        kept = {"logger": [HistoryLogger(Path(folder) / "metrics.csv")], "callbacks": [InTurn(), last]}
        build({**node, **kept, "default_root_dir": folder}).fit(module, loader)


if __name__ == "__main__":
    main()
