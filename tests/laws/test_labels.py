"""Models that are told labels: against the closed form of the linear one, and told where they should be alone."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import Lab
from torch import Tensor
from torch.distributions import MultivariateNormal

import vae_lab
from vae_lab import compose
from vae_lab.build import build_model
from vae_lab.config import resolve
from vae_lab.data.dataset import Spec
from vae_lab.evaluation.elbo import ElboMeter
from vae_lab.evaluation.information import information
from vae_lab.evaluation.nll import importance_nll
from vae_lab.models import VAE, Batch
from vae_lab.models.labels import LabelledEncoder

CLASSES = 3
SIZES = {"train": 100, "val": 10, "test": 10}
LINEAR = ("encoder=linear", "decoder=linear", "likelihood=gaussian", "likelihood.sigma=0.7", "latent_dim=2")
TOLD = {"encoder": (True, False, False), "decoder": (False, True, False), "prior": (False, False, True)}
TOLD |= {"all": (True, True, True), "both": (True, True, False)}


def made(*words: str, shape: tuple[int, ...] = (5,), told: str = "both") -> VAE:
    """An untrained model of random weights, far from what they begin at."""
    parts = zip(("encoder", "decoder", "prior"), TOLD[told], strict=True)
    settings = resolve(compose(*words, "labels=given", *(f"labels.{name}={str(on).lower()}" for name, on in parts)))
    model = build_model(settings, Spec(shape, "real", SIZES, labels=CLASSES)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def widened(model: VAE) -> VAE:
    """With a posterior wide enough for importance sampling to have a variance."""
    linear: Any = model.encoder.net[1] if isinstance(model.encoder, LabelledEncoder) else model.encoder[1]
    with torch.no_grad():
        linear.weight[:2] *= 0.3
        linear.weight[2:] = 0
        linear.bias[2:] = 0.4
    return model


def density(model: VAE, y: int) -> MultivariateNormal:
    """p(x|y) of a linear model: N(W m + b, W S W^T + sigma^2 I) with m and S of p(z|y), W and b read off the decoder."""
    at = model.given(torch.tensor(y))
    with torch.no_grad():
        k = model.posterior.noise_dim
        b = at.decode(torch.zeros(1, k)).mean[0]
        w = (at.decode(torch.eye(k)).mean - b).T.double()
        noise = at.decode(torch.zeros(1, k)).variance[0].double().diag()
        p = at.prior()
        mean, spread = p.mean.double().expand(k), p.variance.double().expand(k).diag()
    return MultivariateNormal(w @ mean + b.double(), w @ spread @ w.T + noise)


def examples(n: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 5, generator=generator), torch.arange(n) % CLASSES


@pytest.mark.parametrize("told", TOLD)
def test_the_nll_is_that_of_x_given_its_label(told: str) -> None:
    model, (x, y) = widened(made(*LINEAR, told=told)), examples()
    exact = torch.stack([-density(model, int(c)).log_prob(row.double()) for row, c in zip(x, y, strict=True)])
    found = importance_nll(model, [Batch(x, y)], 4000)
    spread = (1 / found.effective_sample_size).sqrt()
    assert ((found.nll - exact).abs() < 6 * spread).all()
    assert float(spread.mean()) < 0.06
    wrong = torch.stack([-density(model, int(c)).log_prob(row.double()) for row, c in zip(x, y.roll(1), strict=True)])
    assert told == "encoder" or float((found.nll - wrong).abs().mean()) > 0.1  # where q alone is told, p(x) is one


@pytest.mark.parametrize("told", TOLD)
def test_each_part_is_told_where_it_should_be_and_nowhere_else(told: str) -> None:
    model, (x, _) = made(*LINEAR, told=told), examples(1)
    one, other = (model.given(torch.tensor(y)) for y in (0, 2))
    z = torch.zeros(1, 2)
    differ = (
        not torch.equal(one.encode(x).mean, other.encode(x).mean),
        not torch.equal(one.decode(z).mean, other.decode(z).mean),
        not torch.equal(one.prior().mean.expand(2), other.prior().mean.expand(2)),
    )
    assert differ == TOLD[told]


@pytest.mark.parametrize(
    "words",
    [
        ("encoder=mlp", "decoder=mlp", "encoder.hidden=[8]", "decoder.hidden=[8]"),
        ("encoder=conv", "decoder=conv", "encoder.channels=[4]", "decoder.channels=[4]"),
        ("encoder=mlp", "decoder=pixelcnn", "likelihood=bernoulli"),
        ("encoder=mlp", "decoder=mlp", "inference=semi_amortized"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("told", ["both", "all"])
def test_an_example_has_the_same_terms_whatever_labels_are_beside_it(words: tuple[str, ...], told: str) -> None:
    model = made("likelihood=gaussian", *words, "latent_dim=2", shape=(1, 6, 5), told=told).double()
    x = (torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    y, noise = torch.tensor([0, 1, 2, 1]), model.noise(4, 2, torch.Generator().manual_seed(4)).double()
    together = model.terms(Batch(x, y), noise).elbo
    for i in range(4):
        alone = model.terms(Batch(x[i : i + 1], y[i : i + 1]), noise[:, i : i + 1]).elbo
        assert torch.allclose(together[i], alone[0], atol=1e-4)
    assert not torch.allclose(together, model.terms(Batch(x, (y + 1) % 3), noise).elbo, atol=1e-3)


def test_a_code_that_follows_the_label_alone_says_nothing_under_priors_that_do_too() -> None:
    """q(z|x, y) = p(z|y): the rate, the information given the label and what is left of the rate are zero, although the
    codes of different labels lie far apart."""
    model = made(*LINEAR, told="all")
    with torch.no_grad():
        linear: Any = model.encoder.net[1]
        linear.weight.zero_()
        linear.bias.zero_()
        loc = 5.0 * torch.eye(3, 2)
        model.prior.loc.copy_(loc)
        model.prior.log_scale.zero_()
        linear.weight[:2, 5:] = loc.T
        model.encoder.beside.copy_(torch.eye(3))
    x, y = examples()
    batches = [Batch(a, b) for a, b in zip(x.split(13), y.split(13), strict=True)]
    meter = ElboMeter()
    for i, batch in enumerate(batches):
        meter.update(model, batch, i)
    assert float(meter.rate.mean) == pytest.approx(0, abs=1e-6)
    assert information(model, batches).plug_in == pytest.approx(0, abs=1e-6)
    apart = information(made(*LINEAR, told="both"), batches).log_ratio
    assert len(apart) == len(x)


@torch.no_grad()
def test_the_information_is_that_given_the_label() -> None:
    """By brute force over the examples of each label."""
    model, (x, y) = made(*LINEAR, told="all"), examples(30)
    found = information(model, [Batch(x[:20], y[:20]), Batch(x[20:], y[20:])], samples=2000).plug_in
    expected = []
    for c in range(CLASSES):
        q = model.given(torch.tensor(c)).encode(x[y == c])
        z = q.sample((2000,))
        each = torch.stack([q.log_prob(z[:, i : i + 1].expand(-1, 10, -1)) for i in range(10)], 1)  # (draws, i, m)
        own = each.diagonal(dim1=1, dim2=2)
        expected.append((own - (each.logsumexp(-1) - math.log(10))).mean(0))
    assert found == pytest.approx(float(torch.cat(expected).mean()), abs=0.03)


def test_what_is_told_no_label_refuses_and_what_is_told_none_ignores() -> None:
    model, (x, y) = made(*LINEAR), examples(3)
    with pytest.raises(ValueError, match="told the label of each example"):
        model.terms(Batch(x), model.noise(3, 1, torch.Generator()))
    plain = build_model(resolve(compose(*LINEAR)), Spec((5,), "real", SIZES, labels=CLASSES))
    assert plain.given(y) is plain


def test_a_run_that_is_told_labels_trains_better_than_one_that_is_not_and_is_rebuilt(lab: Lab, in_tmp: Path) -> None:
    words = ["dataset=digits", "latent_dim=2", "trainer.max_steps=60", "evaluation.nll_samples=20", "trainer=debug"]
    words[-1:] = []
    results = {}
    for labels in ("ignored", "given"):
        said = lab("train", *words, f"labels={labels}")
        assert (said.code, said.err) == (0, "")
        (run,) = (p for p in Path("runs/solo").iterdir() if p not in [r for r, _ in results.values()])
        results[labels] = run, vae_lab.load(run)
    nll = {name: loaded.result["metrics"]["test/nll"] for name, (_, loaded) in results.items()}
    assert nll["given"] < nll["ignored"] - 0.2
    assert results["given"][1].model.labelled
    config = yaml.safe_load((results["ignored"][0] / "config.yaml").read_text())
    del config["labels"]  # of a run made before there was such a choice
    (results["ignored"][0] / "config.yaml").write_text(yaml.safe_dump(config))
    assert not vae_lab.load(results["ignored"][0]).model.labelled


TELLS = "labels=given does not go with prior=mixture: with labels.prior=true p(z|y) is a Gaussian that begins at p(z)"
REFUSED = {
    "dataset=linear_gaussian likelihood=gaussian labels=given": "labels=given cannot be used here: it tells the model the label of each example, and this dataset has none",
    "labels=given labels.encoder=false labels.decoder=false": "labels=given tells no part of the model: set labels.encoder, labels.decoder or labels.prior",
    "labels=given labels.prior=true prior=mixture": f"{TELLS}, but a mixture couples the latents, so that its rate does not split over dimensions",
    "labels=given labels.prior=true mitigation=wae": "regularizer=mmd does not go with labels=given: it compares the z of the whole batch with draws of one prior, but each label has a prior of its own (labels.prior=true)",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_sense_is_refused(words: str, lab: Lab) -> None:
    said = lab("check", *words.split())
    assert (said.code, said.err) == (2, f"vae-lab: {REFUSED[words]}\n")
