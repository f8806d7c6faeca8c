"""How q is obtained and updated: an inference says what a training step does, and how a posterior is found.

Each is a part of the model (`VAE.inference`), so that its state is in the checkpoint, and so that what refines q at
training refines it at evaluation too.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions import stream
from vae_lab.models import VAE, Autoencoding, Batch, Inference
from vae_lab.objectives.beta import updates
from vae_lab.settings import Count, Momentum, Positive, Updates
from vae_lab.traits import Traits

_WHOLE = "it takes several steps on a batch, and accumulation would show each of them only a part of one"


class Run(Protocol):
    """What an inference may ask of the run that it is a part of."""

    @property
    def model(self) -> VAE: ...
    @property
    def updates(self) -> int:
        """Updates taken so far."""
        ...

    def descend(self, batch: Batch, frozen: Iterable[nn.Parameter] = ()) -> None:
        """One batch of descent on the objective by everything but `frozen`, and an update."""

    def inner_step(self, counter: int, frozen: Iterable[nn.Parameter]) -> float:
        """A step between two updates, on fresh batch number `counter`; its loss."""
        ...

    def reset(self, name: str) -> None:
        """Returns a part of the model to the weights it was made with."""

    def mutual_information(self) -> float:
        """Of x and z under q over the validation split, nats."""
        ...


class Amortized(Inference):
    """The encoder gives q(z|x), and one step updates everything (Kingma and Welling 2014)."""

    neutral = True
    settled = 0  # the first update from which a step does what it does ever after
    adaptive = False  # whether what a step does follows what is measured
    resets: tuple[str, ...] = ()  # parts of the model that it returns to their first weights

    def step(self, run: Run, batch: Batch) -> None:
        """One batch of training."""
        run.descend(batch)

    def rate_weight(self, t: int) -> float:
        """What the weight of the rate is multiplied by at update t."""
        return 1.0

    def validated(self, run: Run) -> None:
        """Told after each validation."""

    def facts(self) -> dict[str, float]:
        """What is logged of it beside the losses, under `train/`."""
        return {}


class Aggressive(Amortized):
    r"""The encoder is trained until it no longer gains before each step of the decoder (He et al. 2019, Algorithm 1).

    While aggressive, a step first updates the encoder alone on fresh batches, at most `inner_steps` times, and stops when
    the mean loss of a window of `window` of them is above that of the window before; then it updates the decoder and
    the prior alone on its own batch. It stops being aggressive for good once the mutual information under q has not
    risen for `patience` validations.

    Differences from the paper: the mutual information is that of the whole validation split (theirs is computed within
    a batch and cannot exceed the log of its size); the encoder's steps go through the run's own optimiser, which skips
    the parameters that have no gradient, so one Adam does what their two do. What the objective trains for itself, such as
    a discriminator, steps along.

    `updates` counts the decoder's steps: an aggressive run takes many times the work of a plain one of as many updates.
    `train/inner_steps` counts the encoder's.

    Arguments:
        inner_steps: the most encoder steps before one of the decoder (the paper: 100).
        window: encoder steps whose mean loss is compared with that of as many before (the paper: 15 for text, 10 for
            images).
        patience: validations without a rise of the mutual information (the paper: 1 for text, 5 for images).
    """

    traits = Traits(
        needs={"whole_batch": _WHOLE, "wide_gradients": "it steps between two updates, where nobody unscales a loss"}
    )
    adaptive = True
    active: Tensor
    best: Tensor
    waited: Tensor
    inner: Tensor

    def __init__(self, inner_steps: Count = 30, window: Count = 10, patience: Count = 5) -> None:
        super().__init__()
        if 2 * window > inner_steps:
            raise ValueError(
                f"inference.window: {window} given; must be at most half of inference.inner_steps = {inner_steps}, "
                "or no two windows are ever compared"
            )
        self.inner_steps, self.window, self.patience = inner_steps, window, patience
        self.register_buffer("active", torch.tensor(True))
        self.register_buffer("best", torch.tensor(-torch.inf, dtype=torch.float64))  # mutual information, nats
        self.register_buffer("waited", torch.tensor(0))
        self.register_buffer("inner", torch.tensor(0))  # encoder steps so far

    def step(self, run: Run, batch: Batch) -> None:
        if not self.active:
            return run.descend(batch)
        encoder = [*run.model.encoder.parameters(), *run.model.parametrization.parameters()]
        rest = _others(run.model.parameters(), encoder)
        before, total = float("inf"), 0.0
        for taken in range(1, self.inner_steps + 1):
            total += run.inner_step(int(self.inner), frozen=rest)
            self.inner += 1
            if taken % self.window == 0:
                if total / self.window > before:
                    break
                before, total = total / self.window, 0.0
        return run.descend(batch, frozen=encoder)

    def validated(self, run: Run) -> None:
        if not self.active:
            return
        information = run.mutual_information()
        better = information > float(self.best)
        self.best.fill_(max(information, float(self.best)))
        self.waited.fill_(0 if better else int(self.waited) + 1)
        self.active.fill_(int(self.waited) < self.patience)

    def facts(self) -> dict[str, float]:
        return {"inner_steps": float(self.inner)}


def _others(parameters: Iterable[nn.Parameter], some: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    named = {id(parameter) for parameter in some}
    return [parameter for parameter in parameters if id(parameter) not in named]


class SemiAmortized(Amortized):
    r"""The encoder's q(z|x) is refined for each example by gradient descent on its own negative ELBO, and training goes
    through the refinement (Kim et al. 2018, section 3).

    .. math:: \lambda_0 = \mathrm{enc}(x), \quad
              v_{s+1} = m v_s - \alpha \nabla_\lambda [D + R](\lambda_s), \quad \lambda_{s+1} = \lambda_s + v_{s+1}

    The refinement is a part of what q is: evaluation refines too, with one fixed draw of noise for all examples, whatever
    `evaluation.seed`, and reports the refined q as `elbo` and the encoder's own as `elbo_amortized`.

    Differences from the paper: second derivatives are exact (the paper takes finite differences); a gradient is clipped for
    each example by itself; what is descended on is D + R, whatever the weight of the rate is in training; half the steps of
    the authors' code, at a tenth of its step (20 and 1.0), which suit this lab's small models and cost.

    Arguments:
        steps: S; rate: the step alpha; momentum: m; clip: the largest norm of an example's gradient.
        samples: draws of z for each gradient.
    """

    refines = True
    traits = Traits(
        needs={
            "free_parameters_of_q": "each example's location and scale are descended on by themselves",
            "whole_batch": _WHOLE,
            "undivided_decoder": "it descends on q through the decoder inside every step",
            "unrecorded_step": "it takes a seed from a tensor within a step",
        }
    )

    def __init__(
        self,
        steps: Count = 10,
        rate: Positive = 0.1,
        momentum: Momentum = 0.5,
        clip: Positive = 5.0,
        samples: Count = 1,
    ) -> None:
        super().__init__()
        self.steps, self.rate, self.momentum, self.clip, self.samples = steps, rate, momentum, clip, samples

    def forward(self, model: Autoencoding, x: Tensor) -> Distribution:
        through = torch.is_grad_enabled()
        with torch.enable_grad():
            raw = self.refined(model, x, model.raw(x), through)
        return model.posterior(raw if through else raw.detach(), model.parametrization)

    def refined(self, model: Autoencoding, x: Tensor, raw: Tensor, through: bool) -> Tensor:
        """The raw parameters of q after S steps, differentiable through them if `through`."""
        raw = raw if through else raw.detach().requires_grad_()
        velocity = torch.zeros_like(raw)
        for noise in self._noise(model, len(x), x.device):
            q = model.posterior(raw, model.parametrization)
            loss = -model.terms(Batch(x), noise, q).elbo.sum()  # a sum: each example's gradient is its own
            (gradient,) = torch.autograd.grad(loss, raw, create_graph=through)
            norm = gradient.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            velocity = self.momentum * velocity - self.rate * gradient * (self.clip / norm).clamp(max=1.0)
            raw = raw + velocity
            raw = raw if through else raw.detach().requires_grad_()
        return raw

    def _noise(self, model: Autoencoding, batch_size: int, device: torch.device) -> Iterator[Tensor]:
        """Of each step, (samples, B, n): drawn anew in training; at evaluation always the same, for every example too, so
        that q is a function of x alone and what varies over examples is what x says."""
        generator = torch.Generator(device)
        if self.training:
            generator.manual_seed(int(torch.randint(2**62, ())))
        for step in range(self.steps):
            if self.training:
                yield model.noise(batch_size, self.samples, generator)
            else:
                alone = model.noise(1, self.samples, stream(0, "refinement", step, device))
                yield alone.expand(-1, batch_size, -1)


class TwoStage(Amortized):
    """An autoencoder first, without the rate; then the decoder begins anew, and the objective as it is set (Li et al.
    2019, section 3).

    The encoder keeps what it has learned. The decoder returns to the random weights it was made with (also where the run
    began from another's), and its optimiser forgets it. Their second stage has free bits and a warm-up: `rate=free_bits`, and `beta=linear` with a
    `delay` of the length of the first stage.

    Arguments:
        pretrain: the length of the first stage.
    """

    traits = Traits(
        needs={"additive_rate": "its first stage leaves the rate out"},
        forbids={"rate_in_full": "its first stage leaves the rate out"},
    )
    resets = ("decoder",)

    def __init__(self, total_updates: int, pretrain: Updates = 0.25) -> None:
        super().__init__()
        self.settled = updates(pretrain, total_updates)

    def rate_weight(self, t: int) -> float:
        return 0.0 if t < self.settled else 1.0

    def step(self, run: Run, batch: Batch) -> None:
        if run.updates == self.settled:
            run.reset("decoder")
        super().step(run, batch)
