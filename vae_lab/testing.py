"""The laws of every kind of part, as plain functions that anybody can run on parts of their own.

A law takes an option: the settings of a YAML file (a mapping with `_target_`), a class, or a module that is built
already. It returns nothing, or raises `AssertionError` with the law that broke and by how much. Random checks have a
seed of their own, leave the caller's generator alone, and allow four standard errors.

    >>> check_prior({"_target_": "vae_lab.models.priors.StandardNormalPrior"}, latent_dim=2)
    >>> check_beta({"_target_": "vae_lab.objectives.beta.Linear", "warmup": 10})
"""

import contextlib
import copy
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, kl_divergence

from vae_lab.build import build, locate
from vae_lab.check import traits_of
from vae_lab.distributions import diagonal, per_dimension_kl, standard
from vae_lab.errors import RequestError
from vae_lab.models import Terms
from vae_lab.models.parametrizations import Plain
from vae_lab.objectives.rate import Identity
from vae_lab.traits import Traits

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
    traits = getattr(option, "traits", None)
    return traits if isinstance(traits, Traits) else Traits()


# ---- priors and posteriors


def check_prior(option: Option, latent_dim: int) -> None:
    """p(z) is a normalised density over (k,), its samples follow it, its gradients reach every parameter, a state dict
    restores it to the bit, and where its KL is closed it is the expectation that it stands for.

    A prior whose rate does not split over latents must say so in its traits (no `factorised_prior` among what it provides).
    """
    with _seeded():
        prior = _scrambled(make(option, latent_dim=latent_dim))
        p = prior()
        assert isinstance(p, Distribution), f"forward() must give a distribution, not {type(p).__name__}"
        _equal(p.batch_shape, (), "batch shape of p(z)")
        _equal(p.event_shape, (latent_dim,), "event shape of p(z)")
        with torch.no_grad():
            z = p.sample(torch.Size([50_000]))
            _equal(z.shape, (50_000, latent_dim), "shape of samples")
            _equal(p.log_prob(z).shape, (50_000,), "shape of log_prob")
            _check_integral(p, z)
            _check_samples(p, z)
            _check_entropy(p, z)
            _check_kl(p, latent_dim, splits="factorised_prior" in declared(option).provides)
        _check_gradients(prior, lambda: prior().log_prob(z[:200]).sum())
        _check_state(prior, lambda: make(option, latent_dim=latent_dim), lambda module: module().log_prob(z[:200]))


def check_posterior(option: Option, latent_dim: int) -> None:
    """`reparametrize(q, noise)` has the law of q, as a density and in its moments; it is a differentiable pure function
    of q and of the noise of its own example; every raw output matters."""
    with _seeded():
        posterior = _scrambled(make(option, latent_dim=latent_dim))
        raw = (0.7 * torch.randn(3, posterior.outputs)).requires_grad_()
        noise = torch.randn(50_000, 3, posterior.noise_dim)
        q = posterior(raw, Plain())
        _equal(q.batch_shape, (3,), "batch shape of q(z|x)")
        _equal(q.event_shape, (latent_dim,), "event shape of q(z|x)")
        z = posterior.reparametrize(q, noise)
        _equal(z.shape, (50_000, 3, latent_dim), "shape of reparametrized samples")
        with torch.no_grad():
            for samples in (z, q.sample(torch.Size([50_000]))):
                _check_samples(q, samples)
                _check_entropy(q, samples)
                _check_moments(q, samples)
        _check_own_noise(posterior, q, noise[:5])
        for what, value in (("samples", (z[:50] + 1).square().sum()), ("density", q.log_prob(z[:50].detach()).sum())):
            (gradient,) = torch.autograd.grad(value, raw, retain_graph=True)
            assert gradient.isfinite().all(), f"a gradient of the {what} is not finite"
            assert (gradient != 0).any(0).all(), f"some raw output does not move the {what}"


def check_parametrization(option: Option, latent_dim: int) -> None:
    """Location and log-scale keep their shapes and stay finite and differentiable; in eval mode an example does not
    depend on the others of its batch; a state dict restores it to the bit."""
    with _seeded():
        module = make(option, latent_dim=latent_dim)
        loc, log_scale = torch.randn(2, 8, latent_dim).requires_grad_()
        module(loc, log_scale)  # an update of running statistics, if there are any
        module.eval()
        for given, made in zip((loc, log_scale), module(loc, log_scale), strict=True):
            _equal(made.shape, given.shape, "shape of location and log-scale")
            assert made.isfinite().all(), "a location or log-scale is not finite"
        _near(
            torch.stack(module(loc[:3], log_scale[:3])), torch.stack(module(loc, log_scale))[:, :3], "an example alone"
        )
        _check_gradients(module, lambda: torch.stack(module(loc, log_scale)).square().sum())
        ask = lambda m: torch.stack(m(loc, log_scale))  # noqa: E731
        _check_state(module, lambda: make(option, latent_dim=latent_dim), ask)


def _check_own_noise(posterior: nn.Module, q: Distribution, noise: Tensor) -> None:
    reparametrize: Callable[..., Tensor] = posterior.reparametrize  # type: ignore[assignment]
    before, again = reparametrize(q, noise), reparametrize(q, noise)
    assert torch.equal(before, again), "reparametrize must give the same samples for the same noise"
    other = noise.clone()
    other[:, 0] += 1
    changed = (reparametrize(q, other) != before).flatten(2).any(2).any(0).tolist()
    _equal(changed, [True, False, False], "examples whose samples change with the noise of the first one")


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
        _mean_is(sampled, float(exact), "KL(q || p) by sampling, against its closed form")
    if parts is not None:
        _equal(parts.shape, (3, latent_dim), "shape of per_dimension_kl")
        _near(parts.sum(-1), closed, "per_dimension_kl summed")


# ---- likelihoods


def check_likelihood(option: Option) -> None:
    """p(x|z) is a normalised density or mass over x of the declared shape, summed over pixels; its samples follow it;
    gradients reach the raw parameters and its own; a state dict restores it to the bit.

    The values that one pixel may take are {0, 1} where the traits need binary x, those of an attribute `values` where
    there is one, else any real number.
    """
    with _seeded():
        for shape, lead in itertools.product(((1, 2, 3), (4,)), ((), (5,), (2, 5))):
            likelihood = make(option, shape=list(shape))
            p = likelihood(_raw(lead, shape, likelihood.arity))
            _equal(p.event_shape, shape, "event shape of p(x|z)")
            _equal(p.batch_shape, lead, "batch shape of p(x|z)")
            _equal(p.log_prob(_pixels(option, likelihood, (*lead, *shape))).shape, lead, "shape of log_prob")
        for _ in range(3):
            _check_mass(option)
        _check_sum(option)
        _check_likelihood_gradients(option)


def _trained(option: Option, shape: Shape) -> Any:
    """A likelihood that has seen three batches, in eval mode, with parameters off their starting values."""
    likelihood = make(option, shape=list(shape))
    for _ in range(3):
        raw = _raw((20,), shape, likelihood.arity)
        likelihood(raw).log_prob(_pixels(option, likelihood, (20, *shape)))
    return _scrambled(likelihood).eval()


def _raw(lead: Shape, shape: Shape, arity: int) -> Tensor:
    return 0.7 * torch.randn(*lead, *shape, arity)


def _values(option: Option, likelihood: nn.Module) -> Tensor | None:
    if "binary_x" in declared(option).needs:
        return torch.tensor([0.0, 1.0])
    return getattr(likelihood, "values", None)


def _pixels(option: Option, likelihood: nn.Module, shape: Shape) -> Tensor:
    values = _values(option, likelihood)
    return torch.randn(shape) if values is None else values[torch.randint(len(values), shape)]


@torch.no_grad()
def _check_mass(option: Option) -> None:
    """Everything that x can be has probability one in all."""
    likelihood = _trained(option, (1,))
    values = _values(option, likelihood)
    if values is not None and len(values) <= 4:
        likelihood = _trained(option, (1, 2, 3))
        images = _all_images((1, 2, 3), values)
        p = likelihood(_raw((), (1, 2, 3), likelihood.arity))
        _check_frequencies(p.sample(torch.Size([10_000])), images, p.log_prob(images))
    else:
        p = likelihood(_raw((), (1,), likelihood.arity))
        _check_pixel(p, values)


def _check_pixel(p: Distribution, values: Tensor | None) -> None:
    x = p.sample(torch.Size([50_000]))
    if values is not None:
        _check_frequencies(x, values.unsqueeze(-1), p.log_prob(values.unsqueeze(-1)))
    else:
        _check_integral(p, x)
        _check_samples(p, x)


def _check_sum(option: Option) -> None:
    """Twice the pixels, each as likely as before, have twice the log-probability: a sum, and no mean."""
    small, large = _trained(option, (1, 2, 3)), make(option, shape=[1, 4, 3])
    large.load_state_dict(small.state_dict())
    raw, x = _raw((2,), (1, 2, 3), small.arity), _pixels(option, small, (2, 1, 2, 3))
    for training in (False, True):
        small.train(training)
        large.train(training)
        once = small(raw).log_prob(x)
        twice = large(torch.cat([raw, raw], -3)).log_prob(torch.cat([x, x], -2))
        _near(twice, 2 * once, "log-probability of an image of twice the pixels, against twice that of one")


def _check_likelihood_gradients(option: Option) -> None:
    for training in (True, False):
        likelihood = _trained(option, (1, 2, 3)).train(training)
        raw, x = _raw((3,), (1, 2, 3), likelihood.arity), _pixels(option, likelihood, (3, 1, 2, 3))
        raw.requires_grad_()
        (gradient,) = torch.autograd.grad(likelihood(raw).log_prob(x).sum(), raw)
        assert gradient.isfinite().all(), "a gradient is not finite"
        assert (gradient != 0).flatten(0, -2).any(0).all(), "some of the decoder's outputs get no gradient"
        _check_gradients(likelihood, lambda: likelihood(raw.detach()).log_prob(x).sum())  # noqa: B023
    _check_state(likelihood, lambda: make(option, shape=[1, 2, 3]), lambda module: module(raw).log_prob(x))


# ---- encoders and decoders


def check_encoder(option: Option, shapes: Sequence[Shape] = SHAPES) -> None:
    """Maps x, (B, *shape), to (B, outputs) for every shape that it takes; in eval mode each example by itself;
    gradients reach every parameter; a state dict restores it to the bit.

    It refuses a shape by its traits (`needs` image) or by a ValueError of its constructor.
    """
    with _seeded():
        built = list(_built(option, shapes))
        for encoder, context in built:
            _check_encoder_at(option, encoder, context)
        assert built, f"the encoder takes none of the shapes {shapes}"


def check_decoder(option: Option, shapes: Sequence[Shape] = SHAPES) -> None:
    """p(x|z) has batch z.shape[:-1] and event `shape` for every shape that it takes and for likelihoods of one and two
    raw numbers a pixel; dimensions in front of z are only a way to write a batch; over all binary images its
    probabilities sum to one and its samples have those frequencies; gradients reach every parameter, and z.

    A decoder that provides `autoregressive` has a `conditional(x, z)` whose output for a pixel depends neither on it
    nor on any later one.
    """
    with _seeded():
        small = [shape for shape in shapes if math.prod(shape) <= 100]
        built = [*_built(option, shapes, arity=1), *_built(option, small, arity=2)]
        for decoder, context in built:
            _check_decoder_at(option, decoder, context)
        assert built, f"the decoder takes none of the shapes {shapes}"
        for decoder, context in _built(option, TINY):
            _check_decoder_mass(decoder.eval(), tuple(context["shape"]), context["latent_dim"])
            if "autoregressive" in declared(option).provides:
                _check_causality(decoder, tuple(context["shape"]), context["latent_dim"])


def dependence(decoder: nn.Module, shape: Shape, latent_dim: int, draws: int = 3) -> Tensor:
    """Which pixels the conditional of each pixel depends on, (n, n) bool, by gradients in float64: [i, j] is True if
    some parameter of pixel i (of any channel) moves with pixel j. Pixels are counted row by row."""
    double = copy.deepcopy(decoder).double()
    conditional: Callable[..., Tensor] = double.conditional  # type: ignore[assignment]
    channels = shape[0] if len(shape) == 3 else 1
    n = math.prod(shape) // channels
    found = torch.zeros(n, n, dtype=torch.bool)
    for _ in range(draws):
        x, z = torch.rand(1, *shape, dtype=torch.float64), torch.randn(1, latent_dim, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x, z=z: conditional(x, z), x, vectorize=True)
        assert isinstance(jacobian, Tensor)
        found |= (jacobian != 0).view(channels, n, -1, channels, n).any(3).any(2).any(0)
    return found


def _built(option: Option, shapes: Sequence[Shape], arity: int = 1) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """The module for each shape that the traits and the constructor allow, with three latents or, where those are
    refused, with as many as x has coordinates; and what its constructor was given."""
    for shape in shapes:
        if len(shape) == 3 or "image" not in declared(option).needs:
            for latent_dim in (3, math.prod(shape)):
                context = {"shape": list(shape), "latent_dim": latent_dim, "outputs": 2 * latent_dim, "arity": arity}
                with contextlib.suppress(RequestError, ValueError):
                    module = make(option, **context)
                    yield module, context
                    break


def _check_encoder_at(option: Option, encoder: nn.Module, context: dict[str, Any]) -> None:
    x = torch.rand(3, *context["shape"])
    _equal(
        encoder(x).shape, (3, context["outputs"]), f"shape of the encoder's output for x of shape {context['shape']}"
    )
    _check_gradients(encoder, lambda: (encoder(x) + 1).square().sum())
    encoder.eval()
    _near(encoder(x[:1]), encoder(x)[:1], "an example alone, against the same in a batch")
    _check_state(encoder, lambda: make(option, **context), lambda module: module(x))


def _stand_in(shape: Shape, arity: int) -> Callable[[Tensor], Distribution]:
    """A likelihood of one raw number a pixel (binary x), or of two (location and log-scale)."""

    def likelihood(raw: Tensor) -> Distribution:
        if arity == 1:
            return Independent(Bernoulli(logits=raw[..., 0]), len(shape))
        return diagonal(raw[..., 0], raw[..., 1], len(shape))

    return likelihood


def _check_decoder_at(option: Option, decoder: nn.Module, context: dict[str, Any]) -> None:
    shape = tuple(context["shape"])
    likelihood = _stand_in(shape, context["arity"])
    z, x = torch.randn(2, 3, context["latent_dim"]).requires_grad_(), torch.rand(3, *shape).round()
    p = decoder(z, likelihood)
    _equal(p.batch_shape, (2, 3), f"batch shape of p(x|z) for x of shape {shape}")
    _equal(p.event_shape, shape, "event shape of p(x|z)")
    if math.prod(shape) <= 64:
        _equal(p.sample().shape, (2, 3, *shape), "shape of a sample of x")
    _check_gradients(decoder, lambda: decoder(z, likelihood).log_prob(x).sum())
    (gradient,) = torch.autograd.grad(p.log_prob(x).sum(), z)
    assert (gradient != 0).any(-1).all(), "some z gets no gradient"
    decoder.eval()
    _check_leading_dimensions(decoder, likelihood, z.detach(), x)
    _check_state(decoder, lambda: make(option, **context), lambda module: module(z, likelihood).log_prob(x))


def _check_leading_dimensions(decoder: nn.Module, likelihood: Any, z: Tensor, x: Tensor) -> None:
    """A call with (K, B) of z is the calls with each z."""
    together = decoder(z, likelihood).log_prob(x)
    flat = decoder(z.flatten(0, 1), likelihood).log_prob(x.repeat(2, *[1] * (x.dim() - 1))).view(2, 3)
    alone = torch.stack(
        [decoder(z[k, b : b + 1], likelihood).log_prob(x[b : b + 1])[0] for k in (0, 1) for b in range(3)]
    )
    _near(together, flat, "log-probabilities for z of shape (K, B, k), against the flattened call")
    _near(flat.flatten(), alone, "log-probabilities of a batch, against those of single examples")


def _check_decoder_mass(decoder: nn.Module, shape: Shape, latent_dim: int) -> None:
    """Probabilities of all 2^n binary images, and the frequencies of samples, for three z."""
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(1.5).add_(0.05 * torch.randn_like(parameter))
        images, likelihood = _all_images(shape), _stand_in(shape, 1)
        for z in torch.randn(3, 1, latent_dim):
            log_p = decoder(z.expand(len(images), -1), likelihood).log_prob(images)
            _check_frequencies(decoder(z.expand(10_000, -1), likelihood).sample(), images, log_p)


def _check_causality(decoder: nn.Module, shape: Shape, latent_dim: int) -> None:
    found = dependence(decoder, shape, latent_dim)
    late = found.triu()
    assert not late.any(), f"pixel i depends on itself or a later pixel j, for (i, j) = {late.nonzero().tolist()}"
    assert found.any(), "no pixel depends on an earlier one"


# ---- bounds, weights and transforms of the rate


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
    attribute `samples` how many draws of z it wants.
    """
    with _seeded():
        additive = "additive_rate" in declared(option).provides
        loc, log_scale = torch.tensor([0.2]), torch.tensor([-0.2])
        exact = float(conjugate_elbo(loc, log_scale))
        values: list[float] = []
        for n in samples:
            bound = _with_samples(option, n)
            value, error = _bound_value(bound, loc, log_scale)
            slack = 4 * error + 1e-5
            assert value <= EVIDENCE + slack, f"{n} samples: {value:.4f} exceeds log p(x) = {EVIDENCE:.4f}: no bound"
            assert value >= exact - slack, f"{n} samples: {value:.4f} is under the ELBO {exact:.4f}"
            if additive or bound.samples == 1:
                assert abs(value - exact) <= slack, f"{n} samples: {value:.4f} is not the ELBO {exact:.4f}"
            if not additive and n >= 50:
                assert EVIDENCE - value <= 0.25 * (EVIDENCE - exact) + slack, f"{n} samples do not come near log p(x)"
            if values:
                assert value >= values[-1] - slack, f"falls from {values[-1]:.4f} to {value:.4f} as samples are added"
            values.append(value)
            _check_bound_batch(bound, additive)
        _check_bound_gradient(_with_samples(option, 1), loc, log_scale)


def _with_samples(option: Option, n: int) -> Any:
    return make({**option, "samples": n} if isinstance(option, Mapping) else option, samples=n)


def _one(beta: float = 1.0) -> Tensor:
    return torch.tensor(beta)


def _bound_value(bound: Any, loc: Tensor, log_scale: Tensor, batches: int = 100) -> tuple[float, float]:
    """Minus the loss, with its standard error over batches of 100 copies."""
    terms = (conjugate_terms(torch.randn(bound.samples, 100), loc, log_scale) for _ in range(batches))
    losses = torch.stack([bound(t, _one(), Identity()) for t in terms]).detach().double()
    _equal(losses.shape, (batches,), "shape of the losses (each a scalar)")
    return -float(losses.mean()), float(losses.std()) / math.sqrt(batches)


def _check_bound_batch(bound: Any, additive: bool) -> None:
    noise = torch.randn(bound.samples, 3) * torch.tensor([0.3, 1.0, 3.0])
    loc, log_scale = torch.tensor([0.2]), torch.tensor([-0.2])

    def loss(rows: Tensor, beta: float = 1.0) -> Tensor:
        return bound(conjugate_terms(rows, loc, log_scale), _one(beta), Identity())

    alone = torch.stack([loss(noise[:, i : i + 1]) for i in range(3)])
    _near(
        loss(noise), alone.mean(), "the loss of a batch, against the mean of its examples' (samples are not examples)"
    )
    rate = conjugate_terms(noise, loc, log_scale).rate.mean() if additive else torch.zeros(())
    _near(loss(noise, 3.0) - loss(noise), 2 * rate, "what two more units of beta add to the loss")


def _check_bound_gradient(bound: Any, loc: Tensor, log_scale: Tensor) -> None:
    loc, log_scale = loc.clone().requires_grad_(), log_scale.clone().requires_grad_()
    exact = torch.autograd.grad(-conjugate_elbo(loc, log_scale).sum(), (loc, log_scale))
    drawn = []
    for _ in range(200):
        loss = bound(conjugate_terms(torch.randn(bound.samples, 50), loc, log_scale), _one(), Identity())
        drawn.append(torch.cat(torch.autograd.grad(loss, (loc, log_scale))))
    for name, column, value in zip(("location", "log-scale"), torch.stack(drawn).unbind(1), exact, strict=True):
        _mean_is(column, float(value), f"gradient by the {name} of q with one sample, against the ELBO's")


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
    with _seeded():
        transform, needs = make(option, latent_dim=latent_dim), declared(option).needs
        rates = torch.rand(12, latent_dim).mul(4).requires_grad_()
        value = transform(rate_terms(rates))
        _equal(value.shape, (), "shape of the transformed rate")
        assert value.isfinite(), "the transformed rate is not finite"
        _near(transform(rate_terms(rates.flip(0))), value, "the examples in another order")
        (gradient,) = torch.autograd.grad(transform(rate_terms(rates + 10)), rates)
        assert (gradient != 0).all(), "a high rate gets no gradient"
        low = rates.detach().square() / 10  # some parts under a floor, some over
        if "whole_batch" not in needs:
            parts = [transform(rate_terms(part)) for part in low.split(3)]
            _near(transform(rate_terms(low)), torch.stack(parts).mean(), "a batch, against the mean of its parts")
        if "factorised_prior" not in needs:
            whole = rate_terms(low)
            hidden = Terms(whole.distortion, None, whole.rate, whole.z, whole.posterior, whole.prior)
            _near(transform(hidden), transform(whole), "without the rates of single latents")


# ---- tools


@contextlib.contextmanager
def _seeded(seed: int = 0) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _scrambled(module: Any, spread: float = 0.3) -> Any:
    """The module with its parameters moved off their starting values, at which a missing term may be zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return module


def _equal(found: Any, expected: Any, what: str) -> None:
    found = tuple(found) if isinstance(found, torch.Size) else found
    assert found == expected, f"{what}: {found}, not {expected}"


def _near(found: Tensor, expected: Tensor, what: str, relative: float = 1e-4) -> None:
    _equal(found.shape, tuple(expected.shape), f"shape of {what}")
    found, expected = found.detach(), expected.detach()
    worst = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    assert worst <= relative, f"{what}: differs by {worst:.1e} (relative)"


def _mean_is(values: Tensor, expected: float, what: str, largest_error: float = math.inf, errors: float = 4.0) -> None:
    """The mean of independent values is `expected`, within four standard errors (five where many are compared)."""
    values = values.detach().double().flatten()
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    assert error <= largest_error, f"{what}: the standard error {error:.2g} is too large to tell"
    near = abs(mean - expected) <= errors * error + 1e-5 * max(1, abs(expected))
    assert near, f"{what}: {mean:.6g} +- {error:.2g}, not {expected:.6g}"


def _check_gradients(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Every parameter gets a gradient that is finite and not zero throughout."""
    names, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())
    if not parameters:
        return
    for name, gradient in zip(names, torch.autograd.grad(loss(), parameters, allow_unused=True), strict=True):
        reached = gradient is not None and bool((gradient != 0).any())
        assert reached, f"no gradient reaches the parameter {name}"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"


def _check_state(module: nn.Module, again: Callable[[], nn.Module], ask: Callable[[nn.Module], Tensor]) -> None:
    """A module built again from another seed and given the state dict answers the same, to the bit."""
    with _seeded(12345):
        other = _scrambled(again())
    other.load_state_dict(module.state_dict())
    assert torch.equal(ask(other.eval()), ask(module.eval())), "a state dict does not restore the module to the bit"


def _check_entropy(p: Distribution, z: Tensor) -> None:
    try:
        entropy = p.entropy()
    except NotImplementedError:
        return
    surprise = -p.log_prob(z).reshape(len(z), -1)
    for column, expected in zip(surprise.unbind(1), entropy.flatten(), strict=True):
        _mean_is(column, float(expected), "mean of -log_prob over samples, against the entropy")


def _check_moments(p: Distribution, z: Tensor) -> None:
    with contextlib.suppress(NotImplementedError):
        for column, mean in zip(z.flatten(1).unbind(1), p.mean.flatten(), strict=True):
            _mean_is(column, float(mean), "mean of the samples")
        squares = (z - p.mean).square().flatten(1)
        for column, variance in zip(squares.unbind(1), p.variance.flatten(), strict=True):
            _mean_is(column, float(variance), "variance of the samples")


def _check_samples(p: Distribution, z: Tensor) -> None:
    r"""Samples follow the density: :math:`E_p[r(z) / p(z)] = 1` for narrow densities r around three samples (not
    the least likely ones); in one dimension, and with no batch, Kolmogorov and Smirnov's distance too (at 1e-4)."""
    width, first = 0.5 * z.std(0), z[:20]
    order = p.log_prob(first).argsort(0, descending=True)
    for rank in (0, 4, 9):
        center = first.gather(0, order[rank : rank + 1].unsqueeze(-1).expand(1, *z.shape[1:]))[0]
        log_r = Normal(center, width).log_prob(z).sum(-1)
        weights = (log_r - p.log_prob(z)).exp().reshape(len(z), -1)
        for column in weights.unbind(1):
            _mean_is(column, 1.0, "samples against the density (mean of r/p for a narrow density r)", 0.2, 5.0)
    if z.dim() == 2 and z.shape[1] == 1:
        points, mass = _line(p, z)
        cdf = torch.cumsum(mass, 0) - mass / 2
        at = _interpolated(z.flatten().double().sort().values, points, cdf)
        distance = float((at - (torch.arange(len(z)) + 0.5) / len(z)).abs().max())
        assert distance * math.sqrt(len(z)) < 2.23, f"samples do not follow the density: distance {distance:.3f}"


def _check_integral(p: Distribution, z: Tensor) -> None:
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
        _mean_is(weights, 1.0, "the integral of the density, by importance sampling", 0.1)


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


def _all_images(shape: Shape, values: Tensor | None = None) -> Tensor:
    """Every x of a shape whose pixels take the given values (0 and 1), in the order of a number's digits."""
    values = torch.tensor([0.0, 1.0]) if values is None else values
    return torch.cartesian_prod(*[values] * math.prod(shape)).view(-1, *shape)


def _check_frequencies(samples: Tensor, images: Tensor, log_p: Tensor) -> None:
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
