"""The lab's own training, with its logging, ledger, guard and checkpoints: `python -m benchmarks.contenders.lab MODEL
BATCH_SIZE [KEY=VALUE...]`."""

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders.in_turn import InTurn
from benchmarks.contenders.nets import IMPORTANCE
from benchmarks.contenders.place import DEVICE, TRAINER
from benchmarks.loops import parts, training_of
from benchmarks.turns import Turns
from vae_lab import compose
from vae_lab.build import build
from vae_lab.config import resolve
from vae_lab.evaluation.nll import importance_nll
from vae_lab.models import Batch
from vae_lab.subnormals import subnormals_as_zero
from vae_lab.training.history import HistoryLogger

MLP = ["latent_dim=50", "encoder.hidden=[200,200]", "decoder.hidden=[200,200]"]
WORDS = {
    "vae": MLP,
    "nll": MLP,
    "iwae": [*MLP, "bound=iwae", "bound.samples=50"],
    "conv": ["latent_dim=50", "encoder=conv", "decoder=conv"],
    "pixelcnn": ["latent_dim=16", "decoder=pixelcnn"],
}


def words_of(model: str, batch_size: str) -> list[str]:
    return [f"batch_size={batch_size}", f"trainer={TRAINER}", *WORDS[model]]


def shape_of(model: str) -> tuple[int, ...]:
    return (1, 8, 8) if model == "pixelcnn" else (1, 28, 28)


def main() -> None:
    model, batch_size = sys.argv[1], sys.argv[2]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    settings = resolve(compose(*words_of(model, batch_size), *sys.argv[3:]))
    if model == "nll":
        evaluate(settings, int(batch_size))
    with tempfile.TemporaryDirectory() as folder:
        train(settings, shape_of(model), Path(folder))


def evaluate(settings: dict[str, Any], batch_size: int) -> None:
    vae, turns = parts(settings)[0].to(DEVICE).eval(), Turns()
    while True:
        importance_nll(vae, [Batch(torch.rand(batch_size, 1, 28, 28, device=DEVICE).round())], IMPORTANCE)
        turns.step()


@subnormals_as_zero()
def train(settings: dict[str, Any], shape: tuple[int, ...], folder: Path) -> None:
    made, objective, loader = parts(settings, shape, device=DEVICE)
    module = training_of(made, objective, settings, folder)
    node = {**settings["trainer"], "max_steps": 10**6, "enable_progress_bar": False}
    last = build(settings["callbacks"]["checkpoint"], directory=str(folder))
    kept = {"logger": [HistoryLogger(folder / "metrics.csv")], "callbacks": [InTurn(), last]}
    build({**node, **kept, "default_root_dir": str(folder)}).fit(module, loader)


if __name__ == "__main__":
    main()
