"""Ways through the latent space from one example to another."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae_lab.distributions import stream_seed
from vae_lab.evaluation.panels import mean_of
from vae_lab.models import Autoencoding

Way = Literal["linear", "spherical"]


class Points(NamedTuple):
    """Points z from one end to the other, (steps, k), and of p(x|z) at each the mean, (steps, *shape), None where it has none
    in closed form, and a draw."""

    z: Tensor
    mean: Tensor | None
    draw: Tensor


def linear(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(1 - t) a + t b at `steps` values of t from 0 to 1; a and b (k,), the result (steps, k)."""
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None]
    return torch.lerp(a, b, t)


def spherical(a: Tensor, b: Tensor, steps: int) -> Tensor:
    r"""Along the great circle, in equal angles; the length goes evenly from that of a to that of b.

    .. math:: |z_t| = (1 - t) |a| + t |b|, \qquad
              \frac{z_t}{|z_t|} = \frac{\sin((1 - t)\omega)}{\sin\omega} \frac{a}{|a|}
                                + \frac{\sin(t\omega)}{\sin\omega} \frac{b}{|b|}

    with omega the angle between them. Most of a standard normal lies near a sphere, which a straight line leaves. Where
    the angle is not defined, or a straight one, the line is taken.
    """
    lengths = a.norm(), b.norm()
    if min(lengths) == 0:
        return linear(a, b, steps)
    u, v = a / lengths[0], b / lengths[1]
    omega = torch.acos((u @ v).clamp(-1, 1))
    if math.sin(omega) < 1e-4:
        return linear(a, b, steps)
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None]
    direction = (torch.sin((1 - t) * omega) * u + torch.sin(t * omega) * v) / torch.sin(omega)
    return torch.lerp(lengths[0], lengths[1], t) * direction


@torch.no_grad()
def interpolate(model: Autoencoding, a: Tensor, b: Tensor, steps: int, way: Way = "linear", seed: int = 0) -> Points:
    """From the mean of q(z|a) to that of q(z|b).

    Arguments:
        a, b: examples, (*shape). steps: points, both ends included. seed: of the draws, each with the same noise.
    """
    ends = model.encode(torch.stack([a, b])).mean
    z = {"linear": linear, "spherical": spherical}[way](ends[0], ends[1], steps)
    draws = []
    with torch.random.fork_rng():
        for point in z:
            torch.manual_seed(stream_seed(seed, "interpolation"))
            draws.append(model.decode(point[None]).sample())
    return Points(z, mean_of(model.decode(z)), torch.cat(draws))


def length(points: Tensor) -> float:
    """The Euclidean length of a way through points, (steps, ...)."""
    return float((points[1:] - points[:-1]).double().flatten(1).norm(dim=1).sum())
