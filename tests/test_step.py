"""A training step is a pure function of tensors: four models stepped at once under vmap are four models stepped one by
one. No hidden state, no `.item()`, no branch on a tensor survives that."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from vae_lab import compose, config
from vae_lab.build import build_model, build_objective
from vae_lab.data.dataset import Spec
from vae_lab.models import VAE, Batch, Terms
from vae_lab.objectives import Objective
from vae_lab.objectives.objective import Coefficients
from vae_lab.objectives.rate import Transform
from vae_lab.options import groups

MODELS, BATCH, LATENTS, UPDATES, T = 4, 6, 4, 100, 7
SPEC = Spec((1, 4, 3), "binary", {"train": 100, "val": 10, "test": 10})
SMALL = (
    f"latent_dim={LATENTS}",
    f"trainer.max_steps={UPDATES}",
    "encoder.hidden=[8]",
    "rate.group_size=2",
    "rate.granularity=dim",
    "rate.reduction=batch",
    "decoder.hidden=[8]",
)

Parameters = dict[str, Tensor]
Losses = tuple[Parameters, Tensor]


class Step(nn.Module):
    """The loss of one step, as a module: parameters and buffers go in by name."""

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, noise: Tensor, coefficients: Coefficients) -> Tensor:
        return self.objective(self.model.terms(Batch(x), noise), coefficients)


def steps_of(*overrides: str) -> list[Step]:
    """Four models of different weights under one objective."""
    kept = [word for word in SMALL if _known(word, overrides)]
    settings = config.resolve(compose(*overrides, *kept))
    steps = []
    for seed in range(MODELS):
        torch.manual_seed(seed)
        steps.append(Step(build_model(settings, SPEC), build_objective(settings, SPEC)))
    return steps


def _known(word: str, overrides: tuple[str, ...]) -> bool:
    """Whether the chosen options have the key of an override."""
    key = word.partition("=")[0].partition(".")[0]
    chosen = [value.partition("=")[2] for value in overrides if value.partition("=")[0] == key]
    option = chosen[-1] if chosen else {"encoder": "mlp", "decoder": "mlp", "rate": "identity"}.get(key)
    return key in ("latent_dim", "trainer") or (option in ("mlp", "free_bits"))


def inputs(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """Data and noise of each model, and the coefficients at update T."""
    generator = torch.Generator().manual_seed(99)
    x = torch.rand(MODELS, BATCH, *SPEC.shape, generator=generator).round()
    noise = torch.stack([step.model.noise(BATCH, step.objective.samples, generator) for _ in range(MODELS)])
    return x, noise, step.objective.coefficients(T)


def together(steps: list[Step]) -> Losses:
    parameters, buffers = stack_module_state(steps)  # type: ignore[arg-type]
    x, noise, coefficients = inputs(steps[0])
    buffers = {name: buffer.clone() for name, buffer in buffers.items()}

    def loss(own: Parameters, state: Parameters, x: Tensor, noise: Tensor) -> Tensor:
        return functional_call(steps[0], (own, state), (x, noise, coefficients))

    gradients, losses = vmap(grad_and_value(loss), randomness="different")(parameters, buffers, x, noise)
    return gradients, losses


def one_by_one(steps: list[Step]) -> Losses:
    x, noise, coefficients = inputs(steps[0])
    losses = [step(x[i], noise[i], coefficients) for i, step in enumerate(steps)]
    for loss in losses:
        loss.backward()
    names = [name for name, _ in steps[0].named_parameters()]
    gradients = {name: torch.stack([_gradient(step, name) for step in steps]) for name in names}
    return gradients, torch.stack([loss.detach() for loss in losses])


def _gradient(step: Step, name: str) -> Tensor:
    parameter = step.get_parameter(name)
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def assert_the_same(steps: list[Step]) -> None:
    stacked, losses = together(steps)
    separate, expected = one_by_one(steps)
    close: Callable[..., None] = partial(torch.testing.assert_close, rtol=1e-5)
    close(losses, expected, atol=1e-5)
    assert len(set(expected.tolist())) == MODELS
    assert stacked.keys() == separate.keys()
    for name, gradient in separate.items():
        scale = float(gradient.abs().max())
        close(stacked[name], gradient, atol=1e-5 * max(scale, 1e-3), msg=lambda text, name=name: f"{name}: {text}")


def options(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(group, dict.fromkeys(groups()[group]))


@options("beta")
@options("rate")
def test_every_schedule_and_transform(beta: str, rate: str) -> None:
    assert_the_same(steps_of("bound=elbo", f"beta={beta}", f"rate={rate}"))


@pytest.mark.parametrize("granularity", ["dim", "group", "total"])
@pytest.mark.parametrize("reduction", ["batch", "example"])
def test_every_kind_of_free_bits(granularity: str, reduction: str) -> None:
    steps = steps_of("rate=free_bits")
    for step in steps:
        step.objective.rate.granularity, step.objective.rate.reduction = granularity, reduction
    assert_the_same(steps)


@options("bound")
@options("prior")
def test_every_bound_and_prior(bound: str, prior: str) -> None:
    assert_the_same(steps_of(f"bound={bound}", f"prior={prior}"))


@pytest.mark.parametrize("decoder", ["mlp", "linear", "conv", "pixelcnn"])
@pytest.mark.parametrize("encoder", ["mlp", "linear", "conv"])
def test_every_network(encoder: str, decoder: str) -> None:
    assert_the_same(steps_of(f"encoder={encoder}", f"decoder={decoder}"))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # lerp_ of the optimal sigma has no batching rule
@options("likelihood")
def test_every_likelihood(likelihood: str) -> None:
    assert_the_same(steps_of(f"likelihood={likelihood}"))


def test_the_same_step_twice_gives_the_same_loss() -> None:
    """Nothing is remembered from one call to the next."""
    step = steps_of("bound=iwae", "prior=mixture")[0]
    x, noise, coefficients = inputs(step)
    assert torch.equal(step(x[0], noise[0], coefficients), step(x[0], noise[0], coefficients))


def test_a_branch_on_a_tensor_is_found_out() -> None:
    class Branching(Transform):
        def forward(self, terms: Terms, target: Tensor) -> Tensor:
            rate = terms.rate.mean()
            return rate if rate > 0.5 else torch.zeros(())

    steps = steps_of()
    for step in steps:
        step.objective.rate = Branching()
    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        together(steps)
