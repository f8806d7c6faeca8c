"""pythae 0.1.2 as its documentation has it: its trainer, its DataLoader, its models, with networks of the sizes compared.

It runs in an environment of its own: `python with_pythae.py MODEL BATCH_SIZE`.
"""

import logging
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from nets import EXAMPLES, IMPORTANCE, LATENTS, SAMPLES, nets
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from turns import Turns


class Encoder(BaseEncoder):
    def __init__(self, net):
        super().__init__()
        *below, last = net.children() if len(list(net.children())) > 2 else (net[0], *net[1].children())
        self.net = nn.Sequential(*below)
        self.embedding, self.log_var = nn.Linear(last.in_features, LATENTS), nn.Linear(last.in_features, LATENTS)

    def forward(self, x):
        h = self.net(x)
        return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self, net):
        super().__init__()
        self.net = nn.Sequential(*net.children(), nn.Sigmoid(), nn.Unflatten(-1, (1, 28, 28)))

    def forward(self, z):
        return ModelOutput(reconstruction=self.net(z))


class InTurn(TrainingCallback):
    def __init__(self):
        self.turns = None

    def on_train_step_end(self, training_config, **kwargs):
        if self.turns is None:  # the first step has set everything up
            self.turns = Turns()
        else:
            self.turns.step()


def made(model):
    """A model of pythae's with the networks that are compared."""
    encoder, decoder = nets(model)
    parts = {"encoder": Encoder(encoder), "decoder": Decoder(decoder)}
    shape = {"input_dim": (1, 28, 28), "latent_dim": LATENTS, "reconstruction_loss": "bce"}
    return (
        IWAE(IWAEConfig(number_samples=SAMPLES, **shape), **parts)
        if model == "iwae"
        else VAE(VAEConfig(**shape), **parts)
    )


def trainer(model, batch_size, epochs, folder, callbacks=()):
    x = torch.rand(EXAMPLES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    config = BaseTrainerConfig(
        output_dir=folder, num_epochs=epochs, learning_rate=1e-3, per_device_train_batch_size=batch_size, no_cuda=True
    )
    return BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=config, callbacks=list(callbacks))


def main():
    model, batch_size = sys.argv[1], int(sys.argv[2])
    logging.disable(logging.INFO)
    if model != "nll":
        trainer(made(model), batch_size, 1000, "pythae", [InTurn()]).train()
    vae, turns = made(model), Turns()
    while True:
        vae.get_nll(torch.rand(batch_size, 1, 28, 28).round(), n_samples=IMPORTANCE)
        turns.step()


if __name__ == "__main__":
    main()
