"""How q is obtained and updated: an inference says what a training step does, and how a posterior is found.

Each is a part of the model (`VAE.inference`), so that its state is in the checkpoint, and so that what refines q at
training refines it at evaluation too.
"""

from typing import TYPE_CHECKING

from vae_lab.models import Batch, Inference

if TYPE_CHECKING:
    from vae_lab.training.module import Training


class Amortized(Inference):
    """The encoder gives q(z|x), and one step updates everything (Kingma and Welling 2014)."""

    neutral = True
    settled = 0  # the first update from which a step does what it does ever after

    def step(self, run: "Training", batch: Batch) -> None:
        """One batch of training."""
        run.descend(batch)

    def rate_weight(self, t: int) -> float:
        """What the weight of the rate is multiplied by at update t."""
        return 1.0

    def validated(self, run: "Training") -> None:
        """Told after each validation."""
