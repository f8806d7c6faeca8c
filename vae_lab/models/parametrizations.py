"""What is done to the encoder's location and log-scale, each (B, k), before they become q(z|x)."""

from torch import Tensor, nn


class Plain(nn.Module):
    """Nothing is done."""

    def forward(self, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        return loc, log_scale
