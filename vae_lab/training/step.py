"""The step of a run: what a batch costs and the gradient of that, one operation after the other or as one compiled graph."""

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from vae_lab.errors import typed_line
from vae_lab.models import VAE, Batch, Terms
from vae_lab.objectives import Objective
from vae_lab.objectives.objective import Coefficients

Gradients = Sequence[Tensor | None]
Graph = Callable[..., tuple[Any, ...]]


class StepInputs(NamedTuple):
    """What a step is a function of, beside the parameters and buffers of what is trained."""

    x: Tensor  # (B, *shape), what p(x|z) is asked about
    y: Tensor | None  # (B,)
    seen: Tensor  # (B, *shape), what the encoder sees of x
    noise: Tensor  # (K, B, n)
    coefficients: Coefficients


class StepResult(NamedTuple):
    """Of a batch: the loss, (), and the parts of the ELBO, nats per example."""

    loss: Tensor
    rate: Tensor  # (B,)
    distortion: Tensor  # (K, B)


def terms_of(model: VAE, inputs: StepInputs) -> Terms:
    """What an objective sees of a batch: q is of what the encoder sees of x, p(x|z) is asked about x itself."""
    q = model.given(inputs.y).encode(inputs.seen)
    return model.terms(Batch(inputs.x, inputs.y), inputs.noise, q)


def loss_of(model: VAE, objective: Objective, inputs: StepInputs) -> StepResult:
    """The loss of a batch, to be differentiated."""
    terms = terms_of(model, inputs)
    return StepResult(objective(terms, inputs.coefficients), terms.rate.detach(), terms.distortion.detach())


class Step:
    """A step as torch's autograd takes it.

    Arguments:
        model, objective: what is trained, and by what.
        backward: adds the gradient of a loss to that of each parameter.
    """

    def __init__(self, model: VAE, objective: Objective, backward: Callable[[Tensor], Any] = Tensor.backward) -> None:
        self.model, self.objective, self._backward = model, objective, backward

    def differentiate(self, inputs: StepInputs, shares: int = 1) -> StepResult:
        """The loss; one of so many `shares` of its gradient is added to that of each parameter."""
        found = loss_of(self.model, self.objective, inputs)
        self._backward(found.loss / shares if shares > 1 else found.loss)
        return found._replace(loss=found.loss.detach())


class CompiledStep(Step):
    """A step as one graph of tensor operations, forward and backward, which torch's Inductor compiles: what lies between
    two matrix products becomes one loop, and on a GPU the whole is launched at once (as a CUDA graph).

    The graph is recorded at the first batch; runs of one process whose graphs are the same share what was compiled. Whatever
    changes from batch to batch is an input of it, or would be taken for a constant: so it is recorded again at the batches
    `LOOKED_AT`, and has to be the same to the last digit; and what was compiled has to find what the plain step finds, where
    every part of the loss counts, as it need not at the beginning of a warm-up.
    """

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__(model, objective)
        self._differentiated = _Differentiated(model, objective)
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}
        self._graph: Graph | None = None
        self._identity: Any = None
        self._batches = 0

    def differentiate(self, inputs: StepInputs, shares: int = 1) -> StepResult:
        """As of the plain step; the gradient is a part of the graph.

        Errors: `RuntimeError` if the plain step is another one, or finds something else.
        """
        if self._graph is None:
            self._graph = self._compiled(inputs)
        self._batches += 1
        if self._batches in LOOKED_AT:
            self._check(self._graph, inputs)
        found, gradients = self._run(self._graph, inputs)
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            if gradient is not None:
                share = _laid_out_as(parameter, gradient / shares if shares > 1 else gradient)
                parameter.grad = share if parameter.grad is None else parameter.grad + share
        return found

    def _inputs(self, inputs: StepInputs) -> tuple[Tensor | None, ...]:
        return (*self._parameters.values(), *self._buffers.values(), *_flat(inputs))

    def _run(self, graph: Graph, inputs: StepInputs) -> tuple[StepResult, Gradients]:
        if inputs.x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad(), torch.autocast(inputs.x.device.type, enabled=False):  # what is cast was recorded
            loss, rate, distortion, *rest = graph(*self._inputs(inputs))
            for buffer, value in zip(self._buffers.values(), rest[len(self._parameters) :], strict=True):
                buffer.copy_(value)
        gradients = rest[: len(self._parameters)]
        return StepResult(
            loss.clone(), rate.clone(), distortion.clone()
        ), gradients  # a CUDA graph writes over its results

    def _check(self, graph: Graph, inputs: StepInputs) -> None:
        """Errors: `RuntimeError` if the graph is not that of the step any more, or what was compiled finds something else."""
        if _identity(self._recorded(inputs), self._inputs(inputs)) != self._identity:
            text = f"compile=true: the step of batch {self._batches} is not that of the first: something in it changes that is"
            raise RuntimeError(f"{text} no input of it, such as a counter or a schedule of its own; use compile=false")
        inputs = inputs._replace(coefficients=Coefficients(*map(torch.ones_like, inputs.coefficients)))
        with self._untouched():
            loss, rate, distortion, *gradients = self._differentiated(list(self._parameters.values()), inputs)
            plain = self._named(StepResult(loss, rate, distortion), gradients)
        with self._untouched():
            compiled = self._named(*self._run(graph, inputs))
        self._compare(plain, compiled, inputs.x.device.type)

    def _named(self, found: StepResult, gradients: Gradients) -> dict[str, Tensor | None]:
        """What a step has found, and the buffers as they are after it."""
        results = {f"the {name}": value for name, value in found._asdict().items()}
        named = (f"{_GRADIENT} {name}" for name in self._parameters)
        after = {name: buffer.clone() for name, buffer in self._buffers.items()}
        return {**results, **dict(zip(named, gradients, strict=True)), **after}

    def _compiled(self, inputs: StepInputs) -> Graph:
        began = time.perf_counter()
        self._parameters = {name: one for name, one in self._differentiated.named_parameters() if one.requires_grad}
        self._buffers = dict(self._differentiated.named_buffers())
        for kept in (*self._parameters.values(), *self._buffers.values()):
            torch._dynamo.mark_static_address(kept)  # a CUDA graph would copy them at every step
        with _one_line("cannot be recorded"):
            recorded = self._recorded(inputs)
        self._identity = key = _identity(recorded, self._inputs(inputs))
        if key not in _compiled:
            options: dict[str, Any] = {"fallback_random": True, "triton.cudagraphs": inputs.x.is_cuda}
            graph = torch.compile(recorded, fullgraph=True, dynamic=False, options=options)
            torchs_own = warnings.catch_warnings(action="ignore", category=DeprecationWarning)
            with _one_line("cannot be compiled"), self._untouched(), torchs_own:
                self._run(graph, inputs)
            _compiled[key] = graph
        operations = sum(node.op == "call_function" for node in recorded.graph.nodes)
        seconds = time.perf_counter() - began
        logging.getLogger(__name__).info("compiled the step, %d operations, in %.1f s", operations, seconds)
        return _compiled[key]

    def _recorded(self, inputs: StepInputs) -> torch.fx.GraphModule:
        with self._untouched():
            recorded = make_fx(self._functional)(*self._inputs(inputs))
        recorded.graph.eliminate_dead_code()
        recorded.recompile()
        return recorded

    def _functional(self, *flat: Any) -> tuple[Tensor | None, ...]:
        """Everything that a step depends on goes in; everything that it finds comes out, the buffers as they are then too."""
        parameters, rest = flat[: len(self._parameters)], flat[len(self._parameters) :]
        buffers, inputs = [one.clone() for one in rest[: len(self._buffers)]], _inputs_of(*rest[len(self._buffers) :])
        state = {
            **dict(zip(self._parameters, parameters, strict=True)),
            **dict(zip(self._buffers, buffers, strict=True)),
        }
        return (*torch.func.functional_call(self._differentiated, state, (parameters, inputs)), *buffers)

    @contextlib.contextmanager
    def _untouched(self) -> Iterator[None]:
        """A step that is no step of training: random numbers and buffers are afterwards what they were."""
        before = [buffer.clone() for buffer in self._buffers.values()]
        device = next(iter(self._parameters.values())).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
        for buffer, value in zip(self._buffers.values(), before, strict=True):
            buffer.copy_(value)

    def _compare(self, plain: dict[str, Tensor | None], compiled: dict[str, Tensor | None], device: str) -> None:
        """Errors: `RuntimeError` where they differ by more than rounding."""
        gradients = {name: _norm(value) for name, value in plain.items() if name.startswith(_GRADIENT)}
        least = _NEGLIGIBLE * math.hypot(*gradients.values())
        for name, value in plain.items():
            tolerance = _tolerance(value, name in gradients or torch.is_autocast_enabled(device))
            off = _distance(value, compiled[name], least if name in gradients else 0.0)
            if not off <= tolerance:
                text = f"compile=true: {name} of the compiled step is not that of the plain one"
                raise RuntimeError(f"{text} (off by {off:.2g} of its size, {tolerance:g} allowed); use compile=false")


_GRADIENT = "the gradient of"

LOOKED_AT = (2, 100)
"""The batches at which a compiled step is held against the plain one."""

_compiled: dict[Any, Graph] = {}
"""The graphs of this process by their identity, for as long as it lives: a study has one or a few."""


class _Differentiated(nn.Module):
    """The loss of a step and its gradient, as a module of all that is trained."""

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, parameters: Sequence[Tensor], inputs: StepInputs) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            found = loss_of(self.model, self.objective, inputs)
            gradients = torch.autograd.grad(found.loss, parameters, allow_unused=True)
        return (found.loss.detach(), found.rate, found.distortion, *gradients)


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Whatever torch's recorder or compiler raises, as a `RuntimeError` of one line; but for a device that is full."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise RuntimeError(f"compile=true: the step {what} ({typed_line(error)}); use compile=false") from error


def _identity(recorded: torch.fx.GraphModule, inputs: Sequence[Tensor | None]) -> Any:
    """What two graphs have in common that are the same: their operations, constants and the kinds of their inputs."""
    constants = [(name, *_kind(one), _bytes(one)) for name, one in _constants(recorded)]
    return recorded.code, tuple(constants), tuple(map(_kind, inputs)), torch.get_num_threads()


def _constants(recorded: torch.fx.GraphModule) -> list[tuple[str, Tensor]]:
    names = {str(node.target) for node in recorded.graph.nodes if node.op == "get_attr"}
    return [(name, getattr(recorded, name)) for name in sorted(names)]


def _bytes(tensor: Tensor) -> bytes:
    """Of any type: numpy has no bfloat16."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _kind(tensor: Tensor | None) -> Any:
    return (
        None if tensor is None else (tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)
    )


def _tolerance(a: Tensor | None, rough: bool) -> float:
    """By how much two results may differ, relative to their size: sums in another order by 1e-6 in float32. A gradient jumps
    where a ReLU's input is zero but for rounding: by 1e-3 where there are a million of them and one or two fall on its other
    side, by more where there are fewer, and more seldom."""
    if a is not None and a.dtype == torch.float64:
        return 1e-8
    return 0.1 if rough or a is None or a.dtype != torch.float32 else 1e-4


_NEGLIGIBLE = 1e-5
"""The share of the whole gradient below which one parameter's is rounding, as that of a bias before a batch norm."""


def _distance(a: Tensor | None, b: Tensor | None, least: float) -> float:
    """How far b is from a, relative to the size of a and `least`: 0 where both are missing or neither is finite, as of a step
    that will be skipped; infinite where one of them is."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    if not a.isfinite().all():
        return math.inf if b.isfinite().all() else 0.0
    off = _norm(a.double() - b.double())
    return off / max(_norm(a) + least, 1e-30) if off else 0.0


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A gradient in the memory order of its parameter, which a fused optimiser takes for granted; autograd sees to it where
    it adds a gradient itself."""
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def _norm(tensor: Tensor | None) -> float:
    return 0.0 if tensor is None else float(tensor.double().norm())


def _flat(inputs: StepInputs) -> tuple[Tensor | None, ...]:
    """The inputs of a graph. A CUDA graph takes none from the host."""
    coefficients = (one.to(inputs.x.device, non_blocking=True) for one in inputs.coefficients)
    return (inputs.x, inputs.y, inputs.seen, inputs.noise, *coefficients)


def _inputs_of(x: Tensor, y: Tensor | None, seen: Tensor, noise: Tensor, *coefficients: Tensor) -> StepInputs:
    return StepInputs(x, y, seen, noise, Coefficients(*coefficients))
