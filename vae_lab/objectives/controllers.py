"""Weights that follow what is observed: a controller's `observe` moves its state after each step, and `forward(t)` reads it.

The state is float64 tensors () in buffers: it is saved and restored to the bit, and it stays on the device, where a look
at its value would make the host wait. With g nats of rate (or distortion) gained for each unit of the state, and a model
that needs tau updates to follow, a controller is calm while speed * g < 1 / tau, and swings above that.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vae_lab.objectives.beta import WEIGHTED, Weight
from vae_lab.settings import Fraction, Momentum, NonNegative, Positive
from vae_lab.traits import Traits

_NEEDS = {**WEIGHTED.needs, "whole_batch": "it moves once a batch, and an update must be one"}
_HOLDS_RATE = Traits(
    needs=_NEEDS, forbids={**WEIGHTED.forbids, "unconstrained_rate": "it holds the rate by its own multiplier"}
)


class Controller(Weight):
    """What controllers share: a state that no observation can spoil. One that is not finite changes nothing.

    Arguments:
        lowest, highest: where the weight (or its multiplier) is kept; state: first values, by name.
    """

    adaptive = True

    def __init__(self, lowest: float, highest: float, **state: float) -> None:
        super().__init__()
        if lowest > highest:
            raise ValueError(f"beta.lowest: {lowest} given; must be at most beta.highest = {highest}")
        self.lowest, self.highest = lowest, highest
        for name, value in state.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    @classmethod
    def caution(cls, settings: Mapping[str, Any]) -> str | None:
        """Nobody knows beforehand when a controller is where it is going."""
        watches = {
            "evaluation.checkpoint=best": settings["evaluation"]["checkpoint"] == "best",
            "callbacks=early_stopping": "early_stopping" in settings["callbacks"],
            "scheduler=plateau": settings["scheduler"]["_target_"].endswith(".plateau"),
        }
        watching = " and ".join(name for name, does in watches.items() if does)
        return (
            f"val/elbo can be best before its target is reached, and is all that counts for {watching}"
            if watching
            else None
        )

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        """The state after an observation, float64 tensors (), by name."""
        raise NotImplementedError

    @torch.no_grad()
    def observe(self, distortion: Tensor, rate: Tensor) -> None:
        distortion, rate = distortion.double(), rate.double()
        finite = (distortion + rate).isfinite()
        for name, value in self.moved(distortion, rate).items():
            state: Tensor = getattr(self, name)
            state.copy_(torch.where(finite, value, state))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Controller":
        """A run in half precision moves its parameters to another type; a state of small steps would stand still there."""

        def kept(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(kept, recurse)
        return self


class Geco(Controller):
    r"""The least rate at which the distortion is no more than a target: a multiplier on the distortion grows while it is
    above and falls while it is below (GECO, Rezende and Viola 2018).

    .. math:: \min R \;\text{s.t.}\; D \le \kappa: \qquad
              \text{loss} = \lambda D + R, \quad \bar C \leftarrow \alpha \bar C + (1 - \alpha)(D - \kappa), \quad
              \lambda \leftarrow \lambda\, e^{s \bar C}

    Differences from the paper: the constraint is on the distortion itself, constants of the likelihood included; the
    average starts at 0, and what enters it is clipped so that no update changes log lambda by more than 0.02: the first
    distortions, or one outlier, cannot throw the multiplier to its end. On the linear VAE lambda ends at
    sigma^2 / theta, which is 1 / beta.

    Arguments:
        distortion: kappa, nats per example. Below what the decoder can reach, lambda climbs to `highest`.
        speed: s, the step of log lambda for a nat of excess.
        momentum: alpha, the part of the average that is past.
        lowest, highest: of lambda.
    """

    traits = Traits(
        needs={**_NEEDS, "declared_scale": "it holds the distortion at so many nats"},
        forbids={
            "unconstrained_rate": "it holds the distortion, which settles the rate",
            **WEIGHTED.forbids,
        },
    )

    @classmethod
    def caution(cls, settings: Mapping[str, Any]) -> str | None:
        """The default fits the bundled digits under a decoder of independent pixels alone."""
        dataset, decoder = settings["dataset"]["_target_"], settings["decoder"]["_target_"]
        fits = dataset.endswith(".Digits") and not decoder.endswith(".PixelCNNDecoder")
        if fits or settings["beta"]["distortion"] != 20.0:
            return super().caution(settings)
        return (
            "beta.distortion=20 nats is for the digits and a decoder of independent pixels; train once with mitigation=none "
            "and set beta.distortion a nat or two below its test/distortion"
        )

    multiplier: Tensor
    average: Tensor
    largest_step = 0.02

    def __init__(
        self,
        distortion: float = 20.0,
        speed: Positive = 0.001,
        momentum: Momentum = 0.99,
        lowest: Positive = 0.001,
        highest: Positive = 1000.0,
    ) -> None:
        super().__init__(lowest, highest, multiplier=min(max(1.0, lowest), highest), average=0.0)
        self.distortion, self.speed, self.momentum = distortion, speed, momentum

    def forward(self, t: int) -> Tensor:
        return 1 / self.multiplier

    def weights(self, t: int) -> tuple[Tensor, float]:
        return self.multiplier.clone(), 1.0

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        most = self.largest_step / self.speed
        excess = (distortion - self.distortion).clamp(-most, most)
        average = torch.lerp(excess, self.average, self.momentum)
        multiplier = (self.multiplier * (self.speed * average).exp()).clamp(self.lowest, self.highest)
        return {"multiplier": multiplier, "average": average}


class TargetRate(Controller):
    r"""The ELBO's optimum among models with a rate of at least `nats`: the minimum desired rate of Pelsmaeker and Aziz
    (2019), by a Lagrange multiplier.

    .. math:: \min D + R \;\text{s.t.}\; R \ge r: \qquad
              \text{loss} = D + (1 - u) R, \quad u \leftarrow [u + s (r - R)]_+

    A model whose rate is above `nats` anyway is left alone (u = 0). u stops at 1 - `lowest`, so that no rate is ever
    rewarded for itself. On the linear VAE u ends at 1 - theta / sigma^2.

    Arguments:
        nats: r, nats per example.
        speed: s, the step of u for a nat of missing rate.
        lowest: of the weight of the rate, 1 - u; at most 1.
    """

    traits = _HOLDS_RATE
    revision = 1  # the default target
    multiplier: Tensor

    def __init__(self, nats: Positive = 4.0, speed: Positive = 0.01, lowest: Fraction = 0.0) -> None:
        super().__init__(lowest, 1.0, multiplier=0.0)
        self.nats, self.speed = nats, speed

    def forward(self, t: int) -> Tensor:
        return 1 - self.multiplier

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        wished = self.multiplier + self.speed * (self.nats - rate)
        return {"multiplier": wished.clamp(0.0, 1 - self.lowest)}


class PI(Controller):
    r"""A rate of `nats`, held by a controller with a proportional and an integral part (ControlVAE, Shao et al. 2020).

    .. math:: e = C - R, \qquad I \leftarrow I - K_i e, \qquad \beta = \frac{K_p}{1 + e^{e}} + I

    The weight starts low, which is a warm-up that lasts until the rate has reached its target. At an end of its range
    the integral waits where the weight leaves it as soon as the error turns (anti-windup; the published code for images
    tests for a state that cannot occur, and so has none). Because of `highest` = 1, `nats` below the natural rate are
    not reached by default: the weight then stays at 1.

    Arguments:
        nats: C, nats per example.
        proportional, integral: K_p and K_i, both positive here (the published code: 0.01, and 0.0001 for images and text
            or 0.001 for dSprites).
        lowest, highest: of beta.
        start: beta at the first update.
    """

    traits = _HOLDS_RATE
    revision = 1  # the default target
    weight: Tensor
    sum: Tensor

    def __init__(
        self,
        nats: Positive = 4.0,
        proportional: NonNegative = 0.01,
        integral: Positive = 0.001,
        lowest: NonNegative = 0.0,
        highest: Positive = 1.0,
        start: NonNegative = 0.0,
    ) -> None:
        super().__init__(lowest, highest, weight=max(start, lowest), sum=max(start, lowest))
        if start > highest:
            raise ValueError(f"beta.start: {start} given; must be at most beta.highest = {highest}")
        self.nats, self.proportional, self.integral = nats, proportional, integral

    def forward(self, t: int) -> Tensor:
        return self.weight.clone()

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        error = self.nats - rate
        proportional = self.proportional * torch.sigmoid(-error)
        total = self.sum - self.integral * error
        total = total.clamp(self.lowest - proportional, self.highest - proportional)
        return {"sum": total, "weight": (proportional + total).clamp(self.lowest, self.highest)}


class SoftFreeBits(Controller):
    r"""A rate between `nats` and a little more: the weight falls by a constant factor while the rate is under that band,
    and grows by it while the rate is over (Chen et al. 2017).

    .. math:: \beta \leftarrow \beta / (1 + \epsilon) \;\text{if } R < r, \qquad
              \beta \leftarrow \beta (1 + \epsilon) \;\text{if } R > (1 + m) r

    The weight never exceeds `highest` = 1, so that a rate which is above the band anyway is left alone, as free bits do.
    A model that follows slowly overshoots the band by about epsilon times the updates it needs: then take a smaller one.

    Arguments:
        nats: r, nats per example.
        speed: epsilon.
        margin: m, the width of the band where the weight rests.
        lowest, highest: of beta.
    """

    traits = _HOLDS_RATE
    revision = 1  # the default target
    weight: Tensor

    def __init__(
        self,
        nats: Positive = 4.0,
        speed: Positive = 0.01,
        margin: NonNegative = 0.05,
        lowest: Positive = 0.001,
        highest: Positive = 1.0,
    ) -> None:
        super().__init__(lowest, highest, weight=min(max(1.0, lowest), highest))
        self.nats, self.speed, self.margin = nats, speed, margin

    def forward(self, t: int) -> Tensor:
        return self.weight.clone()

    def moved(self, distortion: Tensor, rate: Tensor) -> dict[str, Tensor]:
        over, under = rate > (1 + self.margin) * self.nats, rate < self.nats
        power = over.double() - under.double()
        return {"weight": (self.weight * (1 + self.speed) ** power).clamp(self.lowest, self.highest)}
