"""Ways through the latent space from one example to another."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vae_lab.distributions import stream_seed
from vae_lab.evaluation.panels import mean_of
from vae_lab.models import Autoencoding

Way = Literal["linear", "spherical", "geodesic"]
ITERATIONS = 100


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


def geodesic(
    decode: Callable[[Tensor], Tensor], a: Tensor, b: Tensor, steps: int, iterations: int = ITERATIONS
) -> Tensor:
    r"""The way that is shortest in x (Shao et al. 2018; Arvanitidis et al. 2018): its inner points have the least

    .. math:: E = \sum_t \|g(z_{t+1}) - g(z_t)\|^2

    for g = `decode`, (n, k) to (n, *shape). It is looked for by L-BFGS from the straight line, so that what is found is a
    local minimum; its energy is never above the line's. At the minimum the steps are equally long in x. z where g is
    flat costs nothing: a way may go far from the data there.
    """
    line = linear(a, b, steps)
    inner = line[1:-1].clone().requires_grad_()
    if not inner.numel():
        return line
    search = torch.optim.LBFGS([inner], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        value = _energy(decode(torch.cat([line[:1], inner, line[-1:]])))
        (inner.grad,) = torch.autograd.grad(value, inner)
        return value.detach()

    search.step(closure)
    found = torch.cat([line[:1], inner.detach(), line[-1:]])
    with torch.no_grad():
        return found if _energy(decode(found)) < _energy(decode(line)) else line


def _energy(x: Tensor) -> Tensor:
    return (x[1:] - x[:-1]).square().sum()


@torch.no_grad()
def interpolate(
    model: Autoencoding,
    a: Tensor,
    b: Tensor,
    steps: int,
    way: Way = "linear",
    seed: int = 0,
    iterations: int = ITERATIONS,
) -> Points:
    """From the mean of q(z|a) to that of q(z|b).

    Arguments:
        a, b: examples, (*shape). steps: points, both ends included. seed: of the draws, each with the same noise.
        iterations: of the search for a geodesic, at most.

    Errors: `ValueError` for a way that there is not, and for a geodesic where the decoder has no mean in closed form.
    """
    if way not in get_args(Way):
        raise ValueError(f"way={way!r} given; there are {', '.join(get_args(Way))}")

    def mean(z: Tensor) -> Tensor:
        x = mean_of(model.decode(z))
        if x is None:
            raise ValueError(NO_GEODESIC)
        return x

    ends = model.encode(torch.stack([a, b])).mean
    shortest = partial(geodesic, mean, iterations=iterations)
    ways: dict[Way, Callable[[Tensor, Tensor, int], Tensor]]
    ways = {"linear": linear, "spherical": spherical, "geodesic": shortest}
    z = ways[way](ends[0], ends[1], steps)
    draws = []
    with torch.random.fork_rng():
        for point in z:
            torch.manual_seed(stream_seed(seed, "interpolation"))
            draws.append(model.decode(point[None]).sample())
    return Points(z, mean_of(model.decode(z)), torch.cat(draws))


NO_GEODESIC = "a geodesic is measured by the decoder's mean, which this one does not have in closed form"


def length(points: Tensor) -> float:
    """The Euclidean length of a way through points, (steps, ...)."""
    return float((points[1:] - points[:-1]).double().flatten(1).norm(dim=1).sum())
