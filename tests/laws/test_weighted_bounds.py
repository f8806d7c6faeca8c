"""Bounds on importance weights: their values on a model with known log p(x), and whose gradient each of them is."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from law_options import every, node_of
from torch import Tensor
from torch.distributions import Independent, Laplace, Normal

from vae_lab import compose, config
from vae_lab.build import build, build_model
from vae_lab.data.dataset import Spec
from vae_lab.distributions import Gaussian, diagonal, standard, stopped
from vae_lab.errors import RequestError
from vae_lab.models import VAE, Batch
from vae_lab.models.parametrizations import Plain
from vae_lab.objectives.bounds import IWAE
from vae_lab.objectives.rate import Identity
from vae_lab.objectives.weighted import MIWAE, PIWAE, Reweighted, Shares
from vae_lab.testing import EVIDENCE, check_bound, conjugate_elbo, conjugate_terms, declared, make, weights
from vae_lab.testing.objectives import NOISE_VARIANCE, OBSERVED
from vae_lab.testing.tools import mean_is
from vae_lab.traits import Traits, conflicts

LOC, LOG_SCALE = torch.tensor([0.2], dtype=torch.float64), torch.tensor([-0.2], dtype=torch.float64)
EXACT = torch.tensor([2 / 3], dtype=torch.float64), 0.5 * torch.tensor([1 / 3], dtype=torch.float64).log()
ELBO = float(conjugate_elbo(LOC, LOG_SCALE))
WIDE = 2 * math.exp(-0.4) - 1 / 3
CHI_SQUARE = math.exp(-0.4) / math.sqrt(WIDE / 3) * math.exp((2 / 3 - 0.2) ** 2 / WIDE) - 1  # of p(z|x) from q
Q, MODEL = ("location", "log-scale"), ("decoder", "prior")

Gradients = dict[str, Tensor]


def bound_of(name: str, **settings: Any) -> Any:
    return make(node_of("bound", name, **settings))


def drawn(draws: int, batch: int, seed: int = 0) -> Tensor:
    return torch.randn(draws, batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(bound: Any, noise: Tensor, loc: Tensor = LOC, log_scale: Tensor = LOG_SCALE) -> float:
    return -float(bound(conjugate_terms(noise, loc, log_scale), weights(), Identity()))


def log_weights(noise: Tensor) -> Tensor:
    """log p(x, z) - log q(z), written out, (K, B)."""
    z = LOC + LOG_SCALE.exp() * noise
    log_joint = Normal(0.0, 1.0).log_prob(z) + Normal(z, math.sqrt(NOISE_VARIANCE)).log_prob(torch.tensor(OBSERVED))
    return log_joint - Normal(LOC, LOG_SCALE.exp()).log_prob(z)


def gradients(bound: Any, noise: Tensor, loc: Tensor = LOC, log_scale: Tensor = LOG_SCALE) -> Gradients:
    """Of the bound of each column of noise, (B,): by q's parameters, and by two of the model's: an offset of the decoder's
    mean, and the mean of the prior."""
    n = noise.shape[1]
    leaves = [start.expand(n, 1).clone().requires_grad_() for start in (loc, log_scale)]
    leaves += [torch.zeros(shape, dtype=noise.dtype, requires_grad=True) for shape in ((n,), (n, 1))]
    terms = conjugate_terms(noise, leaves[0], leaves[1])
    likelihood = Normal(terms.z.squeeze(-1) + leaves[2], math.sqrt(NOISE_VARIANCE))
    terms = replace(
        terms,
        distortion=-likelihood.log_prob(torch.full_like(noise, OBSERVED)),
        prior=diagonal(leaves[3], torch.zeros_like(leaves[3])),
    )
    found = torch.autograd.grad(-n * bound(terms, weights(), Identity()), leaves)
    return dict(zip((*Q, *MODEL), (gradient.flatten() for gradient in found), strict=True))


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# ---- values


@pytest.mark.parametrize("samples", [2, 20])
@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_another_gradient_of_iwae_has_the_value_of_iwae(name: str, samples: int) -> None:
    noise = drawn(samples, 7)
    written_out = (log_weights(noise).exp().mean(0)).log().mean()
    assert value(bound_of(name, samples=samples), noise) == pytest.approx(float(written_out), abs=1e-12)
    assert value(bound_of("iwae", samples=samples), noise) == pytest.approx(float(written_out), abs=1e-12)


def test_iwae_rises_with_samples_to_log_p() -> None:
    values = [value(bound_of("iwae", samples=k), drawn(k, 20_000)) for k in (1, 2, 5, 20, 100)]
    mean_is(log_weights(drawn(1, 20_000)), ELBO, "IWAE with one sample, against the ELBO")
    assert all(b - a > 0.001 for a, b in pairwise(values))
    assert values[-1] == pytest.approx(EVIDENCE, abs=0.01)


@pytest.mark.parametrize("samples", [50, 200])
def test_the_gap_falls_as_chi_square_over_2_k(samples: int) -> None:
    """log p - L_K -> chi^2(p || q) / (2 K). Relative to K and with the mean of w - 1, whose expectation is 0, taken off."""
    log_w = log_weights(drawn(samples, 1_000_000 // samples)) - EVIDENCE
    gap = -bound_of("iwae", samples=samples).value(log_w) + (log_w.exp().mean(0) - 1)
    mean_is(2 * samples * gap, CHI_SQUARE, "2 K (log p - L_K)", largest_error=0.05 * CHI_SQUARE)


@pytest.mark.parametrize("name", ["iwae", "dreg", "stl", "miwae", "piwae", "ciwae", "renyi"])
def test_at_the_exact_posterior_each_is_log_p_for_every_noise(name: str) -> None:
    bound = bound_of(name, samples=3)
    for seed in range(5):
        assert value(bound, drawn(bound.draws, 4, seed), *EXACT) == pytest.approx(EVIDENCE, abs=1e-6)


def test_miwae_with_one_average_is_iwae_and_with_one_sample_the_elbo() -> None:
    noise = drawn(12, 5)
    assert value(bound_of("miwae", samples=12, averages=1), noise) == value(bound_of("iwae", samples=12), noise)
    by_sampling = float(log_weights(noise).mean())
    assert value(bound_of("miwae", samples=1, averages=12), noise) == pytest.approx(by_sampling, abs=1e-12)


def test_miwae_has_the_mean_of_iwae_with_k_samples_and_a_variance_m_times_smaller() -> None:
    n = 50_000
    many = bound_of("miwae", samples=5, averages=8).value(log_weights(drawn(40, n)))
    iwae = bound_of("iwae", samples=5).value(log_weights(drawn(5, n, seed=1)))
    mean_is(many - iwae, 0.0, "MIWAE(M = 8, K = 5) against IWAE(5)", largest_error=0.004)
    assert float(iwae.var() / many.var()) == pytest.approx(8, rel=0.1)


def test_piwae_has_the_value_of_miwae() -> None:
    noise, setting = drawn(12, 5), {"samples": 4, "averages": 3}
    assert value(bound_of("piwae", **setting), noise) == value(bound_of("miwae", **setting), noise)


def test_ciwae_lies_between_the_elbo_and_iwae() -> None:
    noise = drawn(6, 5)
    elbo, iwae = float(log_weights(noise).mean()), value(bound_of("iwae", samples=6), noise)
    for part in (0.0, 0.3, 1.0):
        mixed = value(bound_of("ciwae", samples=6, elbo_weight=part), noise)
        assert mixed == pytest.approx(part * elbo + (1 - part) * iwae, abs=1e-12)


def test_the_limits_of_renyi() -> None:
    """alpha = 0 is IWAE; far below 0 the largest log-weight, far above 1 the smallest, less at most log K / |1 - alpha|."""
    noise = drawn(6, 5)
    log_w = log_weights(noise)
    for alpha, limit, tolerance in (
        (0.0, log_w.logsumexp(0) - math.log(6), 1e-12),
        (-100.0, log_w.amax(0), math.log(6) / 101),
        (100.0, log_w.amin(0), math.log(6) / 99),
    ):
        found = value(bound_of("renyi", samples=6, alpha=alpha), noise)
        assert found == pytest.approx(float(limit.mean()), abs=tolerance)


def test_renyi_near_one_is_the_elbo() -> None:
    """On either side of alpha = 1 it departs from the ELBO in proportion to alpha - 1, so that the mean of both does not."""
    noise, step = drawn(6, 5), 2e-3
    both = [value(bound_of("renyi", samples=6, alpha=1 + sign * step), noise) for sign in (-1, 1)]
    assert both[0] > both[1]
    assert sum(both) / 2 == pytest.approx(float(log_weights(noise).mean(0).mean()), abs=1e-4)


def renyi_divergence(alpha: float, q: tuple[float, float], p: tuple[float, float]) -> float:
    """D_alpha(q || p) of two normals given as (mean, variance) (Gil, Alajaji and Linder 2013)."""
    between = alpha * p[1] + (1 - alpha) * q[1]
    logs = math.log(between) - (1 - alpha) * math.log(q[1]) - alpha * math.log(p[1])
    return 0.5 * alpha * (q[0] - p[0]) ** 2 / between + 0.5 * logs / (1 - alpha)


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.5, 1.5])
def test_with_many_samples_renyi_is_log_p_less_the_renyi_divergence(alpha: float) -> None:
    q, p = (0.2, math.exp(-0.4)), (2 / 3, 1 / 3)
    limit = EVIDENCE - renyi_divergence(alpha, q, p)
    assert value(bound_of("renyi", samples=2_000_000, alpha=alpha), drawn(2_000_000, 1)) == pytest.approx(
        limit, abs=0.005
    )
    assert (limit > EVIDENCE) == (alpha < 0)
    assert (limit < ELBO) == (alpha > 1)


def test_renyi_at_minus_one_goes_to_the_upper_bound_of_the_second_moment() -> None:
    """CUBO_2 = log p + log(1 + chi^2) / 2 (Dieng et al. 2017)."""
    found = value(bound_of("renyi", samples=2_000_000, alpha=-1.0), drawn(2_000_000, 1))
    assert found == pytest.approx(EVIDENCE + 0.5 * math.log1p(CHI_SQUARE), abs=0.005)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.3, 2.0])
def test_renyi_keeps_the_laws_of_where_it_says_its_limit_is(alpha: float) -> None:
    check_bound(node_of("bound", "renyi", alpha=alpha))


@pytest.mark.parametrize("elbo_weight", [0.0, 0.5, 1.0])
def test_ciwae_keeps_the_laws(elbo_weight: float) -> None:
    check_bound(node_of("bound", "ciwae", elbo_weight=elbo_weight))


def test_a_limit_that_is_not_declared_is_found_out() -> None:
    class Swapped(MIWAE):
        """M samples inside a bound, K bounds averaged."""

        def groups(self, log_w: Tensor) -> Tensor:
            return log_w.unflatten(0, (self.averages, self.samples))

    class Claims(IWAE):
        def __init__(self, samples: int = 5) -> None:
            super().__init__(samples)

    with pytest.raises(AssertionError, match="is not the ELBO"):
        check_bound(Swapped)
    for claim, says in (("upper_bound", "come near"), ("under_elbo", "exceeds the ELBO")):
        Claims.traits = Traits(provides=frozenset({claim}))
        with pytest.raises(AssertionError, match=says):
            check_bound(Claims)


# ---- gradients


class Mechanism(Reweighted, IWAE):
    """IWAE put together from the shares that its gradient has by each way."""

    def shares(self, log_w: Tensor) -> Shares:
        share = log_w.softmax(0)
        return Shares(share, share, share)


def small_vae(prior: str) -> VAE:
    settings = config.resolve(
        compose("latent_dim=3", "encoder.hidden=[8]", "decoder.hidden=[8]", f"prior={prior}", "trainer.max_steps=10")
    )
    torch.manual_seed(0)
    return build_model(settings, Spec((1, 3, 2), "binary", {"train": 100})).double()


def vae_gradients(bound: Any, model: VAE, generator: int = 0) -> Gradients:
    """Of the loss, by every parameter of the model."""
    x = (drawn(5, 6).reshape(5, 1, 3, 2) > 0).double()
    noise = drawn(bound.draws, 5 * 3, generator).view(-1, 5, 3)
    loss = bound(model.terms(Batch(x), noise), weights(), Identity())
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_the_mechanism_reproduces_the_gradient_of_iwae(prior: str) -> None:
    model = small_vae(prior)
    expected = vae_gradients(bound_of("iwae", samples=7), model)
    for name, gradient in vae_gradients(Mechanism(7), model).items():
        same(gradient, expected[name])


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_dreg_and_stl_leave_the_gradient_of_the_model_alone(name: str, prior: str) -> None:
    model = small_vae(prior)
    found, expected = (vae_gradients(bound_of(bound, samples=7), model) for bound in (name, "iwae"))
    for parameter, gradient in found.items():
        if parameter.startswith("encoder"):
            assert not torch.allclose(gradient, expected[parameter], rtol=1e-3)
        else:
            same(gradient, expected[parameter])


def test_the_path_of_dreg_draw_by_draw() -> None:
    """Sum of squared shares times d log w / dz dz / dphi, each draw's taken by itself."""
    noise = drawn(4, 1)
    shares = log_weights(noise).softmax(0)
    expected = dict.fromkeys(Q, 0.0)
    for k in range(4):
        loc, log_scale = (p.clone().requires_grad_() for p in (LOC, LOG_SCALE))
        z = loc + log_scale.exp() * noise[k]
        log_w = Normal(0.0, 1.0).log_prob(z) + Normal(z, math.sqrt(0.5)).log_prob(torch.tensor(OBSERVED))
        log_w = log_w - Normal(LOC, LOG_SCALE.exp()).log_prob(z)
        for name, gradient in zip(Q, torch.autograd.grad(log_w.sum(), (loc, log_scale)), strict=True):
            expected[name] += float(shares[k] ** 2 * gradient)
    found = gradients(bound_of("dreg", samples=4), noise)
    for name in Q:
        assert float(found[name]) == pytest.approx(expected[name], abs=1e-12)


def paired(name: str, samples: int, repetitions: int = 50_000) -> tuple[Gradients, Gradients]:
    """Gradients of a bound and of IWAE at the same noise."""
    noise = drawn(samples, repetitions, seed=10 + samples)
    return gradients(bound_of(name, samples=samples), noise), gradients(bound_of("iwae", samples=samples), noise)


@pytest.mark.parametrize("samples", [1, 2, 5, 20])
def test_the_mean_gradient_of_dreg_is_that_of_iwae(samples: int) -> None:
    found, iwae = paired("dreg", samples)
    for name in Q:
        mean_is(found[name] - iwae[name], 0.0, f"gradient by the {name} of q, against IWAE's", largest_error=0.01)
        assert float(found[name].var()) < 0.8 * float(iwae[name].var()), f"{name}: no less noise than IWAE's"
    for name in MODEL:
        same(found[name], iwae[name])


def test_the_gradient_of_stl_is_unbiased_with_one_sample_only() -> None:
    found, iwae = paired("stl", 1)
    for name in (*Q, *MODEL):
        mean_is(found[name] - iwae[name], 0.0, f"gradient by the {name}, against the ELBO's", largest_error=0.01)
    for samples in (2, 5, 20):
        found, iwae = paired("stl", samples)
        for name in Q:
            with pytest.raises(AssertionError, match=name):
                mean_is(found[name] - iwae[name], 0.0, name)
        for name in MODEL:
            same(found[name], iwae[name])


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_at_the_exact_posterior_no_draw_moves_q(name: str, samples: int) -> None:
    noise = drawn(samples, 50)
    found, iwae = (gradients(bound_of(bound, samples=samples), noise, *EXACT) for bound in (name, "iwae"))
    for parameter in Q:
        assert found[parameter].abs().max() < 1e-6
        assert iwae[parameter].abs().max() > 0.1


@pytest.mark.parametrize(("samples", "averages"), [(4, 3), (1, 6), (6, 1)])
def test_piwae_moves_the_model_as_iwae_and_q_as_miwae(samples: int, averages: int) -> None:
    noise = drawn(samples * averages, 50)
    found = gradients(bound_of("piwae", samples=samples, averages=averages), noise)
    iwae = gradients(bound_of("iwae", samples=samples * averages), noise)
    miwae = gradients(bound_of("miwae", samples=samples, averages=averages), noise)
    for names, expected in ((Q, miwae), (MODEL, iwae)):
        for name in names:
            same(found[name], expected[name])


def test_piwae_in_single_precision_where_a_draw_holds_all_the_weight() -> None:
    """A draw with a share of e^-200 of all weights may be the best of its own bound."""
    noise = torch.tensor([[0.0], [30.0], [29.5], [30.5]])  # two bounds, of draws 0, 2 and of draws 1, 3
    start = LOC.float(), LOG_SCALE.float()
    found = gradients(PIWAE(2, 2), noise, *start)
    for names, exact in ((Q, MIWAE(2, 2)), (MODEL, IWAE(4))):
        expected = gradients(exact, noise.double())
        for name in names:
            same(found[name].double(), expected[name], 1e-4)


@pytest.mark.parametrize("name", ["iwae", "miwae", "ciwae", "renyi"])
def test_the_gradient_of_a_plain_bound_is_that_of_its_value(name: str) -> None:
    """By finite differences at the same noise."""
    bound = bound_of(name, samples=3)
    noise = drawn(bound.draws, 3)

    def loss(loc: Tensor, log_scale: Tensor) -> Any:
        return bound(conjugate_terms(noise, loc, log_scale), weights(), Identity())

    assert torch.autograd.gradcheck(loss, (LOC.clone().requires_grad_(), LOG_SCALE.clone().requires_grad_()))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_loss_that_is_scaled_has_its_gradient_scaled(scale: float) -> None:
    """As gradient accumulation does."""
    model, bound = small_vae("normal"), bound_of("dreg", samples=4)
    expected = vae_gradients(bound, model)

    def scaled(*parts: Any) -> Any:
        return scale * bound(*parts)

    scaled.draws = bound.draws  # type: ignore[attr-defined]
    for name, gradient in vae_gradients(scaled, model).items():
        same(gradient, scale * expected[name])


@every("bound")
def test_a_loss_without_gradients_is_the_same(name: str) -> None:
    """As a validation asks for it; and the hook that it leaves behind is none."""
    bound = bound_of(name)
    loc = LOC.clone().requires_grad_()
    terms = conjugate_terms(drawn(bound.draws, 6), loc, LOG_SCALE)
    with torch.no_grad():
        silent = float(bound(terms, weights(), Identity()))
        assert silent == -value(bound, drawn(bound.draws, 6))
    (gradient,) = torch.autograd.grad(terms.z.sum(), loc)
    assert float(gradient) == terms.z.numel()
    frozen = conjugate_terms(drawn(bound.draws, 6), LOC, LOG_SCALE)
    assert float(bound(frozen, weights(), Identity())) == silent


# ---- what is refused, and distributions with their parameters held fixed


def test_combinations_are_refused_with_the_reason() -> None:
    posterior = Traits(provides=frozenset({"factorised_posterior"}))
    single = ("trainer.precision=32-true", Traits(provides=frozenset({"wide_gradients"})))
    on_z = ("regularizer=any", Traits(needs={"pathwise_z": "it sends a gradient through z"}))
    lab = ("the lab", Traits(provides=frozenset({"pathwise_z", "stoppable_posterior"})))

    def refused(name: str, *others: tuple[str, Traits]) -> list[str]:
        return conflicts([(f"bound={name}", declared(node_of("bound", name))), single, *others])

    stop = "it evaluates log q(z|x) with the parameters of q held fixed, which the posterior must allow"
    for name in ("dreg", "stl", "piwae"):
        assert refused(name, ("posterior=any", posterior)) == [f"bound={name} cannot be used here: {stop}"]
        assert refused(name, ("posterior=diagonal", declared(node_of("posterior", "diagonal")))) == []
    for name in ("dreg", "piwae"):
        assert refused(name, lab, on_z) == [
            f"regularizer=any does not go with bound={name}: it sends a gradient through z, "
            "but the bound rescales every gradient that reaches z"
        ]
    for name in ("stl", "miwae", "ciwae", "renyi"):
        assert refused(name, lab, on_z) == []


@pytest.mark.parametrize("name", ["dreg", "stl", "miwae", "ciwae", "piwae", "renyi"])
def test_none_has_a_rate_to_weight(name: str) -> None:
    assert "additive_rate" in declared(node_of("bound", name)).forbids


def test_renyi_of_order_one_is_refused() -> None:
    with pytest.raises(RequestError, match=r"bound\.alpha: 1\.0 given; must not be 1"):
        build(node_of("bound", "renyi", alpha=1.0))


@every("posterior")
def test_a_posterior_that_can_be_stopped_is_the_same_density(name: str) -> None:
    node = node_of("posterior", name)
    if "stoppable_posterior" not in declared(node).provides:
        pytest.skip("it does not say that it can be stopped")
    posterior = make(node, latent_dim=3)
    raw = drawn(4, posterior.outputs).requires_grad_()
    q = posterior(raw, Plain())
    fixed = stopped(q)
    z = drawn(5, 4 * 3).view(5, 4, 3).requires_grad_()
    assert torch.equal(fixed.log_prob(z), q.log_prob(z))
    by_z: Callable[[Any], Tensor] = lambda p: torch.autograd.grad(p.log_prob(z).sum(), z)[0]  # noqa: E731
    assert torch.equal(by_z(fixed), by_z(q))
    assert not fixed.log_prob(z.detach()).requires_grad
    assert q.log_prob(z.detach()).requires_grad


def test_stopped_knows_the_standard_normal_and_says_what_it_does_not_know() -> None:
    p = standard(torch.zeros(2))
    assert torch.equal(stopped(p).log_prob(torch.ones(2)), p.log_prob(torch.ones(2)))
    with pytest.raises(TypeError, match="parameters of Laplace is not known"):
        stopped(Independent(Laplace(torch.zeros(2), torch.ones(2)), 1))


def test_a_third_party_tells_its_family() -> None:
    class Own(Gaussian):
        pass

    @stopped.register
    def _(q: Own) -> Own:
        return Own(q.loc.detach(), q.log_scale.detach())

    assert type(stopped(Own(torch.zeros(2), torch.zeros(2)))) is Own
