"""A bare loop over the lab's own model, objective and loader: what the lab's training costs beyond its parts. `python -m
benchmarks.contenders.same MODEL BATCH_SIZE`."""

import os
import sys

import torch

from benchmarks.contenders.lab import shape_of, words_of
from benchmarks.contenders.place import DEVICE
from benchmarks.loops import bare_loop
from benchmarks.turns import Turns
from vae_lab import compose
from vae_lab.config import resolve


def main() -> None:
    model, batch_size = sys.argv[1], sys.argv[2]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    steps = bare_loop(resolve(compose(*words_of(model, batch_size))), shape_of(model), device=DEVICE)
    turns = Turns()
    for _ in steps:
        turns.step()


if __name__ == "__main__":
    main()
