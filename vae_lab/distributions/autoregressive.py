"""Densities that factorise pixel by pixel."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution


class Autoregressive(Distribution):
    r""":math:`p(x) = \prod_i p(x_i \mid x_{<i})`, with x read row by row.

    Arguments:
        conditional: maps x, shape (..., *shape), to the distribution whose i-th factor is :math:`p(x_i | x_{<i})`. It
            must be causal: the factor of pixel i may not depend on pixel i or on any later one.
        batch_shape, event_shape: as in torch; the event is (channels, height, width).

    `log_prob` takes one pass; `sample` takes one pass a pixel.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own protocol)

    def __init__(
        self, conditional: Callable[[Tensor], Distribution], batch_shape: torch.Size, event_shape: torch.Size
    ) -> None:
        self.conditional = conditional
        super().__init__(batch_shape, event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.conditional(value).log_prob(value)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:
        if sample_shape:
            raise NotImplementedError("draw several samples by repeating z")
        x = torch.zeros(self.batch_shape + self.event_shape)
        height, width = self.event_shape[-2:]
        for row in range(height):
            for column in range(width):
                drawn = self.conditional(x).sample()
                x = x.to(drawn.device)
                x[..., row, column] = drawn[..., row, column]
        return x
