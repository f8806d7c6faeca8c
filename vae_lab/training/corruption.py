"""What is withheld from the encoder in training. A corruption's `forward(x)` gives the x that the encoder sees; the decoder
is scored on x itself, and evaluation sees x alone.

With z drawn from q(z|x~) and scored as log p(x|z) + log p(z) - log q(z|x~) the ELBO stays a lower bound of log p(x) (Im et
al. 2017, Eq. 6).
"""

from torch import Tensor, nn


class Clean(nn.Module):
    """Nothing is withheld."""

    neutral = True

    def forward(self, x: Tensor) -> Tensor:
        return x
