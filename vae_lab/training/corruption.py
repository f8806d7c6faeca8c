"""What is withheld from the encoder in training. A corruption's `forward(x)` gives the x that the encoder sees; the decoder
is scored on x itself, and evaluation sees x alone.

With z drawn from q(z|x~) and scored as log p(x|z) + log p(z) - log q(z|x~) the ELBO stays a lower bound of log p(x) (Im et
al. 2017, Eq. 6).
"""

import torch
from torch import Tensor, nn

from vae_lab.settings import Fraction, NonNegative
from vae_lab.traits import Traits


class Clean(nn.Module):
    """Nothing is withheld."""

    neutral = True

    def forward(self, x: Tensor) -> Tensor:
        return x


class Corruption(nn.Module):
    """What corruptions share: x itself where nothing is to be done, in evaluation or at strength zero."""

    traits = Traits(forbids={"free_parameters_of_q": "the x that would be descended on is the corrupted one"})
    strength: float

    def forward(self, x: Tensor) -> Tensor:
        """The x that the encoder sees, of the shape of x. Draws from torch's default generator."""
        return self.corrupted(x) if self.training and self.strength > 0 else x

    def corrupted(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class GaussianNoise(Corruption):
    """x + sd * noise, noise ~ N(0, I) (the denoising VAE, Im et al. 2017). Binary x stops being binary, and whole numbers
    stop being whole, which an encoder of real x does not mind.

    Arguments:
        sd: standard deviation of the noise, in units of x as the model sees it: of a standardised table those of each
            column.
    """

    def __init__(self, sd: NonNegative = 0.3) -> None:
        super().__init__()
        self.strength = sd

    def corrupted(self, x: Tensor) -> Tensor:
        return x + self.strength * torch.randn_like(x, dtype=_real(x))


class SaltAndPepper(Corruption):
    """Some values, each by itself, become 0 or 1, either half of the time (Vincent et al. 2010; in the denoising
    VAE, Im et al. 2017). For x in [0, 1].

    Arguments:
        probability: that a value is replaced (by what it was, for one binary value in two).
    """

    traits = Traits(needs={"unit_x": "0 and 1 are the ends of no other x"})

    def __init__(self, probability: Fraction = 0.1) -> None:
        super().__init__()
        self.strength = probability

    def corrupted(self, x: Tensor) -> Tensor:
        draw = torch.rand_like(x, dtype=_real(x))
        return torch.where(draw < self.strength, (draw < self.strength / 2).to(x.dtype), x)


class InputDropout(Corruption):
    """Some values, each by itself, become 0 (masking noise, Vincent et al. 2008). The others stay as they are: they are
    not rescaled, as the activations of a dropout layer would be, and so keep the values that evaluation will show.

    Arguments:
        probability: that a value is set to 0.
    """

    def __init__(self, probability: Fraction = 0.2) -> None:
        super().__init__()
        self.strength = probability

    def corrupted(self, x: Tensor) -> Tensor:
        return x.masked_fill(torch.rand_like(x, dtype=_real(x)) < self.strength, 0)


def _real(x: Tensor) -> torch.dtype:
    """The type of draws for x, which may be whole numbers."""
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
