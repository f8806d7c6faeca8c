"""Gaussians kept as location and log-scale, so that no log of an exponential is ever taken."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence, register_kl

Shape = torch.Size | list[int] | tuple[int, ...]
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Gaussian(Normal):
    r"""The normal density :math:`N(\mu, e^{2 s})`, elementwise, with the log-scale :math:`s` kept.

    .. math:: \log p(x) = -\tfrac12 \log 2\pi - s - \tfrac12 (x - \mu)^2 e^{-2 s}

    Arguments:
        loc: the mean :math:`\mu`, any shape.
        log_scale: the log of the standard deviation :math:`s`, broadcastable with `loc`.

    Example:
        >>> Gaussian(torch.zeros(3), torch.zeros(3)).log_prob(torch.zeros(3))
        tensor([-0.9189, -0.9189, -0.9189])
    """

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.log_scale = log_scale
        super().__init__(loc, log_scale.exp(), validate_args=False)

    def expand(self, batch_shape: Shape, _instance: Distribution | None = None) -> "Gaussian":
        return Gaussian(self.loc.expand(batch_shape), self.log_scale.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * ((value - self.loc) / self.scale).square() - self.log_scale - HALF_LOG_2PI

    def entropy(self) -> Tensor:
        return (0.5 + HALF_LOG_2PI + self.log_scale).expand(self.batch_shape)


class StandardGaussian(Gaussian):
    """The standard normal density N(0, 1), elementwise. A type of its own, so that the KL to it is the short formula."""

    def __init__(self, like: Tensor) -> None:
        super().__init__(torch.zeros_like(like), torch.zeros_like(like))

    def expand(self, batch_shape: Shape, _instance: Distribution | None = None) -> "StandardGaussian":
        return StandardGaussian(self.loc.new_zeros(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * value.square() - HALF_LOG_2PI


@register_kl(Gaussian, StandardGaussian)
def _kl_to_standard(q: Gaussian, p: StandardGaussian) -> Tensor:
    """KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - ln s^2) / 2 (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (q.loc.square() + q.scale.square() - 1) - q.log_scale


@register_kl(Gaussian, Gaussian)
def _kl_between(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(N(m, s^2) || N(a, b^2)) = ln(b / s) + (s^2 + (m - a)^2) / (2 b^2) - 1/2."""
    ratio = (q.scale / p.scale).square()
    return 0.5 * (ratio + ((q.loc - p.loc) / p.scale).square() - 1) + p.log_scale - q.log_scale


def diagonal(loc: Tensor, log_scale: Tensor, event_dims: int = 1) -> Independent:
    """A Gaussian with independent coordinates; the last `event_dims` dimensions are one event and their log densities
    are summed (never averaged).

    Example:
        >>> diagonal(torch.zeros(5, 3), torch.zeros(5, 3)).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """
    return Independent(Gaussian(loc, log_scale), event_dims, validate_args=False)


def standard(like: Tensor) -> Independent:
    """N(0, I) over the last dimension of `like`."""
    return Independent(StandardGaussian(like), 1, validate_args=False)


class SelfScaledGaussian(Distribution):
    r"""A Gaussian whose one variance is the best one for the very values it is asked about (Rybkin et al. 2021, Eq. 5).

    .. math:: \sigma^{*2} = \frac1{N d} \sum_{n, j} (x_{nj} - \mu_{nj})^2, \qquad
              -\sum_n \log p(x_n) = \frac{N d}{2} \left(1 + \log 2\pi\sigma^{*2}\right)

    The variance depends on the values, so this is a training criterion and no density: evaluation uses a plain Gaussian
    with a stored variance. The variance is differentiated too (at its optimum it adds nothing to the first order).

    Arguments:
        loc: means, shape (..., *event).
        event_dims: how many trailing dimensions are one event.
        log_floor: the least log standard deviation.
        on_scale: told the log standard deviation each time one is found (detached).
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own protocol)

    def __init__(
        self,
        loc: Tensor,
        event_dims: int,
        log_floor: float = -6.0,
        on_scale: Callable[[Tensor], None] = lambda log_scale: None,
    ) -> None:
        self.loc, self.log_floor, self.on_scale = loc, log_floor, on_scale
        split = loc.dim() - event_dims
        super().__init__(loc.shape[:split], loc.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    def best_log_scale(self, value: Tensor) -> Tensor:
        """The log standard deviation that makes `value` most likely: half the log of the mean squared error."""
        floor = math.exp(2 * self.log_floor)  # clamped before the log, whose gradient at an error of zero is not finite
        return 0.5 * (value - self.loc).square().mean().clamp(min=floor).log()

    def log_prob(self, value: Tensor) -> Tensor:
        log_scale = self.best_log_scale(value)
        self.on_scale(log_scale.detach())
        return diagonal(self.loc, log_scale.expand_as(self.loc), len(self.event_shape)).log_prob(value)


def per_dimension_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p) split over the coordinates of one event, shape (*batch, k); None where it does not split.

    It splits where both are products of the same coordinates and torch knows the KL of one coordinate.
    """
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if q.reinterpreted_batch_ndims != 1 or p.reinterpreted_batch_ndims != 1:
        return None
    try:
        return kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:
        return None
