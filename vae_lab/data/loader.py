"""Batches, sliced from tensors in memory: no per-example Python, no workers."""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from vae_lab.data.binarization import draw
from vae_lab.distributions.streams import stream, stream_seed
from vae_lab.models import Batch


class Batches:
    """The batches of a split, a plain iterable of `Batch(x, y, None, index)` with x float32, (B, *shape).

    For evaluation (`shuffle=False`) a pass serves every example in order, the last batch may be smaller, and every pass
    is the same.

    For training (`shuffle=True`) the batches are numbered 0, 1, ... over the whole run, full ones only, and batch b is
    a function of (seed, b): its epoch is e = b // len, the order within the epoch a permutation from the stream
    ("permutation", e), its pixels' draw from the stream ("binarization", b). So the number of batches served is all
    there is to remember: `iter` serves from there to the end of the epoch, and restored at an epoch's end it begins
    the next one.

    Arguments:
        x: (n, *shape); uint8 levels {0..levels}, bool, or float.
        y: (n,), or None.
        levels: the stored value that means 1.
        batch_size: B; in training at most n.
        seed: the run's.
        redraw: each presentation is a fresh draw from Bernoulli(x / levels).
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        batch_size: int,
        levels: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        redraw: bool = False,
    ) -> None:
        self.x = x.to(device, torch.float32 if x.is_floating_point() else torch.uint8)
        self.y = None if y is None else y.to(device)
        self.batch_size = min(batch_size, len(x)) if shuffle else batch_size
        self.levels, self.seed, self.shuffle, self.redraw = levels, seed, shuffle, redraw
        self.generator = torch.Generator(device)
        self.served = 0

    def __len__(self) -> int:
        n = len(self.x)
        return n // self.batch_size if self.shuffle else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self._epoch() if self.shuffle else self._pass()

    def beside(self, purpose: str, first: int = 0) -> Iterator[Batch]:
        """The batches of another pass over the same data, from number `first` on and without end."""
        other = copy.copy(self)
        other.seed, other.served = stream_seed(self.seed, purpose), first
        other.generator = torch.Generator(self.generator.device)
        while True:
            yield from other._epoch()

    def _pass(self) -> Iterator[Batch]:
        for rows in torch.arange(len(self.x), device=self.x.device).split(self.batch_size):
            yield self._batch(rows)

    def _epoch(self) -> Iterator[Batch]:
        epoch, position = divmod(self.served, len(self))
        for rows in self._order(epoch).split(self.batch_size)[position : len(self)]:
            number = self.served
            self.served += 1  # before the yield: a checkpoint made while this batch is in use has seen it
            yield self.shown(rows, number)

    def shown(self, rows: Tensor, number: int) -> Batch:
        """These rows, as training batch `number` would show them."""
        if self.redraw:
            self.generator.manual_seed(stream_seed(self.seed, "binarization", number))
        return self._batch(rows)

    def _order(self, epoch: int) -> Tensor:
        """Drawn on the CPU, so that every device sees the same order."""
        return torch.randperm(len(self.x), generator=stream(self.seed, "permutation", epoch)).to(self.x.device)

    def _batch(self, rows: Tensor) -> Batch:
        x = self.x.index_select(0, rows)
        y = None if self.y is None else self.y.index_select(0, rows)
        return Batch(draw(x, self.levels, self.generator) if self.redraw else _scaled(x, self.levels), y, None, rows)

    def state_dict(self) -> dict[str, int]:
        return {"served": self.served}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.served = state["served"]


def _scaled(x: Tensor, levels: int) -> Tensor:
    return x.float() if levels == 1 else x.float().div_(levels)
