"""One batch through every part of a request before anything is trained: an answer of the wrong type, shape or law is
refused in one line. It takes some hundredths of a second; a class from outside the lab is held to the laws of its kind too,
which takes some seconds, once a process."""

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vae_lab import testing
from vae_lab.build import build, build_model, build_objective, updates_of
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.errors import RequestError, placed
from vae_lab.models import Batch
from vae_lab.objectives.beta import Schedule
from vae_lab.options import option_name
from vae_lab.targets import Node, parts, raise_for_memory, targets
from vae_lab.training.schedulers import LearningRate

BATCH = 3
"""Examples in the batch: neither one, which hides a missing dimension, nor many, which would take time."""

OF_REAL_X = ("encoder", "likelihood")
"""The groups whose laws are tried on real x: parts for whole numbers, such as tokens, refuse it."""


def try_parts(settings: Node, dataset: Dataset) -> list[str]:
    """Tries every part of a checked request; the laws that parts of its objective break, one line each: what is trained may
    bend anything. Errors: `RequestError`, one line that names class and method, what came and what is wanted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = _Trial(settings, dataset).run()
    untried = () if x.is_floating_point() else OF_REAL_X
    foreign = [
        (key, node) for key, node in targets(settings) if is_foreign(node) and key.partition(".")[0] not in untried
    ]
    return [line for key, node in foreign for line in _broken(key, node, tuple(x.shape[1:]))]


def is_foreign(node: Node) -> bool:
    """Whether a node's class is from outside the lab."""
    return not str(node["_target_"]).startswith("vae_lab.")


def has_foreign(settings: Node) -> bool:
    """Whether a part of a request is from outside the lab: what ships with it is tried by its tests."""
    return any(is_foreign(node) for _, node in targets(settings))


class _Trial:
    """The parts of a request, and a batch for them."""

    def __init__(self, settings: Node, dataset: Dataset) -> None:
        self.settings, self.dataset, self.spec = settings, dataset, dataset.spec()
        self.latent_dim = settings["latent_dim"]

    def run(self) -> Tensor:
        """Tries the parts in the order of the data's way, and returns the x that they were tried on."""
        batch = self._batch()
        model, objective = build_model(self.settings, self.spec), build_objective(self.settings, self.spec)
        seen = self._seen(batch.x)
        at = model.given(batch.y)
        q = self._encoded(model, at, seen)
        noise = torch.randn(objective.samples, len(batch.x), model.posterior.noise_dim)
        z = self._drawn(model, q, noise)
        self._prior(at, z)
        self._decoded(model, at, z, batch.x)
        refined = self._ask("inference", "forward", model.inference, at, seen)
        self._law("inference", "forward", refined, (len(seen),), (self.latent_dim,))
        loss = self._loss(objective, at.terms(Batch(batch.x), noise, refined))
        self._ask(self._culprit(), "the backward pass", loss.backward)
        self._updates([*model.parameters(), *objective.parameters()])
        return batch.x

    # ---- what a part is asked, and what it may answer

    def _name(self, key: str) -> tuple[str, str]:
        """`encoder=own` and the class that it names."""
        node: Any = functools.reduce(lambda inner, name: inner[name], key.split("."), self.settings)
        return f"{key.partition('.')[0]}={option_name(key, node)}", str(node["_target_"])

    def _ask(self, key: str, method: str, function: Callable[..., Any], *given: Any) -> Any:
        """What a part answers. Errors: `RequestError` with the place of whatever it raised."""
        try:
            return function(*given)
        except (RequestError, DataError):
            raise
        except Exception as error:
            raise_for_memory(error)
            option, target = self._name(key)
            told = f", given {', '.join(map(_shown, given))}" if given else ""
            raise RequestError(f"{option}: {target}.{method} raised {placed(error)}{told}") from error

    def _want(self, key: str, method: str, answer: Any, wanted: str, right: bool) -> None:
        if not right:
            option, target = self._name(key)
            asked = f"{target}.{method}" if method else target
            raise RequestError(f"{option}: {asked} gave {_shown(answer)}; wanted {wanted}")

    def _tensor(self, key: str, method: str, answer: Any, shape: Sequence[int], meaning: str) -> None:
        right = isinstance(answer, Tensor) and tuple(answer.shape) == tuple(shape) and answer.is_floating_point()
        self._want(key, method, answer, f"a float tensor {_written(shape)}, {meaning}", right)

    def _law(self, key: str, method: str, p: Any, batch: Sequence[int], event: Sequence[int]) -> None:
        """A distribution of these shapes."""
        right = isinstance(p, Distribution) and (tuple(p.batch_shape), tuple(p.event_shape)) == (
            *map(tuple, (batch, event)),
        )
        wanted = f"a torch distribution with batch shape {_written(batch)} and event shape {_written(event)}"
        self._want(key, method, p, wanted, right)

    # ---- the parts, in the order of the data's way

    def _batch(self) -> Batch:
        """Real examples of somebody's own dataset; made ones of the declared shape and kind of a shipped one, which may be
        large."""
        size = min(BATCH, self.settings["batch_size"])
        if not is_foreign(self.settings["dataset"]):
            y = None if self.spec.labels is None else torch.zeros(size, dtype=torch.int64)
            x = torch.rand(size, *self.spec.shape)
            return Batch(x.round() if self.spec.kind == "binary" else x, y)
        for split in ("train", "val", "test"):
            data = self._ask("dataset", "read", self.dataset.load, split)
            shape = (self.spec.sizes[split], *self.spec.shape)
            came = f"a {split} split of {len(data)} examples {_written(data.stored.shape[1:])}"
            self._want("dataset", "read", came, f"{shape[0]} of {_written(shape[1:])}, as spec() says",
                       (len(data), *data.stored.shape[1:]) == shape)  # fmt: skip
        batches = self._ask("dataset", "batches", functools.partial(self.dataset.batches, shuffle=True), "train", size)
        batch: Batch = next(iter(batches))
        return batch

    def _seen(self, x: Tensor) -> Tensor:
        corruption = build(self.settings["corruption"])
        seen: Tensor = self._ask("corruption", "forward", corruption, x)
        right = isinstance(seen, Tensor) and seen.shape == x.shape
        self._want("corruption", "forward", seen, f"a tensor of the shape of x, {_written(x.shape)}", right)
        return seen

    def _encoded(self, model: Any, at: Any, x: Tensor) -> Distribution:
        count = model.posterior.outputs
        raw = self._ask("encoder", "forward", at.encoder, x)
        self._tensor("encoder", "forward", raw, (len(x), count), f"(batch, outputs) for x {_written(x.shape)}")
        learns = any(parameter.requires_grad for parameter in model.encoder.parameters())
        self._want("encoder", "forward", "a tensor without a gradient", "one that its parameters have made",
                   raw.requires_grad or not learns)  # fmt: skip
        q: Distribution = self._ask("posterior", "forward", model.posterior, raw, self._checked(model.parametrization))
        self._law("posterior", "forward", q, (len(x),), (self.latent_dim,))
        return q

    def _checked(self, parametrization: nn.Module) -> Callable[[Tensor, Tensor], Any]:
        """A parametrization whose answers are looked at."""

        def asked(loc: Tensor, log_scale: Tensor) -> Any:
            pair = self._ask("parametrization", "forward", parametrization, loc, log_scale)
            right = isinstance(pair, tuple) and [_size(one) for one in pair] == [loc.shape, log_scale.shape]
            wanted = f"location and log-scale, a tuple of two tensors {_written(loc.shape)}"
            self._want("parametrization", "forward", pair, wanted, right)
            return pair

        return asked

    def _drawn(self, model: Any, q: Distribution, noise: Tensor) -> Tensor:
        z: Tensor = self._ask("posterior", "reparametrize", model.posterior.reparametrize, q, noise)
        shape = (*noise.shape[:2], self.latent_dim)
        self._tensor("posterior", "reparametrize", z, shape, "(draws, batch, latent_dim)")
        log_q = self._ask("posterior", "forward().log_prob", q.log_prob, z)
        self._tensor("posterior", "forward().log_prob", log_q, shape[:2], "(draws, batch)")
        return z

    def _prior(self, at: Any, z: Tensor) -> None:
        p = self._ask("prior", "forward", at.prior)
        by_label = self.settings["labels"].get("prior", False)
        self._law("prior", "forward", p, (z.shape[1],) if by_label else (), (self.latent_dim,))
        log_p = self._ask("prior", "forward().log_prob", p.log_prob, z)
        self._tensor("prior", "forward().log_prob", log_p, z.shape[:2], f"(draws, batch) for z {_written(z.shape)}")

    def _decoded(self, model: Any, at: Any, z: Tensor, x: Tensor) -> None:
        shape, arity = self.spec.shape, model.likelihood.arity

        def likelihood(raw: Tensor) -> Distribution:
            right = isinstance(raw, Tensor) and tuple(raw.shape[-len(shape) - 1 :]) == (*shape, arity)
            wanted = f"for the likelihood a tensor {_written(('...', *shape, arity))}, (..., *shape, arity)"
            self._want("decoder", "forward", raw, wanted, right)
            p: Distribution = self._ask("likelihood", "forward", model.likelihood, raw)
            self._law("likelihood", "forward", p, raw.shape[: -len(shape) - 1], shape)
            return p

        p = self._ask("decoder", "forward", at.decoder, z, likelihood)
        self._law("decoder", "forward", p, z.shape[:2], shape)
        log_p = self._ask("likelihood", "forward().log_prob", p.log_prob, x)
        self._tensor("likelihood", "forward().log_prob", log_p, z.shape[:2], "(draws, batch), summed over x")

    def _loss(self, objective: Any, terms: Any) -> Tensor:
        end = updates_of(self.settings, self.spec)
        for t in (0, end // 2, end):
            weight = self._ask("beta", "forward", objective.beta, t)
            right = isinstance(weight, (int, float, Tensor)) and 0 <= float(weight) < math.inf
            self._want("beta", f"forward({t})", weight, "a finite number, at least 0", right)
        weights = self._ask("beta", "weights", objective.coefficients, 0)
        rate = self._ask("rate", "forward", objective.rate, terms, weights.target)
        self._tensor("rate", "forward", rate, (), "a scalar")
        loss: Tensor = self._ask("bound", "forward", objective.bound, terms, weights, objective.rate)
        self._tensor("bound", "forward", loss, (), "a scalar, the loss")
        for name, part in zip(parts(self.settings["regularizer"]), objective.regularizers, strict=True):
            key = f"regularizer.{name}" if name else "regularizer"
            extra = self._ask(key, "forward", part, terms)
            self._tensor(key, "forward", extra, (), "a scalar")
            loss = loss + extra
        if not isinstance(objective.beta, Schedule):
            means = terms.distortion.mean().detach(), terms.rate.mean().detach()
            self._ask("beta", "observe", objective.beta.observe, *means)
        self._want(
            "bound", "forward", "a loss without a gradient", "one that can be differentiated", loss.requires_grad
        )
        return loss

    def _culprit(self) -> str:
        """Whose backward pass it is: of somebody's own part, if there is one."""
        return next((key for key, node in targets(self.settings) if is_foreign(node)), "bound")

    def _updates(self, parameters: list[nn.Parameter]) -> None:
        optimizer = build(self.settings["optimizer"], params=parameters)
        self._want("optimizer", "", optimizer, "a torch.optim.Optimizer", isinstance(optimizer, Optimizer))
        self._ask("optimizer", "step", optimizer.step)
        updates = updates_of(self.settings, self.spec)
        scheduler = build(self.settings["scheduler"], optimizer=optimizer, total_updates=updates)
        right = scheduler is None or isinstance(scheduler, (LearningRate, LRScheduler, ReduceLROnPlateau))
        self._want("scheduler", "", scheduler, "a scheduler of torch.optim.lr_scheduler, or None", right)
        for name, node in parts(self.settings["callbacks"]).items():
            if is_foreign(node):
                made = build(node, directory="")
                right = isinstance(made, Callback)
                self._want(f"callbacks.{name}", "", made, "a pytorch_lightning.Callback", right)


# ---- the laws


def _broken(key: str, node: Node, shape: tuple[int, ...]) -> Iterator[str]:
    """The laws that a part of somebody's own breaks, one line. Errors: `RequestError` for a density that is none: every
    figure of the plain model would be wrong."""
    group = key.partition(".")[0]
    told = _lawful(group, json.dumps(node, default=str), shape)
    if told is None:
        return
    law, text = told
    line = (
        f"{group}={option_name(key, node)}: {node['_target_']} breaks a law of its kind (vae_lab.testing.{law}): {text}"
    )
    if group in ("prior", "posterior", "likelihood") and not text.startswith("it could not be tried"):
        raise RequestError(line)
    yield line


@functools.cache
def _lawful(group: str, node: str, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """The law that a part breaks, and how; None for one that breaks none, or whose kind has no laws."""
    option = json.loads(node)
    law, check = _LAWS.get(group, ("", None))
    if check is None:
        return None
    try:
        check(option, shape)
    except AssertionError as broken:
        return law, " ".join(str(broken).split())
    except Exception as error:
        return law, f"it could not be tried: {placed(error)}"
    return None


def _small(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with as many dimensions, of few numbers."""
    return (1, 2, 3) if len(shape) == 3 else (4,)


def _check_beta(option: Node, shape: tuple[int, ...]) -> None:
    weight = testing.make(option, total_updates=100)
    (testing.check_beta if isinstance(weight, Schedule) else testing.check_controller)(option)


_LAWS: dict[str, tuple[str, Callable[[Node, tuple[int, ...]], None]]] = {
    "prior": ("check_prior", lambda option, shape: testing.check_prior(option, 2)),
    "posterior": ("check_posterior", lambda option, shape: testing.check_posterior(option, 2)),
    "parametrization": ("check_parametrization", lambda option, shape: testing.check_parametrization(option, 2)),
    "likelihood": ("check_likelihood", lambda option, shape: testing.check_likelihood(option, [_small(shape)])),
    "encoder": ("check_encoder", lambda option, shape: testing.check_encoder(option, [shape])),
    "bound": ("check_bound", lambda option, shape: testing.check_bound(option)),
    "beta": ("check_beta", _check_beta),
    "rate": ("check_rate", lambda option, shape: testing.check_rate(option)),
    "regularizer": ("check_regularizer", lambda option, shape: testing.check_regularizer(option)),
}


# ---- words


def _size(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _written(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _shown(value: Any) -> str:
    """A value in a refusal: of a tensor its shape and type."""
    if isinstance(value, str):
        return value
    if isinstance(value, Tensor):
        return f"{value.dtype} {_written(value.shape)}".removeprefix("torch.")
    if isinstance(value, Distribution):
        shapes = f"batch shape {_written(value.batch_shape)} and event shape {_written(value.event_shape)}"
        return f"{type(value).__name__} with {shapes}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_shown, value))})"
    return repr(value) if isinstance(value, (int, float, type(None))) else f"a {type(value).__name__}"
