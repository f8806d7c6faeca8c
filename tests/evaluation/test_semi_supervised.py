"""M2 against what is known of it: by enumeration, where every label is known, and on planted clusters."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vae_lab.distributions import stream
from vae_lab.evaluation.semi_supervised import Fit, accuracy, balanced, classifier, fit_m2, fit_supervised, m2
from vae_lab.models import Batch
from vae_lab.models.likelihoods import GaussianLikelihood

SIZE, CLASSES, N = 4, 3, 90


def planted(n: int, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """Clusters, one a class, of unit variance."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, n)
    x = spread * rng.normal(size=(CLASSES, SIZE))[y] + rng.normal(size=(n, SIZE))
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def made(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return m2(SIZE, CLASSES, GaussianLikelihood([SIZE]), hidden=8, latent_dim=2)


def test_the_loss_of_a_labelled_example_is_that_of_the_conditional_vae_and_of_its_label() -> None:
    model, (x, y) = made(), planted(7)
    noise = model.vae.noise(7, 1, stream(0, "n"))
    expected = math.log(3) - model.vae.terms(Batch(x, y), noise).elbo
    assert torch.allclose(model.labelled(x, y, noise), expected)


@torch.no_grad()
def test_the_loss_without_a_label_is_the_sum_over_labels() -> None:
    model, (x, _) = made(), planted(6)
    noise = model.vae.noise(6, 1, stream(0, "n"))
    q = model.classifier(x).softmax(-1)
    expected = [
        sum(
            q[i, c] * (model.labelled(x[i : i + 1], torch.tensor([c]), noise[:, i : i + 1])[0] + q[i, c].log())
            for c in range(3)
        )
        for i in range(6)
    ]
    assert model.unlabelled(x, noise).tolist() == pytest.approx([float(e) for e in expected], rel=1e-5)


@torch.no_grad()
def test_it_is_least_where_the_classifier_is_the_posterior_of_the_label() -> None:
    """Over q(y|x) the least of U is -log sum_y exp(-L(x, y)), at q proportional to exp(-L): with L = -log p(x, y) that is
    -log p(x)."""
    model, (x, _) = made(), planted(1)
    noise = model.vae.noise(1, 1, stream(0, "n"))
    apart = torch.cat([model.labelled(x, torch.tensor([c]), noise) for c in range(3)])
    last = model.classifier[-1]
    last.weight.zero_()
    last.bias.copy_(-apart)
    assert float(model.unlabelled(x, noise)) == pytest.approx(float(-(-apart).logsumexp(0)), rel=1e-6)
    last.bias.copy_(-apart + torch.tensor([0.5, -0.5, 0.0]))
    assert float(model.unlabelled(x, noise)) > float(-(-apart).logsumexp(0)) + 1e-3


def test_where_every_label_is_known_it_is_a_conditional_vae_and_a_classifier() -> None:
    """Neither has a parameter of the other: each ends where it ends alone, trained on the same batches and noise."""
    x, y = planted(N)
    whole, apart = made(1), made(1)
    fit = Fit(updates=30, batch_size=N, alpha=0.7)
    fit_m2(whole, lambda rows, t: x[rows], np.arange(N), y, N, fit)
    generator = stream(fit.seed, "m2 noise")
    optimizer = torch.optim.Adam(apart.parameters(), fit.lr, fused=True)
    rng = np.random.default_rng(_seed_of_rows(fit))
    for _ in range(fit.updates):
        rows = rng.permutation(N)
        elbo = apart.vae.terms(Batch(x[rows], y[rows]), apart.vae.noise(N, 1, generator)).elbo.mean()
        optimizer.zero_grad()
        (-elbo).backward()
        (fit.alpha * F.cross_entropy(apart.classifier(x[rows]), y[rows])).backward()
        optimizer.step()
    for (name, one), other in zip(whole.state_dict().items(), apart.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name


def _seed_of_rows(fit: Fit) -> int:
    from vae_lab.distributions import stream_seed

    return stream_seed(fit.seed, "rows", 0)


def test_each_update_has_the_loss_of_all_examples_in_expectation() -> None:
    """The gradient over batches of half the labelled and a third of the others, averaged over a whole pass of either, is
    that of the mean over all examples."""
    x, y = planted(40)
    rows = np.arange(8)
    seen: list[tuple[np.ndarray, int]] = []
    fit_m2(made(), lambda part, t: seen.append((part, t)) or x[part], rows, y, 40, Fit(updates=12, batch_size=4))
    known = [part for part, _ in seen if part[0] < 8]
    unknown = [part for part, _ in seen if part[0] >= 8]
    assert (len(known), len(unknown)) == (12, 12)
    assert all(set(part) <= set(rows) for part in known)
    for first in (0, 2):  # a pass over the 8 labelled is two batches
        assert sorted(np.concatenate(known[first : first + 2])) == list(range(8))
    assert sorted(np.concatenate(unknown[:8])) == list(range(8, 40))


def test_clusters_are_named_by_few_labels_each_where_a_net_on_the_labels_alone_errs() -> None:
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 4, 4000))
    centres = 1.3 * torch.from_numpy(rng.normal(size=(4, 10))).float()
    x = centres[y] + torch.from_numpy(rng.normal(size=(4000, 10))).float()
    rows = balanced(y.numpy(), 4, seed=0)
    torch.manual_seed(0)
    net = classifier(10, 4, 50)
    fit_supervised(net, lambda part, t: x[part], rows, y, Fit(updates=300))
    model = m2(10, 4, GaussianLikelihood([10]), hidden=50, latent_dim=5)
    fit_m2(model, lambda part, t: x[part], rows, y, 4000, Fit(updates=400, alpha=2.0))
    alone, together = accuracy(net, x, y), accuracy(model.classifier, x, y)
    assert together > alone + 0.02


@pytest.mark.parametrize("count", [3, 7, 30])
def test_labels_are_drawn_as_many_of_each_class(count: int) -> None:
    y = np.repeat([0, 1, 5], [10, 20, 60])
    rows = balanced(y, count, seed=0)
    assert len(set(rows)) == count
    counts = np.bincount(y[rows])[[0, 1, 5]]
    assert counts.max() - counts.min() <= (count % 3 > 0)
    assert sorted(rows) == sorted(balanced(y, count, seed=0))
    assert count == 90 or sorted(rows) != sorted(balanced(y, count, seed=1))


@pytest.mark.parametrize(
    ("count", "text"),
    [(2, "2 labels given; there are 3 classes, and each needs one"), (31, "31 labels given; the rarest class has 10")],
)
def test_too_few_labels_or_examples_are_refused(count: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        balanced(np.repeat([0, 1, 2], [10, 20, 60]), count, seed=0)
