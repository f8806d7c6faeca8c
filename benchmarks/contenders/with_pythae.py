"""pythae 0.1.2 as its documentation has it: its trainer, its DataLoader, its model, with networks of the sizes compared.

It runs in an environment of its own: `python with_pythae.py MODEL BATCH_SIZE`.
"""

import logging
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from turns import Turns

HIDDEN, LATENTS, EXAMPLES = 200, 50, 10_000


class Encoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(784, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())
        self.embedding, self.log_var = nn.Linear(HIDDEN, LATENTS), nn.Linear(HIDDEN, LATENTS)

    def forward(self, x):
        h = self.net(x.flatten(1))
        return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(LATENTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh()),
            *(nn.Linear(HIDDEN, 784), nn.Sigmoid()),
        )

    def forward(self, z):
        return ModelOutput(reconstruction=self.net(z).unflatten(-1, (1, 28, 28)))


class InTurn(TrainingCallback):
    def __init__(self) -> None:
        self.turns = None

    def on_train_step_end(self, training_config, **kwargs):
        if self.turns is None:  # the first step has set everything up
            self.turns = Turns()
        else:
            self.turns.step()


def main() -> None:
    model, batch_size = sys.argv[1], int(sys.argv[2])
    logging.disable(logging.INFO)
    x = torch.rand(EXAMPLES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    shape = {"input_dim": (1, 28, 28), "latent_dim": LATENTS, "reconstruction_loss": "bce"}
    made = (
        IWAE(IWAEConfig(number_samples=50, **shape), encoder=Encoder(), decoder=Decoder())
        if model == "iwae"
        else VAE(VAEConfig(**shape), encoder=Encoder(), decoder=Decoder())
    )
    config = BaseTrainerConfig(
        output_dir="pythae", num_epochs=1000, learning_rate=1e-3, per_device_train_batch_size=batch_size, no_cuda=True
    )
    data = BaseDataset(x, torch.zeros(len(x)))
    BaseTrainer(made, data, training_config=config, callbacks=[InTurn()]).train()


if __name__ == "__main__":
    main()
