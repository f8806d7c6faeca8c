"""One run on several processes, each of which takes its part of every batch through the networks.

What costs time is split: the encoder sees a part of x, the decoder a part of z, and what they say is put together again
at once (the raw parameters of q, and the distortion). Everything else, from the noise to the loss, is computed on the
whole batch by every process, as one process does it: floors of a batch's mean rate, controllers, discrepancies of q(z),
normalised locations, clipping and what is skipped need no second form, and no process can come to another decision.

Torch's `DistributedDataParallel` and Lightning's strategy would split the loss too, and the mean of two losses is not the
loss of the whole batch wherever it is bent by a batch's mean.
"""

import contextlib
import datetime
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.models import VAE
from vae_lab.models.decoders import Likelihood

T = TypeVar("T")


class Alone:
    """A run's only process."""

    rank, size = 0, 1

    def split(self, model: VAE) -> None:
        """Has this process train on its part of every batch."""

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Makes each gradient the mean over the processes."""

    def first(self, find: Callable[[], T]) -> T:
        """What the first process finds, which alone looks for it."""
        return find()


ALONE = Alone()


class Ranks(Alone):
    """One of several processes, which do the same in step.

    A gradient is right in the mean over the processes: what each computes of the whole batch is the same everywhere; what
    it computes of its own part counts `size` times, because putting the parts together sums their gradients.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def split(self, model: VAE) -> None:
        encoder, decoder = model.encoder, model.decoder
        encode, decode = encoder.forward, decoder.forward

        def encode_part(x: Tensor, **y: Tensor) -> Tensor:
            if not encoder.training:
                return encode(x, **y)
            return self.whole(encode(self.part(x, 0), **self._own(y)), 0, len(x))

        def decode_part(z: Tensor, likelihood: Likelihood, **y: Tensor) -> Distribution:
            if not decoder.training:
                return decode(z, likelihood, **y)
            return _Apart(decode(self.part(z, -2), likelihood, **self._own(y)), self)

        encoder.forward, decoder.forward = encode_part, decode_part

    def _own(self, y: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's labels, of a model that is told any."""
        return {name: self.part(labels, 0) for name, labels in y.items()}

    def part(self, whole: Tensor, dim: int) -> Tensor:
        """This process's examples, of all that lie along a dimension."""
        return whole.narrow(dim, *self.span(whole.shape[dim]))

    def span(self, examples: int) -> tuple[int, int]:
        """Where this process's examples begin, and how many they are."""
        each, more = divmod(examples, self.size)
        return self.rank * each + min(self.rank, more), each + (self.rank < more)

    def whole(self, part: Tensor, dim: int, examples: int) -> Tensor:
        """All examples along a dimension, of which each process has its part."""
        return _Whole.apply(part, dim % part.dim(), *self.span(examples), examples)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])  # one exchange instead of many
            dist.all_reduce(flat)
            parts = (flat / self.size).split([gradient.numel() for gradient in gradients])
            for gradient, mean in zip(gradients, parts, strict=True):
                gradient.copy_(mean.view_as(gradient))

    def first(self, find: Callable[[], T]) -> T:
        found = [find() if self.rank == 0 else None]
        dist.broadcast_object_list(found, 0, device=torch.device("cpu"))
        return found[0]  # type: ignore[return-value]


class _Whole(torch.autograd.Function):
    """The parts of all processes, one after the other; the gradient of a part is the sum of those that the processes have
    of it."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, dim: int, start: int, length: int, examples: int) -> Tensor:
        ctx.where = dim, start, length
        whole = part.new_zeros([*part.shape[:dim], examples, *part.shape[dim + 1 :]])
        whole.narrow(dim, start, length).copy_(part)
        dist.all_reduce(whole)  # a sum with zeros, since parts of unequal length are not gathered by every backend
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole.narrow(*ctx.where), None, None, None, None


class _Apart(Distribution):
    """p(x|z) of all examples, of which this process decodes its part. It is asked for densities only."""

    arg_constraints = {}  # noqa: RUF012 (torch's own protocol)

    def __init__(self, part: Distribution, ranks: Ranks) -> None:
        super().__init__(part.batch_shape, part.event_shape, validate_args=False)
        self.part, self.ranks = part, ranks

    def log_prob(self, value: Tensor) -> Tensor:
        dim = value.dim() - len(self.event_shape) - 1
        return self.ranks.whole(self.part.log_prob(self.ranks.part(value, dim)), -1, value.shape[dim])


@contextlib.contextmanager
def joined(store: Path, rank: int, size: int, device: torch.device) -> Iterator[Ranks]:
    """The process of that rank, once all have come to the store, a file that is not there yet. They talk by gloo, and on
    GPUs by NCCL."""
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(str(store), size),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(days=1),  # of one step, in which the first process may validate alone
    )
    try:
        yield Ranks(rank, size)
    finally:
        dist.destroy_process_group()
