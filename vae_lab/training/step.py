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


class Given(NamedTuple):
    """What a step is a function of, beside the parameters and buffers of what is trained."""

    x: Tensor  # (B, *shape), what p(x|z) is asked about
    y: Tensor | None  # (B,)
    seen: Tensor  # (B, *shape), what the encoder sees of x
    noise: Tensor  # (K, B, n)
    coefficients: Coefficients


class Found(NamedTuple):
    """Of a batch: the loss, (), and the parts of the ELBO, nats per example."""

    loss: Tensor
    rate: Tensor  # (B,)
    distortion: Tensor  # (K, B)


class Step:
    """A step as torch's autograd takes it.

    Arguments:
        model, objective: what is trained, and by what.
    """

    def __init__(self, model: VAE, objective: Objective) -> None:
        self.model, self.objective = model, objective

    def terms(self, given: Given) -> Terms:
        """What the objective sees of a batch: q is of what the encoder sees of x, p(x|z) is asked about x itself."""
        q = self.model.given(given.y).encode(given.seen)
        return self.model.terms(Batch(given.x, given.y), given.noise, q)

    def forward(self, given: Given) -> Found:
        """The loss, to be differentiated."""
        terms = self.terms(given)
        return Found(self.objective(terms, given.coefficients), terms.rate.detach(), terms.distortion.detach())

    def differentiate(self, given: Given, backward: Callable[[Tensor], Any], shares: int = 1) -> Found:
        """The loss; one of so many `shares` of its gradient is added to that of each parameter by `backward`."""
        found = self.forward(given)
        backward(found.loss / shares if shares > 1 else found.loss)
        return found._replace(loss=found.loss.detach())


class CompiledStep(Step):
    """A step as one graph of tensor operations, forward and backward, which torch's Inductor compiles: what lies between
    two matrix products becomes one loop, and on a GPU the whole is launched at once (as a CUDA graph).

    The graph is recorded at the first batch; runs of one process whose graphs are the same share what was compiled. Whatever
    changes from batch to batch is an input of it, or would be taken for a constant: so at the second batch the plain step
    is taken beside it, and has to find the same.
    """

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__(model, objective)
        self._both = _Both(self)
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}
        self._graph: Graph | None = None
        self._batches = 0

    def differentiate(self, given: Given, backward: Callable[[Tensor], Any], shares: int = 1) -> Found:
        """As of the plain step, but that `backward` is not asked: the gradient is a part of the graph.

        Errors: `RuntimeError` if the plain step finds something else.
        """
        if self._graph is None:
            self._graph = self._compiled(given)
        self._batches += 1
        expected = self._plain(given) if self._batches == 2 else None
        found, gradients = self._run(self._graph, given)
        if expected is not None:
            self._compare(expected, [found.loss, *gradients, *self._buffers.values()], given.x.device.type)
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            if gradient is not None:
                share = _laid_out_as(parameter, gradient / shares if shares > 1 else gradient)
                parameter.grad = share if parameter.grad is None else parameter.grad + share
        return found

    def _inputs(self, given: Given) -> tuple[Tensor | None, ...]:
        return (*self._parameters.values(), *self._buffers.values(), *_flat(given))

    def _run(self, graph: Graph, given: Given) -> tuple[Found, Gradients]:
        if given.x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad(), torch.autocast(given.x.device.type, enabled=False):  # what is cast was recorded
            loss, rate, distortion, *rest = graph(*self._inputs(given))
            for buffer, value in zip(self._buffers.values(), rest[len(self._parameters) :], strict=True):
                buffer.copy_(value)
        gradients = rest[: len(self._parameters)]
        return Found(loss.clone(), rate.clone(), distortion.clone()), gradients  # a CUDA graph writes over its results

    def _plain(self, given: Given) -> list[Tensor | None]:
        """The loss, its gradients, and the buffers after the plain step, which leaves no trace."""
        with self._untouched():
            loss, _, _, *gradients = self._both(list(self._parameters.values()), given)
            return [loss, *gradients, *(buffer.clone() for buffer in self._buffers.values())]

    def _compiled(self, given: Given) -> Graph:
        began = time.perf_counter()
        self._parameters = {name: one for name, one in self._both.named_parameters() if one.requires_grad}
        self._buffers = dict(self._both.named_buffers())
        for kept in (*self._parameters.values(), *self._buffers.values()):
            torch._dynamo.mark_static_address(kept)  # a CUDA graph would copy them at every step
        try:
            recorded = self._recorded(given)
            key = _identity(recorded, self._inputs(given))
            if key not in _compiled:
                options: dict[str, Any] = {"fallback_random": True, "triton.cudagraphs": given.x.is_cuda}
                graph = torch.compile(recorded, fullgraph=True, dynamic=False, options=options)
                torchs_own = warnings.catch_warnings(action="ignore", category=DeprecationWarning)
                with self._untouched(), torchs_own:
                    self._run(graph, given)
                _compiled[key] = graph
        except Exception as error:  # whatever torch's recorder or compiler raised
            raise RuntimeError(f"compile=true: {typed_line(error)}; use compile=false") from error
        operations = sum(node.op == "call_function" for node in recorded.graph.nodes)
        seconds = time.perf_counter() - began
        logging.getLogger(__name__).info("compiled the step, %d operations, in %.1f s", operations, seconds)
        return _compiled[key]

    def _recorded(self, given: Given) -> torch.fx.GraphModule:
        with self._untouched():
            recorded = make_fx(self._functional)(*self._inputs(given))
        recorded.graph.eliminate_dead_code()
        recorded.recompile()
        return recorded

    def _functional(self, *flat: Any) -> tuple[Tensor | None, ...]:
        """Everything that a step depends on goes in; everything that it finds comes out, the buffers as they are then too."""
        parameters, rest = flat[: len(self._parameters)], flat[len(self._parameters) :]
        buffers, given = [one.clone() for one in rest[: len(self._buffers)]], _given(*rest[len(self._buffers) :])
        state = {
            **dict(zip(self._parameters, parameters, strict=True)),
            **dict(zip(self._buffers, buffers, strict=True)),
        }
        return (*torch.func.functional_call(self._both, state, (parameters, given)), *buffers)

    @contextlib.contextmanager
    def _untouched(self) -> Iterator[None]:
        """A step that is no step of training: random numbers and buffers are afterwards what they were."""
        before = [buffer.clone() for buffer in self._buffers.values()]
        device = next(iter(self._parameters.values())).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
        for buffer, value in zip(self._buffers.values(), before, strict=True):
            buffer.copy_(value)

    def _compare(self, plain: list[Tensor | None], compiled: list[Tensor | None], device: str) -> None:
        """Errors: `RuntimeError` where they differ by more than rounding."""
        names = ["the loss", *(f"the gradient of {name}" for name in self._parameters), *self._buffers]
        whole = math.hypot(*(_norm(gradient) for gradient in plain[1 : 1 + len(self._parameters)]))
        for name, a, b in zip(names, plain, compiled, strict=True):
            jumps = name.startswith("the gradient")
            tolerance = _tolerance(a, jumps or torch.is_autocast_enabled(device))
            if not _close(a, b, tolerance, least=_NOTHING * whole if jumps else 0.0):
                text = f"compile=true: {name} of the compiled step is not that of the plain one"
                raise RuntimeError(f"{text} ({_size(b)} and {_size(a)}); use compile=false")


_compiled: dict[Any, Graph] = {}


class _Both(nn.Module):
    """The loss of a step and its gradient, as a module of all that is trained."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.model, self.objective = step.model, step.objective
        self._step = [step.forward]  # in a list: it is no part of the module

    def forward(self, parameters: Sequence[Tensor], given: Given) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            found = self._step[0](given)
            gradients = torch.autograd.grad(found.loss, parameters, allow_unused=True)
        return (found.loss.detach(), found.rate, found.distortion, *gradients)


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
    side, by more where there are fewer, and more seldom. What was taken for constant and is none is mostly further off."""
    if a is not None and a.dtype == torch.float64:
        return 1e-8
    return 0.1 if rough or a is None or a.dtype != torch.float32 else 1e-4


_NOTHING = 1e-5
"""The share of the whole gradient below which one parameter's is rounding, as that of a bias before a batch norm."""


def _close(a: Tensor | None, b: Tensor | None, tolerance: float, least: float) -> bool:
    if a is None or b is None:
        return a is b
    if not a.isfinite().all():  # of a step that will be skipped
        return not b.isfinite().all()
    return _norm(a.double() - b.double()) <= tolerance * (_norm(a) + least) + 1e-30


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A gradient in the memory order of its parameter, which a fused optimiser takes for granted; autograd sees to it where
    it adds a gradient itself."""
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def _norm(tensor: Tensor | None) -> float:
    return 0.0 if tensor is None else float(tensor.double().norm())


def _size(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{_norm(tensor):.4g}"


def _flat(given: Given) -> tuple[Tensor | None, ...]:
    """The inputs of a graph. A CUDA graph takes none from the host."""
    coefficients = (one.to(given.x.device, non_blocking=True) for one in given.coefficients)
    return (given.x, given.y, given.seen, given.noise, *coefficients)


def _given(x: Tensor, y: Tensor | None, seen: Tensor, noise: Tensor, *coefficients: Tensor) -> Given:
    return Given(x, y, seen, noise, Coefficients(*coefficients))
