"""What is reported, against the linear Gaussian model, on which everything is known."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_lab import compose, config
from vae_lab.build import build_model, build_objective
from vae_lab.data.dataset import Spec
from vae_lab.distributions import stream
from vae_lab.estimators import linear
from vae_lab.evaluation import ElboMeter, Evaluation, evaluate
from vae_lab.evaluation import nll as nll_module
from vae_lab.evaluation.information import information
from vae_lab.evaluation.nll import importance_nll
from vae_lab.models import VAE, Batch
from vae_lab.models.decoders import LinearDecoder
from vae_lab.models.encoders import LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior
from vae_lab.training.module import Training

D, K, NOISE = 4, 2, 0.5


def weight_and_mean() -> tuple[Tensor, Tensor]:
    """W with orthogonal columns, so that the exact posterior has a diagonal covariance."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64)).Q
    return rotation[:, :K] * torch.tensor([1.5, 0.7]), torch.randn(D, generator=generator, dtype=torch.float64)


@torch.no_grad()
def linear_vae(off: float = 0.0) -> VAE:
    """The model of `weight_and_mean` in float64 with its exact posterior; `off` moves the posterior away from it."""
    weight, mean = weight_and_mean()
    encoder, decoder = LinearEncoder([D], 2 * K), LinearDecoder(K, [D], 1)
    model = VAE(
        encoder, Plain(), DiagonalPosterior(K), decoder, GaussianLikelihood([D], NOISE**0.5), StandardNormalPrior(K)
    )
    model.double()
    decoder.net.weight.copy_(weight)
    decoder.net.bias.copy_(mean)
    precision = weight.square().sum(0) + NOISE
    slope = weight.T / precision.unsqueeze(1)
    encoder[1].weight.copy_(torch.cat([slope * (1 - off), torch.zeros(K, D)]))
    encoder[1].bias.copy_(torch.cat([-slope @ mean + off, 0.5 * (NOISE / precision).log() + off]))
    return model.eval()


def examples(n: int = 103) -> Tensor:
    weight, mean = weight_and_mean()
    generator = torch.Generator().manual_seed(1)
    z, noise = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (K, D))
    return z @ weight.T + mean + NOISE**0.5 * noise


def batches(x: Tensor, size: int) -> list[Batch]:
    return [Batch(part) for part in x.split(size)]


def exact_nll(x: Tensor) -> Tensor:
    return -linear.log_likelihood(x, *weight_and_mean(), NOISE)


# ---- nll


@pytest.mark.parametrize("samples", [1, 2, 9, 50])
def test_with_the_exact_posterior_the_nll_is_exact_for_every_k_and_every_example(samples: int) -> None:
    """103 examples in batches of 25: the last batch counts as the others do."""
    found = importance_nll(linear_vae(), batches(examples(), 25), samples)
    assert torch.allclose(found.nll, exact_nll(examples()), atol=1e-5)
    assert torch.allclose(found.nll_tenth, found.nll, atol=1e-5)
    assert found.effective_sample_size.tolist() == pytest.approx([samples] * 103, rel=1e-5)


def test_otherwise_it_falls_to_the_exact_value_from_above() -> None:
    x = examples(400)
    gaps = []
    for samples in (1, 5, 50, 2000):
        gap = importance_nll(linear_vae(off=0.4), batches(x, 100), samples).nll - exact_nll(x)
        error = float(gap.std()) / 20
        gaps.append(float(gap.mean()))
        assert gaps[-1] >= -4 * error
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.2
    assert abs(gaps[-1]) < 0.02


def test_one_sample_is_the_one_sample_elbo() -> None:
    x, model = examples(), linear_vae(off=0.4)
    noise = model.noise(len(x), 1, stream(3, "nll", 0))
    with torch.no_grad():
        q = model.encode(x)
        z = q.mean + q.stddev * noise[0]
        expected = model.decode(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
    assert torch.allclose(importance_nll(model, [Batch(x)], 1, seed=3).nll, -expected)


def test_one_sample_is_the_elbo_in_expectation() -> None:
    x, model = examples(4000), linear_vae(off=0.4)
    meter = ElboMeter(samples=200)
    meter.update(model, Batch(x), 0)
    difference = importance_nll(model, [Batch(x)], 1).nll
    error = float((difference - exact_nll(x)).std()) / 4000**0.5
    assert float(difference.mean()) == pytest.approx(-meter.compute()["elbo"], abs=4 * error + 0.01)


def test_memory_does_not_grow_with_k(monkeypatch: pytest.MonkeyPatch) -> None:
    model, decoded, encoded = linear_vae(), [], []
    decode, encode = model.decode, model.encode
    monkeypatch.setattr(model, "decode", lambda z: (decoded.append(z.shape[:-1].numel()), decode(z))[1])
    monkeypatch.setattr(model, "encode", lambda x: (encoded.append(len(x)), encode(x))[1])
    importance_nll(model, batches(examples(20), 7), 3000)
    assert max(decoded) <= nll_module._BLOCK
    assert sum(decoded) == 3000 * 20
    assert encoded == [7, 7, 6]


@pytest.mark.parametrize("samples", [1, 7, 10, 1234])
def test_exactly_k_samples_are_drawn(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, drawn = linear_vae(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: (drawn.append(len(z)), decode(z))[1])
    importance_nll(model, [Batch(examples(11))], samples)
    assert sum(drawn) == samples


# ---- elbo, rate, distortion


def metered(model: VAE, parts: list[Batch], samples: int = 1) -> dict[str, float]:
    meter = ElboMeter(samples)
    for index, batch in enumerate(parts):
        meter.update(model, batch, index)
    return meter.compute()


def test_the_elbo_of_the_exact_posterior_is_log_p() -> None:
    x = examples(1000)
    found = metered(linear_vae(), batches(x, 300), samples=20)
    assert found["elbo"] == pytest.approx(-float(exact_nll(x).mean()), abs=0.03)
    assert found["elbo"] == pytest.approx(-(found["rate"] + found["distortion"]))


@pytest.mark.parametrize("size", [1, 10, 25, 103])
def test_the_partition_into_batches_moves_nothing_but_the_noise(size: int) -> None:
    """Every example weighs the same: 103 = 10 * 10 + 3 would show a mean of batch means."""
    x, model = examples(), linear_vae(off=0.3)
    x[-3:] += 30.0
    whole, parts = metered(model, [Batch(x)], 50), metered(model, batches(x, size), 50)
    for name in ("rate", "active_units", *(f"rate_per_dimension/{j}" for j in range(K))):
        assert parts[name] == pytest.approx(whole[name], rel=1e-12)
    assert parts["elbo"] == pytest.approx(whole["elbo"], rel=0.02)


def test_units_are_active_by_their_posterior_means_and_not_by_samples() -> None:
    """A collapsed unit has q = p: its samples vary as much as the prior's, its means not at all."""
    model = linear_vae()
    with torch.no_grad():
        model.encoder[1].weight[[1, K + 1]] = 0.0
        model.encoder[1].bias[[1, K + 1]] = 0.0
    found = metered(model, batches(examples(), 25))
    assert found["active_units"] == 1
    assert found["rate_per_dimension/1"] == pytest.approx(0.0, abs=1e-12)


def test_a_model_in_training_mode_is_not_reported() -> None:
    with pytest.raises(AssertionError, match="eval mode"):
        ElboMeter().update(linear_vae().train(), Batch(examples()), 0)


# ---- information


def test_the_aggregate_is_that_of_the_whole_split() -> None:
    """Separated posteriors carry ln N, though the batches are small: a batch's aggregate would say ln 10."""
    model = linear_vae()
    with torch.no_grad():
        model.encoder[1].bias[K:] = -9.0
    found = information(model, batches(examples(60), 10), samples=3)
    assert found.plug_in == pytest.approx(math.log(60), abs=1e-6)
    assert len(found.log_ratio) == 60


def test_the_interval_contains_the_information_of_the_linear_model() -> None:
    """I(x; z) under q(z|x) p(x) = (ln|V S V^T + D| - ln|D|) / 2 for x ~ N(mean, S)."""
    model, weight = linear_vae(off=0.3), weight_and_mean()[0]
    covariance = weight @ weight.T + NOISE * torch.eye(D, dtype=torch.float64)
    slope, diagonal = model.encoder[1].weight[:K].detach(), (2 * model.encoder[1].bias[K:].detach()).exp()
    total = torch.logdet(slope @ covariance @ slope.T + diagonal.diag())
    exact = 0.5 * float(total - diagonal.log().sum())
    x = examples(3000)
    found = information(model, batches(x, 500))
    assert found.plug_in == pytest.approx(exact, abs=4 * found.standard_error + 0.03)
    assert found.plug_in - 4 * found.standard_error <= exact
    assert exact <= metered(model, batches(x, 500))["rate"]


# ---- nothing else reaches the report


class Source:
    """A dataset of `examples`."""

    def batches(self, split: str, batch_size: int, device: torch.device | str = "cpu") -> list[Batch]:
        return batches(examples(60 if split == "val" else 45), batch_size)


SETTINGS = Evaluation(nll_samples=20, batch_size=16)


def test_evaluating_twice_gives_the_same_numbers_and_leaves_the_model_as_it_was() -> None:
    model = linear_vae(off=0.2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    first, details = evaluate(model, Source(), SETTINGS)
    torch.manual_seed(1)
    assert evaluate(model, Source(), SETTINGS) == (first, details)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert details["test"]["examples"] == 45
    assert first["test/elbo"] == pytest.approx(-(first["test/rate"] + first["test/distortion"]))
    assert first["test/marginal_kl"] == pytest.approx(first["test/rate"] - first["test/mutual_information"])


OBJECTIVES = {
    "plain": (),
    "beta": ("beta=constant", "beta.value=0.1"),
    "warm-up": ("beta=linear", "beta.warmup=90"),
    "free bits": ("rate=free_bits", "rate.nats=3.0", "rate.granularity=dim"),
    "free bits of the total": ("rate=free_bits", "rate.nats=30.0", "rate.granularity=total"),
    "iwae": ("bound=iwae", "bound.samples=7"),
}


SMALL = ("latent_dim=3", "encoder.hidden=[8]", "decoder.hidden=[8]", "trainer.max_steps=100")


def validated(name: str) -> dict[str, float]:
    """What a validation writes for one set of weights under an objective."""
    settings = config.resolve(compose(*SMALL, *OBJECTIVES[name]))
    torch.manual_seed(0)
    spec = Spec((1, 4, 4), "binary", {"train": 100})
    module = Training(
        build_model(settings, spec), build_objective(settings, spec), _no_optimizer, _no_scheduler, ElboMeter, seed=0
    )
    written: dict[str, float] = {}
    module._write = written.update  # type: ignore[method-assign]
    module.log = lambda *args, **kwargs: None  # type: ignore[assignment, method-assign]
    module.eval()
    x = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(5)).round()
    with torch.no_grad():
        module.on_validation_epoch_start()
        for index, part in enumerate(x.split(8)):
            module.validation_step(Batch(part), index)
        module.on_validation_epoch_end()
    return written


def _no_optimizer(parameters: Any) -> Any:
    raise AssertionError("nothing is trained here")


def _no_scheduler(optimizer: Any) -> None:
    return None


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "plain"])
def test_no_objective_reaches_the_report(name: str) -> None:
    bent, plain = validated(name), validated("plain")
    own = {"val/loss", "val/beta"}
    assert {key: value for key, value in bent.items() if key not in own} == {
        key: value for key, value in plain.items() if key not in own
    }
    assert bent["val/loss"] != plain["val/loss"]
    assert {"val/elbo", "val/rate", "val/distortion", "val/active_units"} <= plain.keys()
