"""What the laws are made of: options built, seeds, comparisons, and checks of a density and its samples."""

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vae_lab.build import build
from vae_lab.targets import locate
from vae_lab.traits import Traits, traits_of

Option = Mapping[str, Any] | Callable[..., Any]
Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = ((1, 8, 8), (1, 28, 28), (1, 28, 20), (1, 7, 5), (3, 6, 4), (5,))
"""The shapes of x that encoders and decoders are tried on: even, odd, not square, in colour, and a vector."""

TINY: tuple[Shape, ...] = ((1, 2, 3), (6,))
"""Shapes of which all binary x can be listed."""


def make(option: Option, **context: Any) -> Any:
    """The object of an option, given what its constructor asks for of the context. A module is taken as it is."""
    if isinstance(option, nn.Module):
        return copy.deepcopy(option)
    if isinstance(option, Mapping):
        return build(option, **context)
    wanted = inspect.signature(option).parameters
    return option(**{name: value for name, value in context.items() if name in wanted})


def declared(option: Option) -> Traits:
    """What an option provides, needs and forbids."""
    if isinstance(option, Mapping):
        given = {key: value for key, value in option.items() if not key.startswith("_")}
        return traits_of(locate("", str(option["_target_"])), given) or Traits()
    if isinstance(option, nn.Module) and isinstance(vars(option).get("traits"), Traits):
        return vars(option)["traits"]
    return traits_of(type(option) if isinstance(option, nn.Module) else option, {}) or Traits()


@contextlib.contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def scrambled(module: Any, spread: float = 0.3) -> Any:
    """The module with its parameters moved off their starting values, at which a missing term may be zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return module


def equal(found: Any, expected: Any, what: str) -> None:
    found = tuple(found) if isinstance(found, torch.Size) else found
    assert found == expected, f"{what}: {found}, not {expected}"


def near(found: Tensor, expected: Tensor, what: str, relative: float = 1e-4) -> None:
    equal(found.shape, tuple(expected.shape), f"shape of {what}")
    found, expected = found.detach(), expected.detach()
    worst = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    assert worst <= relative, f"{what}: differs by {worst:.1e} (relative)"


def mean_is(values: Tensor, expected: float, what: str, largest_error: float = math.inf, errors: float = 4.0) -> None:
    """The mean of independent values is `expected`, within four standard errors (five where many are compared)."""
    values = values.detach().double().flatten()
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    assert error <= largest_error, f"{what}: the standard error {error:.2g} is too large to tell"
    near = abs(mean - expected) <= errors * error + 1e-5 * max(1, abs(expected))
    assert near, f"{what}: {mean:.6g} +- {error:.2g}, not {expected:.6g}"


def check_gradients(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Every parameter gets a gradient that is finite and not zero throughout."""
    names, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())
    if not parameters:
        return
    for name, gradient in zip(names, torch.autograd.grad(loss(), parameters, allow_unused=True), strict=True):
        reached = gradient is not None and bool((gradient != 0).any())
        assert reached, f"no gradient reaches the parameter {name}"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"


def check_state(module: nn.Module, again: Callable[[], nn.Module], ask: Callable[[nn.Module], Tensor]) -> None:
    """A module built again from another seed and given the state dict answers the same, to the bit."""
    with seeded(12345):
        other = scrambled(again())
    other.load_state_dict(module.state_dict())
    assert torch.equal(ask(other.eval()), ask(module.eval())), "a state dict does not restore the module to the bit"


def check_entropy(p: Distribution, z: Tensor) -> None:
    try:
        entropy = p.entropy()
    except NotImplementedError:
        return
    surprise = -p.log_prob(z).reshape(len(z), -1)
    for column, expected in zip(surprise.unbind(1), entropy.flatten(), strict=True):
        mean_is(column, float(expected), "mean of -log_prob over samples, against the entropy")


def check_moments(p: Distribution, z: Tensor) -> None:
    with contextlib.suppress(NotImplementedError):
        for column, mean in zip(z.flatten(1).unbind(1), p.mean.flatten(), strict=True):
            mean_is(column, float(mean), "mean of the samples")
        squares = (z - p.mean).square().flatten(1)
        for column, variance in zip(squares.unbind(1), p.variance.flatten(), strict=True):
            mean_is(column, float(variance), "variance of the samples")


def check_samples(p: Distribution, z: Tensor) -> None:
    r"""Samples follow the density: :math:`E_p[r(z) / p(z)] = 1` for narrow densities r around three samples (not
    the least likely ones); in one dimension, and with no batch, Kolmogorov and Smirnov's distance too (at 1e-4)."""
    width, first = 0.5 * z.std(0), z[:20]
    order = p.log_prob(first).argsort(0, descending=True)
    for rank in (0, 4, 9):
        center = first.gather(0, order[rank : rank + 1].unsqueeze(-1).expand(1, *z.shape[1:]))[0]
        log_r = Normal(center, width).log_prob(z).sum(-1)
        weights = (log_r - p.log_prob(z)).exp().reshape(len(z), -1)
        for column in weights.unbind(1):
            mean_is(column, 1.0, "samples against the density (mean of r/p for a narrow density r)", 0.2, 5.0)
    if z.dim() == 2 and z.shape[1] == 1:
        points, mass = _line(p, z)
        cdf = torch.cumsum(mass, 0) - mass / 2
        at = _interpolated(z.flatten().double().sort().values, points, cdf)
        distance = float((at - (torch.arange(len(z)) + 0.5) / len(z)).abs().max())
        assert distance * math.sqrt(len(z)) < 2.23, f"samples do not follow the density: distance {distance:.3f}"


def check_integral(p: Distribution, z: Tensor) -> None:
    """The density integrates to one: by quadrature in one and two dimensions, else by importance sampling from a wide
    Student t around the samples z."""
    if z.shape[-1] == 1:
        total = float(_line(p, z)[1].sum())
        assert abs(total - 1) < 2e-3, f"the density integrates to {total:.4f}"
    elif z.shape[-1] == 2:
        total = _plane(p, z)
        assert abs(total - 1) < 1e-2, f"the density integrates to {total:.4f}"
    else:
        wide = torch.distributions.StudentT(5.0, z.mean(0), 1.2 * z.std(0))
        x = wide.sample(torch.Size([200_000]))
        weights = (_log_density(p, x) - wide.log_prob(x).sum(-1)).exp()
        mean_is(weights, 1.0, "the integral of the density, by importance sampling", 0.1)


def _log_density(p: Distribution, x: Tensor) -> Tensor:
    """log p(x), minus infinity outside the support."""
    try:
        inside = p.support.check(x)  # type: ignore[union-attr]
    except (NotImplementedError, ValueError):
        return p.log_prob(x)
    return p.log_prob(x).masked_fill(~inside, -math.inf)


def _tangent(center: Tensor, scale: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Points center + scale tan(u) over the whole line and their log weights: a midpoint rule that takes any tail as
    light as a Cauchy's."""
    t = ((torch.arange(points, dtype=torch.float64) + 0.5) * (math.pi / points) - math.pi / 2).tan()
    return center + scale * t, (scale * (math.pi / points) * (1 + t.square())).log()


def _line(p: Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """Points of the real line and the mass of p at each, float64."""
    points, log_weight = _tangent(z.double().mean(), z.double().std(), 20_001)
    return points, (_log_density(p, points.unsqueeze(-1).to(z.dtype)).double() + log_weight).exp()


def _plane(p: Distribution, z: Tensor) -> float:
    axes = [_tangent(z[:, i].double().mean(), z[:, i].double().std(), 601) for i in (0, 1)]
    grid = torch.cartesian_prod(axes[0][0], axes[1][0]).to(z.dtype)
    log_weight = (axes[0][1].unsqueeze(1) + axes[1][1]).flatten()
    return float((_log_density(p, grid).double() + log_weight).exp().sum())


def _interpolated(x: Tensor, points: Tensor, values: Tensor) -> Tensor:
    right = torch.searchsorted(points, x).clamp(1, len(points) - 1)
    share = (x - points[right - 1]) / (points[right] - points[right - 1])
    return values[right - 1].lerp(values[right], share)


def all_images(shape: Shape, values: Tensor | None = None) -> Tensor:
    """Every x of a shape whose pixels take the given values (0 and 1), in the order of a number's digits."""
    values = torch.tensor([0.0, 1.0]) if values is None else values
    return torch.cartesian_prod(*[values] * math.prod(shape)).view(-1, *shape)


def check_frequencies(samples: Tensor, images: Tensor, log_p: Tensor) -> None:
    """Probabilities of all x sum to one, and samples have these frequencies (chi-square, at 1e-4)."""
    total = float(log_p.double().exp().sum())
    assert abs(total - 1) < 1e-4, f"the probabilities of all x sum to {total:.5f}"
    expected = len(samples) * log_p.double().exp()
    same = (samples.flatten(1).unsqueeze(1) == images.flatten(1)).all(-1)
    assert same.any(1).all(), "a sample is none of the values that x can take"
    observed, often = same.sum(0).double(), expected >= 5
    cells = [torch.cat([v[often], v[~often].sum().view(1)]) for v in (observed, expected)]
    statistic = float(((cells[0] - cells[1]).square() / cells[1].clamp(min=1)).sum())
    likely = chi2.sf(statistic, max(int(often.sum()), 1))
    assert likely > 1e-4, f"samples do not have the frequencies of the probabilities (chi-square p = {likely:.1e})"
