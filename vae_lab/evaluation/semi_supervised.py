"""Learning from few labels: the models M1 and M2 of Kingma et al. (2014), and a supervised net on the same labels."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_lab.distributions import stream, stream_seed
from vae_lab.models import VAE, Batch
from vae_lab.models.blocks import mlp
from vae_lab.models.decoders import MLPDecoder
from vae_lab.models.labels import Labelled, LabelledDecoder
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior
from vae_lab.subnormals import subnormals_as_zero

WIDTH, LATENTS = 500, 50  # of one hidden layer, and of z: those of the paper


class M2(nn.Module):
    r"""A conditional VAE and a classifier q(y|x): where a label is not known, it is summed out (Kingma et al. 2014).

    .. math:: L(x, y) &= E_{q(z|x,y)}[-\log p(x|y, z)] + KL(q(z|x, y) || p(z)) - \log p(y) \\
              U(x) &= \sum_y q(y|x) (L(x, y) + \log q(y|x))

    (Eqs. 6 and 7, with their signs turned). Labels are uniform: p(y) = 1 / C.
    """

    def __init__(self, vae: VAE, classifier: nn.Module, classes: int) -> None:
        super().__init__()
        self.vae, self.classifier, self.classes = vae, classifier, classes

    def labelled(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """L(x, y), nats, (..., B) for labels of that shape: at least -log p(x, y)."""
        elbo: Tensor = self.vae.terms(Batch(x, y), noise).elbo
        return float(np.log(self.classes)) - elbo

    def unlabelled(self, x: Tensor, noise: Tensor) -> Tensor:
        """U(x), nats, (B,): at least -log p(x). The sum over labels is exact."""
        every = torch.arange(self.classes, device=x.device).unsqueeze(-1)
        apart = self.labelled(x, every, noise.unsqueeze(1))
        log_q = F.log_softmax(self.classifier(x), -1).T
        return (log_q.exp() * (apart + log_q)).sum(0)


class M2Encoder(Labelled):
    """The raw parameters of q(z|x, y), by one hidden layer of x and y. Where several labels are asked for each x, the part
    of it that is of x alone, most of the work, is done once.

    Shapes: x (B, d), y (..., B) or what spreads to it, to (..., B, outputs).
    """

    def __init__(self, size: int, outputs: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.x, self.y = nn.Linear(size, hidden), nn.Embedding(classes, hidden)
        nn.init.uniform_(self.y.weight, -1 / math.sqrt(size + classes), 1 / math.sqrt(size + classes))
        self.raw = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        raw: Tensor = self.raw(F.softplus(self.x(x) + self.y(y)))
        return raw


def m2(size: int, classes: int, likelihood: nn.Module, hidden: int = WIDTH, latent_dim: int = LATENTS) -> M2:
    """M2 on vectors, with one hidden layer in each network and softplus between layers."""
    posterior = DiagonalPosterior(latent_dim)
    vae = VAE(
        M2Encoder(size, posterior.outputs, classes, hidden),
        Plain(),
        posterior,
        LabelledDecoder(
            lambda latent_dim: MLPDecoder(latent_dim, [size], likelihood.arity, [hidden], "softplus"),  # type: ignore[arg-type]
            latent_dim,
            classes,
        ),
        likelihood,
        StandardNormalPrior(latent_dim),
    )
    return M2(vae, classifier(size, classes, hidden), classes)


def classifier(size: int, classes: int, hidden: int = WIDTH) -> nn.Module:
    """The net of M2's q(y|x), and of the supervised baseline."""
    return mlp([size, hidden, classes], "softplus")


def balanced(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of `count` examples drawn at random, as many of each label as of any other, or one more.

    Errors: `ValueError` where there are fewer of them than labels, or a label has too few examples.
    """
    labels = np.unique(y)
    if count < len(labels):
        raise ValueError(f"{count} labels given; there are {len(labels)} classes, and each needs one")
    order = np.random.default_rng(stream_seed(seed, "labels")).permutation(len(y))
    more = set(labels[::1][: count % len(labels)])
    rows = [order[y[order] == c][: count // len(labels) + (c in more)] for c in labels]
    if sum(map(len, rows)) < count:
        raise ValueError(f"{count} labels given; the rarest class has {min(np.bincount(y)[labels])} examples")
    return np.concatenate(rows)


@dataclass(frozen=True)
class Fit:
    """How a net is trained: Adam, so many updates of so many examples, and for M2 the weight of the classifier's own loss.

    `watched` sees the numbers of the updates go by.
    """

    updates: int
    batch_size: int = 100
    lr: float = 1e-3
    alpha: float = 0.1
    seed: int = 0
    watched: Callable[[Sequence[int]], Iterable[int]] = iter


def fit_supervised(
    net: nn.Module, draw: Callable[[np.ndarray, int], Tensor], rows: np.ndarray, y: Tensor, fit: Fit
) -> None:
    """Minimises the cross-entropy of the labelled examples alone."""
    optimizer = torch.optim.Adam(net.parameters(), fit.lr, fused=True)
    for t, (part,) in zip(fit.watched(range(fit.updates)), _parts(fit, rows), strict=False):
        loss = F.cross_entropy(net(draw(part, t)), y[part])
        _step(optimizer, loss)


@subnormals_as_zero()
def fit_m2(model: M2, draw: Callable[[np.ndarray, int], Tensor], rows: np.ndarray, y: Tensor, n: int, fit: Fit) -> None:
    r"""Minimises the mean over all n examples of L where the label is known and U where it is not, and alpha times the
    mean cross-entropy of the labelled ones: the paper's Eq. 9 over n, with its alpha of 0.1 n for each labelled example.

    Every update sees labelled and unlabelled examples, half of each (all of the labelled where they are fewer), weighted
    so that its mean is the mean over all.

    Arguments:
        draw: (rows, t) to x, (B, d), as presented at update t. rows: of the labelled. y: (n,). n: of all examples.
    """
    optimizer = torch.optim.Adam(model.parameters(), fit.lr, fused=True)
    share, others = len(rows) / n, np.setdiff1d(np.arange(n), rows)
    generator = stream(fit.seed, "m2 noise")
    for t, (known, unknown) in zip(fit.watched(range(fit.updates)), _parts(fit, rows, others), strict=False):
        x, labels = draw(known, t), y[known]
        loss = fit.alpha * F.cross_entropy(model.classifier(x), labels)
        loss = loss + share * model.labelled(x, labels, model.vae.noise(len(x), 1, generator)).mean()
        if len(unknown):
            x = draw(unknown, t)
            loss = loss + (1 - share) * model.unlabelled(x, model.vae.noise(len(x), 1, generator)).mean()
        _step(optimizer, loss)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _parts(fit: Fit, *pools: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Without end: of each pool at most `batch_size` rows, each pass over it in a new order."""
    generators = [np.random.default_rng(stream_seed(fit.seed, "rows", i)) for i in range(len(pools))]
    yield from zip(
        *(_passes(pool, fit.batch_size, rng) for pool, rng in zip(pools, generators, strict=True)), strict=True
    )


def _passes(pool: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        order = rng.permutation(pool)
        size = min(size, len(order))
        yield from (order[i : i + size] for i in range(0, len(order) - size + 1, size)) if size else [order]


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of examples whose likeliest label is right."""
    right = [(net(part).argmax(-1) == labels).sum() for part, labels in zip(x.split(1000), y.split(1000), strict=True)]
    return float(torch.stack(right).sum()) / len(x)
