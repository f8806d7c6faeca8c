"""Each law refuses a wrong implementation of the kind that has been published: a law that cannot fail is no law."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal

from vae_lab.distributions import Autoregressive, Gaussian, diagonal, standard
from vae_lab.models import Terms
from vae_lab.models.decoders import Decoder, MLPDecoder
from vae_lab.models.likelihoods import BernoulliLikelihood, GaussianLikelihood
from vae_lab.models.pixelcnn import PixelCNNDecoder
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.objectives.beta import Cyclical, Linear
from vae_lab.objectives.bounds import ELBO, IWAE
from vae_lab.objectives.objective import Coefficients
from vae_lab.objectives.rate import FreeBits, Transform
from vae_lab.testing import (
    check_beta,
    check_bound,
    check_decoder,
    check_encoder,
    check_likelihood,
    check_posterior,
    check_prior,
    check_rate,
)
from vae_lab.traits import Traits

refuses = partial(pytest.raises, AssertionError)


class Twisted(Independent):
    """A Gaussian with its log_prob, samples or entropy put through a function."""

    def __init__(self, base: Distribution, density: Callable[[Tensor], Tensor], spread: float = 1.0) -> None:
        super().__init__(base, 1, validate_args=False)
        self.density, self.spread = density, spread

    def log_prob(self, value: Tensor) -> Tensor:
        return self.density(self.base_dist.log_prob(value))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.spread * super().sample(sample_shape)


class LearnedPrior(nn.Module):
    """A correct learned normal, of which the wrong ones are variants."""

    density: Callable[[Tensor], Tensor] = staticmethod(lambda log_p: log_p.sum(-1))
    spread = 1.0

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(latent_dim)), nn.Parameter(torch.zeros(latent_dim))

    def forward(self) -> Distribution:
        return Twisted(Gaussian(self.loc, self.log_scale), self.density, self.spread)


class MeanOverLatents(LearnedPrior):
    density = staticmethod(lambda log_p: log_p.mean(-1))


class WrongSpread(LearnedPrior):
    spread = 1.1


class Unnormalised(LearnedPrior):
    density = staticmethod(lambda log_p: log_p.sum(-1) + 0.5 * math.log(2 * math.pi))


class Detached(LearnedPrior):
    def forward(self) -> Distribution:
        return diagonal(self.loc, self.log_scale.detach())


class Forgetful(nn.Module):
    """Its means are no buffer: they are lost with the process."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.loc = torch.randn(latent_dim)

    def forward(self) -> Distribution:
        return diagonal(self.loc, torch.zeros_like(self.loc))


class Boasting(nn.Module):
    """Its rate does not split over latents, and its traits say that it does."""

    traits = Traits(provides=frozenset({"factorised_prior"}))

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.eye(latent_dim))

    def forward(self) -> Distribution:
        return torch.distributions.MultivariateNormal(self.scale[0] * 0, scale_tril=self.scale)


def test_the_correct_prior_passes() -> None:
    check_prior(LearnedPrior, 2)


@pytest.mark.parametrize("latent_dim", [2, 5])
@pytest.mark.parametrize("wrong", [MeanOverLatents, WrongSpread, Unnormalised, Detached, Forgetful, Boasting])
def test_priors(wrong: type[nn.Module], latent_dim: int) -> None:
    with refuses():
        check_prior(wrong, latent_dim)


def test_a_prior_of_the_wrong_event() -> None:
    class Elementwise(LearnedPrior):
        def forward(self) -> Distribution:
            return Normal(self.loc, 1.0)

    with refuses(match="batch shape"):
        check_prior(Elementwise, 2)


def test_a_wrong_closed_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variance taken for the standard deviation."""
    from torch.distributions import kl

    class Other(Gaussian):
        pass

    class OtherPrior(LearnedPrior):
        def forward(self) -> Distribution:
            return Independent(Other(self.loc, self.log_scale), 1)

    monkeypatch.setitem(
        kl._KL_REGISTRY, (Gaussian, Other), lambda q, p: kl._kl_normal_normal(q, Normal(p.loc, p.scale**2))
    )
    monkeypatch.setattr(kl, "_KL_MEMOIZE", {})
    with refuses(match="KL"):
        check_prior(OtherPrior, 2)


def test_posteriors() -> None:
    class Variance(DiagonalPosterior):
        """Noise times the variance: eps * exp(log var)."""

        def reparametrize(self, q: Independent, noise: Tensor) -> Tensor:
            return q.base_dist.loc + q.base_dist.scale.square() * noise

    class Cut(DiagonalPosterior):
        def reparametrize(self, q: Independent, noise: Tensor) -> Tensor:
            return super().reparametrize(q, noise).detach() + 0 * q.base_dist.loc

    class Mixed(DiagonalPosterior):
        """One noise for the whole batch."""

        def reparametrize(self, q: Independent, noise: Tensor) -> Tensor:
            return super().reparametrize(q, noise[:, :1].expand_as(noise))

    for wrong in (Variance, Cut, Mixed):
        with refuses():
            check_posterior(wrong, 2)


class WrongLikelihood(GaussianLikelihood):
    """A Gaussian of sigma 0.5, its log_prob put through `density` (of squared errors, (..., *shape))."""

    density: Callable[[Tensor], Tensor]

    def __init__(self, shape: list[int]) -> None:
        super().__init__(shape, 0.5)
        self.dims = tuple(range(-len(shape), 0))

    def forward(self, raw: Tensor) -> Distribution:
        p, density, dims = super().forward(raw), type(self).density, self.dims
        p.log_prob = lambda x: density((x - p.mean).square(), dims)  # type: ignore[method-assign]
        return p


def test_likelihoods() -> None:
    class WithoutNormaliser(WrongLikelihood):
        density = staticmethod(lambda square, dims: -2 * square.sum(dims))

    class MeanOverPixels(WrongLikelihood):
        density = staticmethod(lambda square, dims: (-2 * square - 0.5 * math.log(2 * math.pi * 0.25)).mean(dims))

    class Correct(WrongLikelihood):
        density = staticmethod(lambda square, dims: (-2 * square - 0.5 * math.log(2 * math.pi * 0.25)).sum(dims))

    check_likelihood(Correct)
    with refuses(match="integrates"):
        check_likelihood(WithoutNormaliser)
    with refuses(match="twice the pixels"):
        check_likelihood(MeanOverPixels)


def test_a_likelihood_on_probabilities_that_were_squashed_twice() -> None:
    class Unnormalised(BernoulliLikelihood):
        """The cross-entropy of a clamped probability, as if both terms could be clamped from below."""

        def forward(self, raw: Tensor) -> Distribution:
            p = super().forward(raw)
            plain = p.log_prob
            p.log_prob = lambda x: plain(x) + 0.01  # type: ignore[method-assign]
            return p

    with refuses(match="sum to"):
        check_likelihood(Unnormalised)


def test_encoders_and_decoders() -> None:
    class Leaky(nn.Module):
        """Normalises over the batch in eval mode."""

        def __init__(self, shape: list[int], outputs: int) -> None:
            super().__init__()
            self.net = nn.Linear(math.prod(shape), outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.flatten(1)) - 0.5 * self.net(x.flatten(1)).mean(0)

    class Swapped(MLPDecoder):
        """Takes the dimensions in front of z in the wrong order."""

        def forward(self, z: Tensor, likelihood: Callable[[Tensor], Distribution]) -> Distribution:
            flat = self.raw(z.transpose(0, -2).flatten(0, -2))
            return likelihood(flat.unflatten(0, z.shape[:-1]))

    class Deaf(MLPDecoder):
        def raw(self, z: Tensor) -> Tensor:
            return super().raw(0 * z)

    with refuses(match="alone"):
        check_encoder(Leaky)
    for wrong in (Swapped, Deaf):
        with refuses():
            check_decoder(wrong)


class Peeking(PixelCNNDecoder):
    """Its own pixel is seen: the mask of the first layer is that of the later ones."""

    def conditional(self, x: Tensor, z: Tensor) -> Tensor:
        return super().conditional(x, z) + 2 * x.unsqueeze(-1)


class Unordered(Decoder):
    """Samples all pixels at once from the conditionals at zero."""

    traits = PixelCNNDecoder.traits

    def __init__(self, latent_dim: int, shape: list[int], arity: int) -> None:
        super().__init__()
        self.net = PixelCNNDecoder(latent_dim, shape, arity)

    def conditional(self, x: Tensor, z: Tensor) -> Tensor:
        return 8 * self.net.conditional(x, z)

    def forward(self, z: Tensor, likelihood: Callable[[Tensor], Distribution]) -> Distribution:
        p = Autoregressive(lambda x: likelihood(self.conditional(x, z)), z.shape[:-1], self.net.shape)
        p.sample = lambda: likelihood(self.conditional(torch.zeros(*z.shape[:-1], *self.net.shape), z)).sample()  # type: ignore
        return p


def test_autoregressive_decoders() -> None:
    small = ((1, 4, 3),)
    check_decoder(PixelCNNDecoder, small)
    with refuses(match="sum to|itself or a later"):
        check_decoder(Peeking, small)
    with refuses(match="frequencies"):
        check_decoder(Unordered, small)


def test_bounds() -> None:
    class SoftmaxSum(IWAE):
        """The right gradient and the wrong value: sum of normalised weights times log-weights."""

        def forward(self, terms: Terms, weights: Coefficients, rate: object) -> Tensor:
            return -(terms.log_w.softmax(0).detach() * terms.log_w).sum(0).mean()

    class SwappedDimensions(IWAE):
        def forward(self, terms: Terms, weights: Coefficients, rate: object) -> Tensor:
            return -(terms.log_w.logsumexp(1) - math.log(terms.log_w.shape[1])).mean()

    class WithoutLogK(IWAE):
        def forward(self, terms: Terms, weights: Coefficients, rate: object) -> Tensor:
            return -terms.log_w.logsumexp(0).mean()

    class SumOverExamples(ELBO):
        def forward(self, terms: Terms, weights: Coefficients, rate: object) -> Tensor:
            return terms.distortion.sum(1).mean() + weights.rate * terms.rate.sum()

    class NoDistortionGradient(ELBO):
        def forward(self, terms: Terms, weights: Coefficients, rate: object) -> Tensor:
            return terms.distortion.detach().mean() + weights.rate * terms.rate.mean()

    for wrong in (SoftmaxSum, SwappedDimensions, WithoutLogK, SumOverExamples, NoDistortionGradient):
        with refuses():
            check_bound(wrong)


def test_schedules() -> None:
    class Counting(Linear):
        """Counts its calls, so that validations advance it."""

        def forward(self, t: int) -> float:
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(self.calls)

    class Restless(Cyclical):
        """Goes on cycling after the moment it calls settled."""

        def forward(self, t: int) -> float:
            return min(1.0, (t % self.period) / self.length / self.ratio)

    class Negative(Linear):
        def forward(self, t: int) -> float:
            return super().forward(t) - 0.1

    for wrong in (Counting, Restless, Negative):
        with refuses():
            check_beta(wrong)


def test_transforms_of_the_rate() -> None:
    class HiddenBatch(FreeBits):
        """Floors the mean of the batch and declares that it floors each example's."""

        traits_of = None

        def __init__(self, latent_dim: int) -> None:
            super().__init__(latent_dim)
            self.traits = Traits(needs={"factorised_prior": "it floors single latents"})

    class MeanOverLatentsRate(Transform):
        """Reads the latents' own rates without having declared that it needs them."""

        def forward(self, terms: Terms, target: Tensor) -> Tensor:
            assert terms.rates is not None, "no rates of single latents"
            return terms.rates.mean()

    for wrong in (HiddenBatch(8), MeanOverLatentsRate):
        with refuses():
            check_rate(wrong)


def test_a_heavy_tailed_prior_passes() -> None:
    class LaplacePrior(LearnedPrior):
        def forward(self) -> Distribution:
            return Independent(Laplace(self.loc, self.log_scale.exp()), 1)

    for latent_dim in (1, 2, 5):
        check_prior(LaplacePrior, latent_dim)


def test_the_caller_s_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    check_prior(lambda latent_dim: type("P", (nn.Module,), {"forward": lambda self: standard(torch.zeros(1))})(), 1)
    assert torch.equal(torch.randn(3), expected)
