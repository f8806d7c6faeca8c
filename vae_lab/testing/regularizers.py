"""The law of regularizers."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from vae_lab.distributions import diagonal, per_dimension_kl, standard
from vae_lab.models import Terms
from vae_lab.models.priors import MixturePrior
from vae_lab.testing.tools import Option, check_gradients, declared, equal, make, near, scrambled, seeded


def regularizer_terms(loc: Tensor, log_scale: Tensor, noise: Tensor, prior: Distribution | None = None) -> Terms:
    """Terms with the posteriors N(loc, exp(log_scale)^2), (B, k), their z from noise, (K, B, k), and no distortion."""
    q, p = diagonal(loc, log_scale), prior if prior is not None else standard(loc[0])
    z = loc + log_scale.exp() * noise
    rates = per_dimension_kl(q, p)
    rate = rates.sum(-1) if rates is not None else (q.log_prob(z) - p.log_prob(z)).mean(0)
    return Terms(z.new_zeros(z.shape[:2]), rates, rate, z, q, p)


def check_regularizer(option: Option, latent_dim: int = 3, batch: int = 12) -> None:
    """A regularizer gives a finite scalar, for one draw of z and for several, which does not depend on the order of the
    examples and whose gradient reaches the posterior of each of them. An evaluation gives one for a batch of one too,
    always the same for the same terms, and draws nothing from torch's generator.

    Its own parameters, if any, each get a gradient in training, and none in evaluation; in training they change neither
    the value nor the gradient that the model gets; each is in one group of `parameter_groups`, if there are such.

    Its traits are true: without need of pathwise_z it has no gradient by z, with the posterior held; without need of
    whole_batch it is the mean over the parts of a batch; without need of a factorised prior or posterior it takes a
    mixture or a full covariance, and without need of additive_rate the rate is nothing to it.
    """
    with seeded():
        made, needs = make(option, latent_dim=latent_dim, examples=4 * batch, total_updates=100), declared(option).needs
        scrambled(made)
        loc, log_scale = torch.randn(batch, latent_dim), 0.5 * torch.randn(batch, latent_dim) - 0.5
        for samples in (1, 3):
            noise = torch.randn(samples, batch, latent_dim)
            _check_value(made, loc, log_scale, noise)
            _check_reach(made, loc, log_scale, noise)
            _check_evaluation(made, loc, log_scale, noise)
        if list(made.parameters()):
            _check_own_parameters(made, loc, log_scale, noise)
        _check_traits(made, needs.keys(), loc, log_scale, noise)


def _value(made: Any, terms: Terms) -> Tensor:
    """Always from the same random state."""
    with seeded(1):
        value: Tensor = made(terms)
    return value


def _check_value(made: Any, loc: Tensor, log_scale: Tensor, noise: Tensor) -> None:
    value = _value(made.train(), regularizer_terms(loc, log_scale, noise))
    equal(value.shape, (), "shape of the regularizer")
    assert value.isfinite(), "the regularizer is not finite"
    order = torch.randperm(len(loc))
    near(
        _value(made, regularizer_terms(loc[order], log_scale[order], noise[:, order])),
        value,
        "the examples in another order",
    )


def _gradient(made: Any, loc: Tensor, log_scale: Tensor, noise: Tensor) -> Tensor:
    """By the parameters of every posterior, (B, 2k)."""
    leaves = loc.clone().requires_grad_(), log_scale.clone().requires_grad_()
    value = _value(made, regularizer_terms(*leaves, noise))
    assert value.requires_grad, "no gradient reaches q"
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return torch.cat([torch.zeros_like(loc) if g is None else g for g in found], 1)


def _check_reach(made: Any, loc: Tensor, log_scale: Tensor, noise: Tensor) -> None:
    gradient = _gradient(made.train(), loc, log_scale, noise)
    assert gradient.isfinite().all(), "the gradient by q is not finite"
    assert (gradient != 0).any(1).all(), "the posterior of an example gets no gradient"


def _check_evaluation(made: Any, loc: Tensor, log_scale: Tensor, noise: Tensor) -> None:
    made.eval()
    with torch.no_grad():
        for size in (len(loc), 2, 1):
            terms = regularizer_terms(loc[:size], log_scale[:size], noise[:, :size])
            before = torch.get_rng_state()
            value, again = made(terms), made(terms)
            assert value.isfinite(), f"a batch of {size}: the regularizer is not finite"
            assert torch.equal(value, again), "two evaluations differ"
            assert torch.equal(before, torch.get_rng_state()), "an evaluation draws from torch's generator"


def _check_own_parameters(made: Any, loc: Tensor, log_scale: Tensor, noise: Tensor) -> None:
    terms = regularizer_terms(loc, log_scale, noise)
    check_gradients(made.train(), lambda: _value(made, terms))
    value, gradient = _value(made, terms), _gradient(made, loc, log_scale, noise)
    made.eval()
    near(value, _value(made, terms), "the value in training, against evaluation")
    near(gradient, _gradient(made, loc, log_scale, noise), "the gradient by q in training, against evaluation")
    held = _value(made, terms)
    found = torch.autograd.grad(held, list(made.parameters()), allow_unused=True) if held.requires_grad else ()
    assert all(g is None for g in found), "what is asked of the model teaches the regularizer's own parameters"
    if hasattr(made, "parameter_groups"):
        listed = [id(parameter) for group in made.parameter_groups() for parameter in group["params"]]
        equal(sorted(listed), sorted(id(parameter) for parameter in made.parameters()), "the parameters in its groups")


def _check_traits(made: Any, needs: Any, loc: Tensor, log_scale: Tensor, noise: Tensor) -> None:
    whole = regularizer_terms(loc, log_scale, noise)
    value = _value(made.eval(), whole)
    if "pathwise_z" not in needs:
        z = whole.z.clone().requires_grad_()
        held = _value(made, Terms(whole.distortion, whole.rates, whole.rate, z, whole.posterior, whole.prior))
        reached = held.requires_grad and torch.autograd.grad(held, z, allow_unused=True)[0] is not None
        assert not reached, "a gradient goes through z, and its traits do not need pathwise_z"
    if "additive_rate" not in needs:
        raised = Terms(whole.distortion, None, whole.rate + 1, whole.z, whole.posterior, whole.prior)
        near(_value(made, raised), value, "with another rate")
    if "whole_batch" not in needs:
        parts = [regularizer_terms(loc[i : i + 3], log_scale[i : i + 3], noise[:, i : i + 3]) for i in range(0, 12, 3)]
        near(
            value, torch.stack([_value(made, part) for part in parts]).mean(), "a batch, against the mean of its parts"
        )
    if "factorised_prior" not in needs:
        mixture = MixturePrior(loc.shape[1])()
        assert _value(made, regularizer_terms(loc, log_scale, noise, mixture)).isfinite(), "with a mixture as the prior"
    if "factorised_posterior" not in needs:
        assert _value(made, _correlated_terms(loc, noise)).isfinite(), "with a full covariance of q"


def _correlated_terms(loc: Tensor, noise: Tensor) -> Terms:
    """Terms with one full covariance for every posterior."""
    k = loc.shape[1]
    root = (torch.eye(k) + 0.5).tril()
    q, p = MultivariateNormal(loc, scale_tril=root), standard(loc[0])
    z = loc + noise @ root.T
    rate = kl_divergence(q, MultivariateNormal(torch.zeros(k), torch.eye(k)))
    return Terms(z.new_zeros(z.shape[:2]), None, rate, z, q, p)
