"""A plain Lightning module with a DataLoader and a loss logged at each step, as a user would write it: `python -m
benchmarks.contenders.plain_lightning MODEL BATCH_SIZE`."""

import os
import sys

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.contenders.bare import EXAMPLES, HIDDEN, LATENTS, SAMPLES, loss_of, net
from benchmarks.contenders.in_turn import InTurn


class Plain(pl.LightningModule):
    def __init__(self, samples: int) -> None:
        super().__init__()
        self.encoder, self.decoder = net([784, HIDDEN, HIDDEN, 2 * LATENTS]), net([LATENTS, HIDDEN, HIDDEN, 784])
        self.samples = samples

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = loss_of(self.encoder, self.decoder, torch.bernoulli(batch[0]), self.samples)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    x = torch.rand(EXAMPLES, 784)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=-1, callbacks=[InTurn()], enable_progress_bar=False)
    loader = DataLoader(TensorDataset(x), batch_size, shuffle=True)
    trainer.fit(Plain(SAMPLES if model == "iwae" else 1), loader)


if __name__ == "__main__":
    main()
