"""The laws of bounds, of weights and of transforms of the rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_lab.distributions import diagonal, per_dimension_kl, standard
from vae_lab.models import Terms
from vae_lab.objectives.objective import Coefficients
from vae_lab.objectives.rate import Identity
from vae_lab.testing.tools import Option, declared, equal, make, mean_is, near, seeded

NOISE_VARIANCE, OBSERVED = 0.5, 1.0
EVIDENCE = float(Normal(0.0, math.sqrt(1 + NOISE_VARIANCE)).log_prob(torch.tensor(OBSERVED)))
"""log p(x) of the conjugate model z ~ N(0, 1), x|z ~ N(z, 1/2) at x = 1."""


def conjugate_terms(noise: Tensor, loc: Tensor, log_scale: Tensor) -> Terms:
    """The parts of the ELBO of the conjugate model, with q = N(loc, exp(log_scale)^2) for each of B copies of x;
    noise is (K, B)."""
    batch = noise.shape[1]
    q = diagonal(loc.expand(batch, 1), log_scale.expand(batch, 1))
    p = standard(torch.zeros(1, dtype=noise.dtype))
    z = loc + log_scale.exp() * noise.unsqueeze(-1)
    x = torch.full_like(noise, OBSERVED)
    distortion = -Normal(z.squeeze(-1), math.sqrt(NOISE_VARIANCE)).log_prob(x)
    rates = per_dimension_kl(q, p)
    assert rates is not None
    return Terms(distortion, rates, rates.sum(-1), z, q, p)


def conjugate_elbo(loc: Tensor, log_scale: Tensor) -> Tensor:
    """The ELBO of the conjugate model, exactly: log p(x) - KL(q || p(z|x))."""
    variance = 1 / (1 + 1 / NOISE_VARIANCE)
    exact = Normal(OBSERVED * variance / NOISE_VARIANCE, math.sqrt(variance))
    return EVIDENCE - kl_divergence(Normal(loc, log_scale.exp()), exact)


def check_bound(option: Option, samples: Sequence[int] = (1, 2, 5, 50)) -> None:
    """As a value (not only as a gradient), on a model with known log p(x): the bound is at most log p(x) and at least
    the ELBO; with one sample it is the ELBO; it does not fall as samples are added; the loss of two batches together is
    the mean of theirs (samples and examples are not swapped); with one sample its gradient is the ELBO's.

    A bound that provides additive_rate is distortion + beta * rate whatever the number of samples; any other comes near
    log p(x) with 50 samples and does not depend on beta. The option must take `samples`, and the bound say in its
    attribute `draws` how many draws of z it wants.

    A bound with another limit as samples are added says so in what it provides: `loose_bound` (under log p(x)),
    `upper_bound` (above log p(x), and with 50 samples it is) or `under_elbo` (below the ELBO, to which it falls).
    """
    with seeded():
        provides = declared(option).provides
        additive = "additive_rate" in provides
        loc, log_scale = torch.tensor([0.2]), torch.tensor([-0.2])
        exact = float(conjugate_elbo(loc, log_scale))
        limits = _Limits.of(provides, exact)
        values: list[float] = []
        for n in samples:
            bound = _with_samples(option, n)
            value, error = _bound_value(bound, loc, log_scale)
            slack = 4 * error + 1e-5
            assert value <= limits.high + slack, f"{n} samples: {value:.4f} exceeds {limits.above} = {limits.high:.4f}"
            assert value >= limits.low - slack, f"{n} samples: {value:.4f} is under the ELBO {limits.low:.4f}"
            if additive or bound.samples == 1:
                assert abs(value - exact) <= slack, f"{n} samples: {value:.4f} is not the ELBO {exact:.4f}"
            if not additive and n >= 50:
                assert value >= limits.many - slack, f"{n} samples: {value:.4f} does not come near log p(x)"
            if values:
                wrong = limits.turn * (value - values[-1]) < -slack
                assert not wrong, f"goes from {values[-1]:.4f} to {value:.4f} as samples are added"
            values.append(value)
            _check_bound_batch(bound, additive)
        _check_bound_gradient(_with_samples(option, 1), loc, log_scale)


class _Limits(NamedTuple):
    """Where a bound may lie, and which way it goes as samples are added."""

    low: float
    high: float
    above: str = "log p(x)"
    many: float = -math.inf  # the least value with 50 samples
    turn: int = 1

    @classmethod
    def of(cls, provides: frozenset[str], elbo: float) -> "_Limits":
        if "under_elbo" in provides:
            return cls(-math.inf, elbo, "the ELBO", turn=-1)
        if "upper_bound" in provides:
            return cls(elbo, math.inf, many=EVIDENCE)
        near_evidence = EVIDENCE - 0.25 * (EVIDENCE - elbo)
        return cls(elbo, EVIDENCE, many=-math.inf if "loose_bound" in provides else near_evidence)


def _with_samples(option: Option, n: int) -> Any:
    return make({**option, "samples": n} if isinstance(option, Mapping) else option, samples=n)


def weights(beta: float = 1.0, target: float = 0.0) -> Coefficients:
    """The coefficients of a step with this weight of the rate."""
    return Coefficients(torch.tensor(1.0), torch.tensor(beta), torch.tensor(target))


def _bound_value(bound: Any, loc: Tensor, log_scale: Tensor, batches: int = 100) -> tuple[float, float]:
    """Minus the loss, with its standard error over batches of 100 copies."""
    terms = (conjugate_terms(torch.randn(bound.draws, 100), loc, log_scale) for _ in range(batches))
    losses = torch.stack([bound(t, weights(), Identity()) for t in terms]).detach().double()
    equal(losses.shape, (batches,), "shape of the losses (each a scalar)")
    return -float(losses.mean()), float(losses.std()) / math.sqrt(batches)


def _check_bound_batch(bound: Any, additive: bool) -> None:
    noise = torch.randn(bound.draws, 3) * torch.tensor([0.3, 1.0, 3.0])
    loc, log_scale = torch.tensor([0.2]), torch.tensor([-0.2])

    def loss(rows: Tensor, beta: float = 1.0) -> Tensor:
        return bound(conjugate_terms(rows, loc, log_scale), weights(beta), Identity())

    alone = torch.stack([loss(noise[:, i : i + 1]) for i in range(3)])
    near(loss(noise), alone.mean(), "the loss of a batch, against the mean of its examples' (samples are not examples)")
    rate = conjugate_terms(noise, loc, log_scale).rate.mean() if additive else torch.zeros(())
    near(loss(noise, 3.0) - loss(noise), 2 * rate, "what two more units of beta add to the loss")


def _check_bound_gradient(bound: Any, loc: Tensor, log_scale: Tensor) -> None:
    loc, log_scale = loc.clone().requires_grad_(), log_scale.clone().requires_grad_()
    exact = torch.autograd.grad(-conjugate_elbo(loc, log_scale).sum(), (loc, log_scale))
    drawn = []
    for _ in range(200):
        loss = bound(conjugate_terms(torch.randn(bound.draws, 50), loc, log_scale), weights(), Identity())
        drawn.append(torch.cat(torch.autograd.grad(loss, (loc, log_scale))))
    for name, column, value in zip(("location", "log-scale"), torch.stack(drawn).unbind(1), exact, strict=True):
        mean_is(column, float(value), f"gradient by the {name} of q with one sample, against the ELBO's")


def check_beta(option: Option, totals: Sequence[int] = (1000, 37, 10)) -> None:
    """For runs of any length the weight is a finite number >= 0, a function of t alone (asked in any order, by any
    copy), and constant (to 1e-4) from the update `settled` on."""
    for total in totals:
        beta = make(option, total_updates=total)
        times = list(range(3 * total + 5))
        weights = [float(beta(t)) for t in times]
        bad = [t for t, weight in zip(times, weights, strict=True) if not (math.isfinite(weight) and weight >= 0)]
        assert not bad, f"the weight at t = {bad[0]} of {total} is {weights[bad[0]]}"
        other = make(option, total_updates=total)
        backwards = [float(other(t)) for t in reversed(times)][::-1]
        assert weights == backwards, "the weight at t depends on what was asked before"
        settled = beta.settled
        whole = isinstance(settled, int) and settled >= 0
        assert whole, f"settled must be a number of updates, not {settled!r}"
        tail = [*weights[settled:], float(beta(settled + 10**6))]
        assert max(tail) - min(tail) <= 1e-4, f"the weight still moves after `settled` = {settled} of {total} updates"


def rate_terms(rates: Tensor) -> Terms:
    """Terms with these rates, (B, k), and nothing else of interest."""
    batch, k = rates.shape
    zero = torch.zeros(batch, k)
    return Terms(
        torch.zeros(1, batch), rates, rates.sum(-1), zero.unsqueeze(0), diagonal(zero, zero), standard(zero[0])
    )


def check_rate(option: Option, latent_dim: int = 8) -> None:
    """A transform of the rate gives a finite scalar, does not depend on the order of the examples, and passes gradients
    to high rates. Its traits are true: without need of factorised_prior it reads the total alone, without need of
    whole_batch its value over a batch is the mean of its values over the parts."""
    with seeded():
        made, needs = make(option, latent_dim=latent_dim, total_updates=100), declared(option).needs
        target = torch.tensor(float(made.target(100)))

        def transform(terms: Terms) -> Tensor:
            value: Tensor = made(terms, target)
            return value

        rates = torch.rand(12, latent_dim).mul(4).requires_grad_()
        value = transform(rate_terms(rates))
        equal(value.shape, (), "shape of the transformed rate")
        assert value.isfinite(), "the transformed rate is not finite"
        near(transform(rate_terms(rates.flip(0))), value, "the examples in another order")
        (gradient,) = torch.autograd.grad(transform(rate_terms(rates + 10)), rates)
        assert (gradient != 0).all(), "a high rate gets no gradient"
        low = rates.detach().square() / 10  # some parts under a floor, some over
        if "whole_batch" not in needs:
            parts = [transform(rate_terms(part)) for part in low.split(3)]
            near(transform(rate_terms(low)), torch.stack(parts).mean(), "a batch, against the mean of its parts")
        if "factorised_prior" not in needs:
            whole = rate_terms(low)
            hidden = Terms(whole.distortion, None, whole.rate, whole.z, whole.posterior, whole.prior)
            near(transform(hidden), transform(whole), "without the rates of single latents")
