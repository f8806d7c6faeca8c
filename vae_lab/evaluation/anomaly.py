"""How unlike what a model was trained on an example is to it: scores that are higher for what is more anomalous, nats."""

import io
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.distributions import stream
from vae_lab.estimators import LogMeanExp
from vae_lab.models import VAE, Batch

ScoreName = Literal["elbo", "nll", "distortion", "rate", "regret", "waic", "complexity"]
_BATCH = 100  # examples at a time: a descent on q takes the memory of a step of training
_DECODED = 4096  # decoded at a time: what stays in cache on a CPU


@dataclass(frozen=True)
class Sampling:
    """How scores are estimated.

    Attributes:
        samples: draws of z for each example, the same ones for elbo, distortion and nll. steps, rate: of the descent on q
            for each example, for the regret. seed: of the draws.
    """

    samples: int = 100
    steps: int = 100
    rate: float = 0.1
    seed: int = 0


class Seen:
    r"""Examples as models see them; its scores are tensors (n,), float64, of which those that are asked for are computed.

    Arguments:
        models: in eval mode; the first one's are all scores but `waic`, which is over all of them.
        x: (n, *shape). counter: of this batch, which names its noise.
    """

    def __init__(self, models: Sequence[VAE], x: Tensor, how: Sampling, counter: int = 0) -> None:
        assert not any(model.training for model in models), "score by models in eval mode only"
        self.models, self.x, self.how, self.counter = models, x, how, counter

    @property
    def elbo(self) -> Tensor:
        """-ELBO(x) = distortion + rate."""
        return self.distortion + self.rate

    @property
    def distortion(self) -> Tensor:
        """-E_q[log p(x|z)], the mean over the draws: how badly x is reconstructed."""
        return self._parts.distortion

    @property
    def rate(self) -> Tensor:
        """KL(q(z|x) || p(z)): how far the code of x lies from the prior."""
        return self._parts.rate

    @property
    def nll(self) -> Tensor:
        """-L_K(x), the importance-weighted bound on -log p(x) of all draws (Burda et al. 2016, Eq. 8)."""
        return self._parts.nll

    @cached_property
    def regret(self) -> Tensor:
        r"""The ELBO at the best q for x alone less that at the model's own (likelihood regret, Xiao et al. 2020, Eq. 6),

        .. math:: \max_{q \in Q} \mathrm{ELBO}(x; q) - \mathrm{ELBO}(x; q(z|x)),

        both on the same draws. The paper trains a copy of the encoder on x for 100 steps of Adam; here what the encoder says
        of x, the raw parameters of q, is descended on itself: the same family of q, each example by itself within a batch.
        """
        model, generator = self.models[0], self._stream("regret")
        best = refined(model, self.x, self.how.steps, self.how.rate, generator)
        after = _parts(model, self.x, best, self.how.samples, self._stream("score"))
        return self.elbo - (after.distortion + after.rate)

    @cached_property
    def waic(self) -> Tensor:
        r"""The Watanabe-Akaike information criterion over models of several seeds (Choi et al. 2018, Eq. 1), negated,

        .. math:: \mathrm{Var}_\theta[\log p_\theta(x)] - \mathrm{E}_\theta[\log p_\theta(x)],

        with log p by `nll` and the unbiased variance. Raises ValueError for one model.
        """
        if len(self.models) < 2:
            raise ValueError("waic is over several models, and one was given")
        others = (Seen([model], self.x, self.how, self.counter).nll for model in self.models[1:])
        nll = torch.stack([self.nll, *others])
        return nll.var(0) + nll.mean(0)

    @cached_property
    def complexity(self) -> Tensor:
        """`nll` less the length of a lossless code of x (input complexity, Serra et al. 2020, Eq. 1): how much worse the
        model does than a compressor that knows nothing of the data. For images in [0, 1]."""
        return self.nll - code_lengths(self.x)

    @cached_property
    def _q(self) -> Distribution:
        with torch.no_grad():
            return self.models[0].encode(self.x)

    @cached_property
    def _parts(self) -> "Parts":
        return _parts(self.models[0], self.x, self._q, self.how.samples, self._stream("score"))

    def _stream(self, purpose: str) -> torch.Generator:
        return stream(self.how.seed, purpose, self.counter, self.x.device)


@dataclass(frozen=True)
class Parts:
    """Of each example, (n,), float64."""

    distortion: Tensor
    rate: Tensor
    nll: Tensor


@torch.no_grad()
def _parts(model: VAE, x: Tensor, q: Distribution, samples: int, generator: torch.Generator) -> Parts:
    weights, distortion, rate = LogMeanExp(), torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    block = max(1, _DECODED // len(x))
    while weights.samples < samples:
        noise = model.noise(len(x), min(block, samples - weights.samples), generator)
        terms = model.terms(Batch(x), noise, q)
        weights.update(terms.log_w)
        distortion = distortion + terms.distortion.double().sum(0)
        rate = rate + terms.rate.double() * len(noise)
    return Parts(distortion / samples, rate / samples, -weights.compute())


def refined(model: VAE, x: Tensor, steps: int, rate: float, generator: torch.Generator) -> Distribution:
    """The best q for each of x, by Adam on its raw parameters from those that the encoder says, at a step size that falls
    from `rate` to zero. Each gradient is of a draw and its mirror image, whose errors cancel to the first order; Adam forgets
    the large gradients of a poor beginning within ten steps (with its usual 0.999 they would shrink all hundred)."""
    raw = model.raw(x).detach().requires_grad_()
    adam = torch.optim.Adam([raw], lr=rate, betas=(0.9, 0.9))
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        half = model.noise(len(x), 1, generator)
        q = model.posterior(raw, model.parametrization)
        loss = -model.terms(Batch(x), torch.cat([half, -half]), q).elbo.sum()  # a sum: each has a gradient of its own
        (raw.grad,) = torch.autograd.grad(loss, raw)
        adam.step()
    return model.posterior(raw.detach(), model.parametrization)


def code_lengths(x: Tensor) -> Tensor:
    """The nats of each image, (n, channels, height, width) in [0, 1], as a PNG of 8 bits a channel, (n,), float64: grey, or
    colour for three channels; of other numbers of channels they lie below one another."""
    pixels = x.mul(255).round().byte().cpu()
    pixels = pixels.movedim(1, -1) if x.shape[1] == 3 else pixels.flatten(1, 2)
    return torch.tensor([8 * math.log(2) * _bytes(image) for image in pixels], dtype=torch.float64)


def _bytes(pixels: Tensor) -> int:
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG", compress_level=zlib.Z_BEST_COMPRESSION)
    return file.tell()


def scores(
    models: Sequence[VAE],
    x: Tensor,
    names: Iterable[ScoreName],
    how: Sampling = Sampling(),
    watched: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter,
) -> dict[ScoreName, Tensor]:
    """The scores of examples, (n, *shape), by name, (n,) each, a batch at a time.

    Arguments:
        watched: goes through the batches, and may say how far it is.

    Errors: `ValueError` for a score that there is not.
    """
    names = list(names)
    if unknown := [name for name in names if name not in get_args(ScoreName)]:
        raise ValueError(f"no score {unknown[0]!r}; there are {', '.join(get_args(ScoreName))}")
    found: dict[ScoreName, list[Tensor]] = {name: [] for name in names}
    for counter, part in enumerate(watched(x.split(_BATCH))):
        seen = Seen(models, part, how, counter)
        for name, column in found.items():
            column.append(getattr(seen, name))
    return {name: torch.cat(column) for name, column in found.items()}
