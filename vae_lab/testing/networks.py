"""The laws of encoders and decoders."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent

from vae_lab.distributions import diagonal
from vae_lab.errors import RequestError
from vae_lab.testing.tools import (
    SHAPES,
    TINY,
    Option,
    Shape,
    all_images,
    check_frequencies,
    check_gradients,
    check_state,
    declared,
    equal,
    make,
    near,
    seeded,
)


def check_encoder(option: Option, shapes: Sequence[Shape] = SHAPES) -> None:
    """Maps x, (B, *shape), to (B, outputs) for every shape that it takes; in eval mode each example by itself;
    gradients reach every parameter; a state dict restores it to the bit.

    It refuses a shape by its traits (`needs` image) or by a ValueError of its constructor.
    """
    with seeded():
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
    with seeded():
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
    equal(encoder(x).shape, (3, context["outputs"]), f"shape of the encoder's output for x of shape {context['shape']}")
    check_gradients(encoder, lambda: (encoder(x) + 1).square().sum())
    encoder.eval()
    near(encoder(x[:1]), encoder(x)[:1], "an example alone, against the same in a batch")
    check_state(encoder, lambda: make(option, **context), lambda module: module(x))


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
    equal(p.batch_shape, (2, 3), f"batch shape of p(x|z) for x of shape {shape}")
    equal(p.event_shape, shape, "event shape of p(x|z)")
    if math.prod(shape) <= 64:
        equal(p.sample().shape, (2, 3, *shape), "shape of a sample of x")
    check_gradients(decoder, lambda: decoder(z, likelihood).log_prob(x).sum())
    (gradient,) = torch.autograd.grad(p.log_prob(x).sum(), z)
    assert (gradient != 0).any(-1).all(), "some z gets no gradient"
    decoder.eval()
    _check_leading_dimensions(decoder, likelihood, z.detach(), x)
    check_state(decoder, lambda: make(option, **context), lambda module: module(z, likelihood).log_prob(x))


def _check_leading_dimensions(decoder: nn.Module, likelihood: Any, z: Tensor, x: Tensor) -> None:
    """A call with (K, B) of z is the calls with each z."""
    together = decoder(z, likelihood).log_prob(x)
    flat = decoder(z.flatten(0, 1), likelihood).log_prob(x.repeat(2, *[1] * (x.dim() - 1))).view(2, 3)
    alone = torch.stack(
        [decoder(z[k, b : b + 1], likelihood).log_prob(x[b : b + 1])[0] for k in (0, 1) for b in range(3)]
    )
    near(together, flat, "log-probabilities for z of shape (K, B, k), against the flattened call")
    near(flat.flatten(), alone, "log-probabilities of a batch, against those of single examples")


def _check_decoder_mass(decoder: nn.Module, shape: Shape, latent_dim: int) -> None:
    """Probabilities of all 2^n binary images, and the frequencies of samples, for three z."""
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(1.5).add_(0.05 * torch.randn_like(parameter))
        images, likelihood = all_images(shape), _stand_in(shape, 1)
        for z in torch.randn(3, 1, latent_dim):
            log_p = decoder(z.expand(len(images), -1), likelihood).log_prob(images)
            check_frequencies(decoder(z.expand(10_000, -1), likelihood).sample(), images, log_p)


def _check_causality(decoder: nn.Module, shape: Shape, latent_dim: int) -> None:
    found = dependence(decoder, shape, latent_dim)
    late = found.triu()
    assert not late.any(), f"pixel i depends on itself or a later pixel j, for (i, j) = {late.nonzero().tolist()}"
    assert found.any(), "no pixel depends on an earlier one"
