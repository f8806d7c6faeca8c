"""The laws of what z follows: priors, posteriors, parametrizations."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from vae_lab.distributions import diagonal, per_dimension_kl
from vae_lab.models.parametrizations import Plain
from vae_lab.testing.tools import (
    Option,
    check_entropy,
    check_gradients,
    check_integral,
    check_moments,
    check_samples,
    check_state,
    declared,
    equal,
    make,
    mean_is,
    near,
    scrambled,
    seeded,
)


def check_prior(option: Option, latent_dim: int) -> None:
    """p(z) is a normalised density over (k,), its samples follow it, its gradients reach every parameter, a state dict
    restores it to the bit, and where its KL is closed it is the expectation that it stands for.

    A prior whose rate does not split over latents must say so in its traits (no `factorised_prior` among what it provides).
    """
    with seeded():
        prior = scrambled(make(option, latent_dim=latent_dim))
        p = prior()
        assert isinstance(p, Distribution), f"forward() must give a distribution, not {type(p).__name__}"
        equal(p.batch_shape, (), "batch shape of p(z)")
        equal(p.event_shape, (latent_dim,), "event shape of p(z)")
        with torch.no_grad():
            z = p.sample(torch.Size([50_000]))
            equal(z.shape, (50_000, latent_dim), "shape of samples")
            equal(p.log_prob(z).shape, (50_000,), "shape of log_prob")
            check_integral(p, z)
            check_samples(p, z)
            check_entropy(p, z)
            _check_kl(p, latent_dim, splits="factorised_prior" in declared(option).provides)
        check_gradients(prior, lambda: prior().log_prob(z[:200]).sum())
        check_state(prior, lambda: make(option, latent_dim=latent_dim), lambda module: module().log_prob(z[:200]))


def check_posterior(option: Option, latent_dim: int) -> None:
    """`reparametrize(q, noise)` has the law of q, as a density and in its moments; it is a differentiable pure function
    of q and of the noise of its own example; every raw output matters."""
    with seeded():
        posterior = scrambled(make(option, latent_dim=latent_dim))
        raw = (0.7 * torch.randn(3, posterior.outputs)).requires_grad_()
        noise = torch.randn(50_000, 3, posterior.noise_dim)
        q = posterior(raw, Plain())
        equal(q.batch_shape, (3,), "batch shape of q(z|x)")
        equal(q.event_shape, (latent_dim,), "event shape of q(z|x)")
        z = posterior.reparametrize(q, noise)
        equal(z.shape, (50_000, 3, latent_dim), "shape of reparametrized samples")
        with torch.no_grad():
            for samples in (z, q.sample(torch.Size([50_000]))):
                check_samples(q, samples)
                check_entropy(q, samples)
                check_moments(q, samples)
        _check_own_noise(posterior, q, noise[:5])
        for what, value in (("samples", (z[:50] + 1).square().sum()), ("density", q.log_prob(z[:50].detach()).sum())):
            (gradient,) = torch.autograd.grad(value, raw, retain_graph=True)
            assert gradient.isfinite().all(), f"a gradient of the {what} is not finite"
            assert (gradient != 0).any(0).all(), f"some raw output does not move the {what}"


def check_parametrization(option: Option, latent_dim: int) -> None:
    """Location and log-scale keep their shapes and stay finite and differentiable; in eval mode an example does not
    depend on the others of its batch; a state dict restores it to the bit."""
    with seeded():
        module = make(option, latent_dim=latent_dim)
        loc, log_scale = torch.randn(2, 8, latent_dim).requires_grad_()
        module(loc, log_scale)  # an update of running statistics, if there are any
        module.eval()
        for given, made in zip((loc, log_scale), module(loc, log_scale), strict=True):
            equal(made.shape, given.shape, "shape of location and log-scale")
            assert made.isfinite().all(), "a location or log-scale is not finite"
        near(
            torch.stack(module(loc[:3], log_scale[:3])), torch.stack(module(loc, log_scale))[:, :3], "an example alone"
        )
        check_gradients(module, lambda: torch.stack(module(loc, log_scale)).square().sum())
        ask = lambda m: torch.stack(m(loc, log_scale))  # noqa: E731
        check_state(module, lambda: make(option, latent_dim=latent_dim), ask)


def _check_own_noise(posterior: nn.Module, q: Distribution, noise: Tensor) -> None:
    reparametrize: Callable[..., Tensor] = posterior.reparametrize  # type: ignore[assignment]
    before, again = reparametrize(q, noise), reparametrize(q, noise)
    assert torch.equal(before, again), "reparametrize must give the same samples for the same noise"
    other = noise.clone()
    other[:, 0] += 1
    changed = (reparametrize(q, other) != before).flatten(2).any(2).any(0).tolist()
    equal(changed, [True, False, False], "examples whose samples change with the noise of the first one")


def _check_kl(p: Distribution, latent_dim: int, splits: bool) -> None:
    """A closed KL is the mean of log q - log p over samples of q, and its parts are non-negative and sum to it."""
    q = diagonal(0.7 * torch.randn(3, latent_dim), 0.4 * torch.randn(3, latent_dim) - 0.3)
    parts = per_dimension_kl(q, p)
    assert parts is not None or not splits, (
        "the rate does not split over latents, so the prior's traits must not provide factorised_prior"
    )
    try:
        closed = kl_divergence(q, p)
    except NotImplementedError:
        return
    z = q.sample(torch.Size([200_000]))
    for sampled, exact in zip((q.log_prob(z) - p.log_prob(z)).unbind(1), closed, strict=True):
        mean_is(sampled, float(exact), "KL(q || p) by sampling, against its closed form")
    if parts is not None:
        equal(parts.shape, (3, latent_dim), "shape of per_dimension_kl")
        near(parts.sum(-1), closed, "per_dimension_kl summed")
