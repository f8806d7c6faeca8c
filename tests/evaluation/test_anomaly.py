"""Scores of anomaly against the closed forms of a linear model, and the code lengths against entropies."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from vae_lab import compose, config
from vae_lab.build import build_model
from vae_lab.data.dataset import Spec
from vae_lab.estimators.linear import log_likelihood, posterior_gap
from vae_lab.evaluation.anomaly import Sampling, Seen, code_lengths, refined, scores
from vae_lab.models import VAE

NOISE, D, K = 0.6, 5, 3


class Linear(NamedTuple):
    """A linear VAE whose W, offset and encoder are known."""

    model: VAE
    weight: Tensor
    mean: Tensor

    def log_p(self, x: Tensor) -> Tensor:
        return log_likelihood(x, self.weight, self.mean, NOISE)

    @torch.no_grad()
    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distortion and rate of the encoder's q, exactly."""
        q = self.model.encode(x).base_dist  # type: ignore[attr-defined]
        error = (x - self.mean - q.loc @ self.weight.T).square().sum(1) + q.scale.square() @ self.weight.square().sum(0)
        rate = 0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()
        return 0.5 * D * math.log(2 * math.pi * NOISE) + 0.5 * error / NOISE, rate.sum(1)


@torch.no_grad()
def linear(seed: int, orthogonal: bool = True, best: bool = False) -> Linear:
    """Its encoder is mildly wrong, or `best`: the closed form of the best diagonal q."""
    words = ["dataset=linear_gaussian", "likelihood=gaussian", "encoder=linear", "decoder=linear", f"latent_dim={K}"]
    settings = config.resolve(compose(*words, f"likelihood.sigma={NOISE**0.5}"))
    model = build_model(settings, Spec((D,), "real", {"train": 9, "val": 9, "test": 9})).double().eval()
    model.likelihood.log_sigma.fill_(0.5 * math.log(NOISE))  # type: ignore[operator, union-attr]  # in float64
    rng = torch.Generator().manual_seed(seed)
    weight, mean = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((D, K), (D,)))
    weight = torch.linalg.qr(weight).Q * torch.tensor([2.0, 1.5, 0.7], dtype=torch.float64) if orthogonal else weight
    m = weight.T @ weight + NOISE * torch.eye(K, dtype=torch.float64)
    v = torch.linalg.solve(m, weight.T)
    log_scale = 0.5 * (NOISE / m.diagonal()).log()
    if not best:
        v, log_scale = v + 0.2 * torch.randn(K, D, generator=rng), log_scale + 0.5
    named = dict(model.named_parameters())
    named["decoder.net.weight"].copy_(weight)
    named["decoder.net.bias"].copy_(mean)
    named["encoder.1.weight"].copy_(torch.cat([v, torch.zeros(K, D)]))
    named["encoder.1.bias"].copy_(torch.cat([-v @ mean, log_scale]))
    return Linear(model, weight, mean)


def drawn(n: int = 60, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MANY = Sampling(samples=2000)


@pytest.mark.parametrize("orthogonal", [True, False])
def test_elbo_rate_and_distortion_are_their_closed_forms(orthogonal: bool) -> None:
    lin, x = linear(0, orthogonal), drawn()
    distortion, rate = lin.parts(x)
    found = scores([lin.model], x, ["elbo", "distortion", "rate"], MANY)
    assert found["rate"].tolist() == pytest.approx(rate.tolist(), abs=1e-9)
    error = found["distortion"] - distortion
    assert float(error.abs().mean()) < 0.02 * float(distortion.mean())
    assert abs(float(error.mean())) < 4 * float(error.std()) / 60**0.5
    assert torch.allclose(found["elbo"], found["distortion"] + found["rate"])


def test_the_nll_is_the_exact_density_where_q_is_the_posterior() -> None:
    lin, x = linear(1, best=True), drawn()
    found = scores([lin.model], x, ["nll", "elbo"], Sampling(samples=3))
    assert found["nll"].tolist() == pytest.approx((-lin.log_p(x)).tolist(), abs=1e-9)


def test_the_nll_comes_near_the_density_from_above_where_q_is_not() -> None:
    lin, x = linear(1), drawn(scale=1.0)
    few, some, many = (
        float((scores([lin.model], x, ["nll"], Sampling(samples=n))["nll"] + lin.log_p(x)).mean())
        for n in (1, 20, 4000)
    )
    assert few > 2 * some > 4 * many > 0
    assert many < 0.3


@pytest.mark.parametrize("orthogonal", [True, False])
def test_the_regret_is_what_the_best_q_would_gain(orthogonal: bool) -> None:
    lin, x = linear(2, orthogonal), drawn()
    distortion, rate = lin.parts(x)
    best = lin.log_p(x) - posterior_gap(lin.weight, NOISE)
    truth = best + distortion + rate
    assert float(truth.min()) > 0
    assert float(truth.max()) > 5
    found = scores([lin.model], x, ["regret"], MANY)["regret"]
    assert float((found - truth).mean()) == pytest.approx(0, abs=0.03 * float(truth.mean()))
    assert float(torch.corrcoef(torch.stack([found, truth]))[0, 1]) > 0.995


def test_the_best_q_is_reached_up_to_a_few_hundredths_of_a_nat() -> None:
    lin, x = linear(2, orthogonal=False), drawn()
    q = refined(lin.model, x, 100, 0.1, torch.Generator().manual_seed(0)).base_dist  # type: ignore[attr-defined]
    m = lin.weight.T @ lin.weight + NOISE * torch.eye(K, dtype=torch.float64)
    best = torch.linalg.solve(m, lin.weight.T @ (x - lin.mean).T).T
    assert float((q.loc - best).abs().mean()) < 0.05
    assert float((q.scale.square() / (NOISE / m.diagonal()) - 1).abs().mean()) < 0.2


def test_where_q_is_the_best_there_is_nothing_to_regret() -> None:
    lin, x = linear(3, orthogonal=False, best=True), drawn()
    found = scores([lin.model], x, ["regret"], MANY)["regret"]
    assert float(found.abs().max()) < 0.25
    assert float(found.abs().mean()) < 0.05


def test_examples_are_refined_by_themselves_whatever_lies_beside_them() -> None:
    lin, x = linear(2), drawn()
    other = torch.cat([x[:1], 9 * drawn(59, seed=1)])
    a, b = (refined(lin.model, both, 20, 0.1, torch.Generator().manual_seed(0)).mean[0] for both in (x, other))
    assert torch.equal(a, b)


def test_the_model_is_as_it_was_after_a_regret() -> None:
    lin = linear(2)
    before = {name: value.clone() for name, value in lin.model.state_dict().items()}
    scores([lin.model], drawn(), ["regret"], Sampling(samples=2, steps=3))
    assert all(torch.equal(value, before[name]) for name, value in lin.model.state_dict().items())
    assert all(p.grad is None for p in lin.model.parameters())


def test_waic_is_the_mean_and_the_variance_over_the_models() -> None:
    models = [linear(seed, best=True) for seed in (4, 5, 6)]
    x = drawn()
    log_p = torch.stack([one.log_p(x) for one in models])
    found = scores([one.model for one in models], x, ["waic"], Sampling(samples=2))["waic"]
    mean = log_p.mean(0)
    truth = -(mean - (log_p - mean).square().sum(0) / 2)
    assert found.tolist() == pytest.approx(truth.tolist(), rel=1e-9)


def test_far_from_the_data_every_score_rises() -> None:
    """Of the linear model: a point at twice the distance from the mean, in a direction of its own."""
    lin, other = linear(2), linear(7)
    near, far = lin.mean + drawn(200, scale=1.0), lin.mean + drawn(200, seed=1, scale=6.0)
    names = ("elbo", "nll", "distortion", "rate", "regret", "waic")
    a, b = (scores([lin.model, other.model], x, names, Sampling(samples=50)) for x in (near, far))
    for name in names:
        assert float(b[name].mean()) > float(a[name].mean()), name


def test_scores_do_not_depend_on_what_was_drawn_before() -> None:
    lin, x = linear(2), drawn()
    names = ("elbo", "nll", "regret")
    first = scores([lin.model], x, names, Sampling(samples=5, steps=5))
    torch.rand(3)
    for name in names:
        alone = scores([lin.model], x, [name], Sampling(samples=5, steps=5))[name]
        assert torch.equal(alone, first[name]), name
    assert not torch.equal(scores([lin.model], x, ["nll"], Sampling(samples=5, seed=1))["nll"], first["nll"])


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(AssertionError, match="eval mode"):
        Seen([linear(0).model.train()], drawn(), Sampling())


# ---- code lengths


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_noise_is_coded_in_no_less_than_its_entropy(channels: int) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(256, (20, channels, 16, 16), generator=rng) / 255
    lengths = code_lengths(x)
    assert lengths.shape == (20,)
    assert float(lengths.mean()) > channels * 256 * math.log(256)
    assert float(lengths.mean()) < channels * 256 * math.log(256) * 1.4 + 8 * math.log(2) * 70
    bits = (torch.rand(20, channels, 16, 16, generator=rng) < 0.1).float()
    assert channels * 256 * entropy(0.1) < float(code_lengths(bits).mean()) < float(lengths.mean()) / 2


def test_simpler_pictures_have_shorter_codes() -> None:
    flat, noise = torch.full((1, 1, 28, 28), 0.3), torch.rand(1, 1, 28, 28)
    stripes = (torch.arange(28) % 2).float().expand(1, 1, 28, 28)
    halved = torch.cat([flat[..., :14, :], noise[..., 14:, :]], -2)
    lengths = [float(code_lengths(x)) for x in (flat, stripes, halved, noise)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[2] < 0.6 * lengths[3]
