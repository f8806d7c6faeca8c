"""A study as a loop over pythae's trainer: four betas by four seeds, one after the other. `python loop_of_pythae.py MODEL
EPOCHS FOLDER`."""

import logging
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from nets import LATENTS, nets
from pythae.models import BetaVAE, BetaVAEConfig
from with_pythae import Decoder, Encoder, trainer


def main():
    model, epochs, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    logging.disable(logging.INFO)
    for seed in range(4):
        for beta in (0.5, 1.0, 2.0, 4.0):
            torch.manual_seed(seed)
            encoder, decoder = nets(model)
            config = BetaVAEConfig(input_dim=(1, 28, 28), latent_dim=LATENTS, reconstruction_loss="bce", beta=beta)
            vae = BetaVAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))
            trainer(vae, 20 if model == "vae" else 128, epochs, folder).train()


if __name__ == "__main__":
    main()
