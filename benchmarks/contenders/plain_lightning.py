"""A plain Lightning module with a DataLoader and a loss logged at each step, as a user would write it: `python -m
benchmarks.contenders.plain_lightning MODEL BATCH_SIZE`."""

import os
import sys

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.contenders.bare import loss_of
from benchmarks.contenders.in_turn import InTurn
from benchmarks.contenders.nets import DRAWS, EXAMPLES, nets
from benchmarks.contenders.place import TRAINER


class Plain(pl.LightningModule):
    def __init__(self, model: str) -> None:
        super().__init__()
        self.encoder, self.decoder = nets(model)
        self.samples = DRAWS.get(model, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = loss_of(self.encoder, self.decoder, torch.bernoulli(batch[0]), self.samples)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    x = torch.rand(EXAMPLES, 1, 28, 28)
    trainer = pl.Trainer(accelerator=TRAINER, max_epochs=-1, callbacks=[InTurn()], enable_progress_bar=False)
    loader = DataLoader(TensorDataset(x), batch_size, shuffle=True)
    trainer.fit(Plain(model), loader)


if __name__ == "__main__":
    main()
