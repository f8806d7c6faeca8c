"""Examples through the encoder and back."""

from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.distributions import stream_seed
from vae_lab.evaluation.panels import mean_of
from vae_lab.models import Autoencoding


class Reconstructions(NamedTuple):
    """Of x, (n, *shape): the mean of p(x|z), None where the decoder has none in closed form (an autoregressive one), and a
    draw from it, at z the mean of q(z|x)."""

    mean: Tensor | None
    sample: Tensor


@torch.no_grad()
def reconstruct(model: Autoencoding, x: Tensor, seed: int = 0, first: int = 0) -> Reconstructions:
    """Encodes examples and decodes the mean of q(z|x).

    Arguments:
        x: (n, *shape), as the model was trained on. seed: of the draws; they do not depend on what was drawn before.
        first: the row of the first of them, where many are gone through in parts.
    """
    p = model.decode(model.encode(x).mean)
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, "reconstruction", first))
        return Reconstructions(mean_of(p), p.sample())
