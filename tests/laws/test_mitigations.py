"""Every preset says what it is right by, and that is there; the mechanisms that no other file proves are proven here."""

import ast
import copy
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from law_options import every
from small_combinations import Steps
from torch import Tensor, nn

from vae_lab.config import composer
from vae_lab.distributions.streams import stream
from vae_lab.errors import RequestError
from vae_lab.models import VAE, Batch
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior
from vae_lab.options import groups
from vae_lab.places import packaged
from vae_lab.request import Request, request
from vae_lab.training.inference import Aggressive, SemiAmortized
from vae_lab.training.step import terms_of
from vae_lab.training.weights import coefficients

ROOT = Path(__file__).parent.parent.parent
DEMO = yaml.safe_load((ROOT / "experiments" / "collapse_digits" / "study.yaml").read_text(encoding="utf-8"))
REAL_X = {"optimal_sigma", "shared_sigma"}  # for real-valued x, which the demo's is not
LEAST = 22


# ---- evidence


def notes(name: str, kind: str) -> list[str]:
    text = (packaged("conf") / "mitigation" / f"{name}.yaml").read_text(encoding="utf-8")
    return re.findall(rf"^# {kind}: (.*)$", text, re.MULTILINE)


@functools.cache
def functions_of(file: Path) -> set[str]:
    """The functions of a file that pytest would collect."""
    found = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@every("mitigation")
def test_a_preset_has_an_equation_and_evidence_that_is_there(name: str) -> None:
    assert len(notes(name, "Equation")) == 1
    evidence = notes(name, "Evidence")
    assert evidence
    for line in evidence:
        phrase, _, ids = line.rpartition(": ")
        assert phrase
        for file, test in (identifier.split("::") for identifier in ids.split(", ")):
            assert test in functions_of(ROOT / file), f"{name}: {file} has no {test}"


# ---- the presets train


@pytest.fixture(scope="module")
def compose() -> Iterator[Any]:
    with composer() as compose:
        yield compose


def demo(compose: Any, *words: str) -> Request:
    """A run of the demo's model, of 20 updates."""
    model = [f"{group}={option}" for entry in DEMO["defaults"] for (key, option) in entry.items()
             for group in [key.removeprefix("override /")]]  # fmt: skip
    return request(compose([*model, f"batch_size={DEMO['batch_size']}", f"optimizer.lr={DEMO['optimizer']['lr']}",
                            "trainer.max_steps=20", *words]))  # fmt: skip


def refused(compose: Any, name: str) -> bool:
    try:
        demo(compose, f"mitigation={name}")
    except RequestError:
        return True
    return False


@pytest.mark.slow
def test_what_is_refused_on_the_demo_is_for_real_x_alone(compose: Any) -> None:
    names = groups()["mitigation"]
    without = {name for name in names if refused(compose, name)}
    assert without <= REAL_X
    assert len(names) - len(without) >= LEAST


@pytest.mark.slow
@every("mitigation")
def test_a_preset_trains_on_the_demo(name: str, compose: Any) -> None:
    """Twenty updates with finite losses, after which every parameter has moved."""
    if name in REAL_X and refused(compose, name):
        return
    few = ["inference.inner_steps=4", "inference.window=2"] if name == "aggressive" else []
    Steps(demo(compose, f"mitigation={name}", *few)).take(20)


# ---- corruption


@pytest.mark.parametrize("name", ["denoising", "salt_and_pepper", "input_dropout"])
def test_the_encoder_sees_what_is_corrupted_and_the_decoder_answers_for_x(name: str, compose: Any) -> None:
    steps = Steps(request(compose([f"mitigation={name}", "latent_dim=2", "trainer.max_steps=2"])))
    module: Any = steps.module.train()
    batch = next(iter(steps.batches))
    torch.manual_seed(3)
    inputs = module.step_inputs(batch, torch.Generator().manual_seed(4))
    terms = terms_of(module.model, inputs)
    torch.manual_seed(3)
    seen = module.corruption(batch.x)
    assert not torch.equal(seen, batch.x)
    mean, log_scale = module.model.encoder(seen).chunk(2, -1)
    variance = (2 * log_scale).exp()
    rate = 0.5 * (variance + mean.square() - 1 - 2 * log_scale).sum(-1)
    torch.testing.assert_close(terms.rate, rate)
    logits = module.model.decoder.raw(terms.z).squeeze(-1)
    log_p = -nn.functional.binary_cross_entropy_with_logits(logits, batch.x.expand_as(logits), reduction="none")
    torch.testing.assert_close(terms.distortion, -log_p.flatten(2).sum(-1))


# ---- two stages


def rates_of(module: Any, updates: int) -> list[float]:
    return [float(coefficients(module.model, module.objective, t).rate) for t in range(updates)]


def test_the_first_stage_leaves_the_rate_out(compose: Any) -> None:
    module = Steps(request(compose(["mitigation=pretrain", "trainer.max_steps=40"]))).module
    assert rates_of(module, 40) == [0.0] * 10 + [1.0] * 30


@pytest.mark.parametrize(("given", "length"), [(0.5, 20), (4, 4)])
def test_the_warm_up_begins_where_the_first_stage_ends(given: float, length: int, compose: Any) -> None:
    """One setting gives the length of the stage to both."""
    words = ["mitigation=pretrain_free_bits", f"inference.pretrain={given}", "trainer.max_steps=40"]
    found = rates_of(Steps(request(compose(words))).module, 40)
    ramp = [min(1.0, t / 10) for t in range(40 - length)]
    assert found == pytest.approx([0.0] * length + ramp)


# ---- semi-amortised inference, on p(x, z) = N(z; 0, 1) N(x; w z + b, s^2)

SCALE = 0.7


class Fixed(nn.Module):
    """An encoder that says the same of every x: location and log-scale."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor([0.3, -0.5], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.raw.expand(len(x), 2)


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(-0.2, dtype=torch.float64))

    def forward(self, z: Tensor, likelihood: Any) -> Any:
        return likelihood((self.weight * z + self.bias).unsqueeze(-1))


def semi_amortized(clip: float) -> VAE:
    likelihood = GaussianLikelihood([1], SCALE).double()
    inference = SemiAmortized(steps=5, rate=0.1, momentum=0.5, clip=clip, samples=3)
    return VAE(Fixed(), Plain(), DiagonalPosterior(1), Affine(), likelihood, StandardNormalPrior(1), inference).double()


X = torch.tensor([[-1.0], [0.5], [3.0]], dtype=torch.float64)


@pytest.mark.parametrize("clip", [0.6, 100.0])
def test_a_refinement_is_the_descent_written_out(clip: float) -> None:
    """Gradients of D + R by location m and log-scale r in closed form, example by example."""
    model = semi_amortized(clip).eval()
    noises = [stream(0, "refinement", step, torch.device("cpu")) for step in range(5)]
    draws = [torch.randn(3, 1, 1, generator=g, device="cpu").double().flatten().tolist() for g in noises]
    expected = []
    for x in X.flatten().tolist():
        m, r, v = 0.3, -0.5, [0.0, 0.0]
        for noise in draws:
            errors = [(1.5 * (m + math.exp(r) * e) - 0.2 - x) * 1.5 / SCALE**2 for e in noise]
            by_m = sum(errors) / 3 + m
            by_r = sum(d * e for d, e in zip(errors, noise, strict=True)) / 3 * math.exp(r) + math.exp(2 * r) - 1
            shrink = min(1.0, clip / math.hypot(by_m, by_r))
            v = [0.5 * old - 0.1 * shrink * g for old, g in zip(v, (by_m, by_r), strict=True)]
            m, r = m + v[0], r + v[1]
        expected.append([m, r])
    found = model.inference.refined(model, X, model.encoder(X), through=False)  # type: ignore[operator]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_training_goes_through_the_refinement() -> None:
    """The gradient of the refined loss, by encoder and decoder alike, is that of finite differences."""
    model = semi_amortized(100.0).train()

    def loss() -> Tensor:
        torch.manual_seed(0)  # of the refinement's own noise
        noise = model.noise(len(X), 4, torch.Generator().manual_seed(1)).double()
        return -model.terms(Batch(X), noise).elbo.mean()

    gradients = torch.autograd.grad(loss(), list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        for index in range(parameter.numel()):
            sides = []
            for step in (1e-5, -1e-5):
                moved = copy.deepcopy(parameter.data)
                with torch.no_grad():
                    parameter.view(-1)[index] += step
                sides.append(float(loss().detach()))
                parameter.data = moved
            assert float(gradient.view(-1)[index]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-8)


# ---- aggressive training


class Told:
    """A run that answers with given losses and given informations, and keeps what it was asked for."""

    def __init__(self, losses: list[float], informations: list[float]) -> None:
        self.model: Any = VAE(
            Fixed(), Plain(), DiagonalPosterior(1), Affine(), GaussianLikelihood([1]), StandardNormalPrior(1)
        )
        self.losses, self.informations = iter(losses), iter(informations)
        self.frozen: list[list[nn.Parameter]] = []
        self.asked: list[int] = []

    def inner_step(self, counter: int, frozen: Any) -> float:
        assert counter == sum(self.asked) + self.taken
        self.taken += 1
        assert {id(p) for p in frozen} == {id(p) for p in self.model.decoder.parameters()}
        return next(self.losses)

    def descend(self, batch: Any, frozen: Any = ()) -> None:
        self.asked.append(self.taken)
        self.frozen.append(list(frozen))
        self.taken = 0

    def mutual_information(self) -> float:
        return next(self.informations)

    taken = 0


def test_aggressive_is_the_algorithm_written_out() -> None:
    """Encoder steps in windows until one is worse than that before it, at most `inner_steps`; the decoder's step leaves
    the encoder; and after `patience` validations without a new best information there is none before it."""
    rng, window, most = torch.Generator().manual_seed(0), 3, 12
    losses = torch.randn(400, generator=rng).tolist()
    expected, at = [], 0
    for _ in range(20):
        means: list[float] = []
        while len(means) * window < most:
            means.append(sum(losses[at : at + window]) / window)
            at += window
            if len(means) > 1 and means[-1] > means[-2]:
                break
        expected.append(len(means) * window)
    assert {6, 9, 12} <= set(expected), "the draws try every way to stop"
    told = Told(losses, [0.1, 0.3, 0.2, 0.4, 0.4, 0.3])
    aggressive, run = Aggressive(inner_steps=most, window=window, patience=2), told
    for _ in range(20):
        aggressive.step(run, None)  # type: ignore[arg-type]
    assert told.asked == expected
    encoder = {id(p) for p in told.model.encoder.parameters()}
    assert all({id(p) for p in frozen} == encoder for frozen in told.frozen)
    active = []
    for _ in range(6):
        aggressive.validated(run)  # type: ignore[arg-type]
        active.append(bool(aggressive.active))
    assert active == [True, True, True, True, True, False]
    aggressive.step(run, None)  # type: ignore[arg-type]
    assert told.asked[-1] == 0
    assert told.frozen[-1] == []
