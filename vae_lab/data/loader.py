"""Batches, sliced from tensors: no per-example Python, no worker processes. What does not fit where it is wanted, on the
GPU or in memory, is fetched a few batches ahead."""

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from vae_lab.data.binarization import draw
from vae_lab.distributions.streams import stream, stream_seed
from vae_lab.models import Batch

AHEAD = 4
"""Batches that are fetched while one is in use, each by a thread of its own, since a disk is slow to answer and can answer
several at once."""


class Batches:
    """The batches of a split, a plain iterable of `Batch(x, y, None, index)` with x float32, or int64 where x is whole
    numbers such as tokens, (B, *shape).

    For evaluation (`shuffle=False`) a pass serves every example in order, the last batch may be smaller, and every pass
    is the same.

    For training (`shuffle=True`) the batches are numbered 0, 1, ... over the whole run, full ones only, and batch b is
    a function of (seed, b): its epoch is e = b // len, the order within the epoch a permutation from the stream
    ("permutation", e), its pixels' draw from the stream ("binarization", b). So the number of batches served is all
    there is to remember: `iter` serves from there to the end of the epoch, and restored at an epoch's end it begins
    the next one.

    Arguments:
        x: (n, *shape); uint8 levels {0..levels}, bool, float, or wider integers, which are served as they are unless
            they have `levels`.
        y: (n,), or None.
        levels: the stored value that means 1.
        batch_size: B; in training at most n.
        seed: the run's.
        redraw: each presentation is a fresh draw from Bernoulli(x / levels).
        mapped: x lies in a file, not in memory, and stays there.
        rows: (n,), which of x are the split's, in their order, where x has more.
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
        mapped: bool = False,
        rows: Tensor | None = None,
    ) -> None:
        self.device, self.dtype = torch.device(device), _kept_as(x.dtype)
        self.fetched_ahead = mapped or not fits(x, self.device)
        self.x = x if self.fetched_ahead else x.to(device, self.dtype)
        self.rows = None if rows is None else rows.to(self.x.device)
        self.y = None if y is None else y.to(device)
        self.size = len(x if rows is None else rows)
        self.batch_size = min(batch_size, self.size) if shuffle else batch_size
        self.levels, self.seed, self.shuffle, self.redraw = levels, seed, shuffle, redraw
        self.generator = torch.Generator(device)
        self.served = 0

    def __len__(self) -> int:
        return self.size // self.batch_size if self.shuffle else -(-self.size // self.batch_size)

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
        for rows, x in self._fetched(torch.arange(self.size)):
            yield self._batch(rows, x)

    def _epoch(self) -> Iterator[Batch]:
        epoch, position = divmod(self.served, len(self))
        for rows, x in self._fetched(self._order(epoch), position):
            number = self.served
            self.served += 1  # before the yield: a checkpoint made while this batch is in use has seen it
            yield self._shown(rows, x, number)

    def shown(self, rows: Tensor, number: int) -> Batch:
        """These rows, as training batch `number` would show them."""
        return self._shown(rows, self._fetch(rows.to(self.x.device)).to(self.device, self.dtype), number)

    def _shown(self, rows: Tensor, x: Tensor, number: int) -> Batch:
        if self.redraw:
            self.generator.manual_seed(stream_seed(self.seed, "binarization", number))
        return self._batch(rows, x)

    def _order(self, epoch: int) -> Tensor:
        """Drawn on the CPU, so that every device sees the same order."""
        return torch.randperm(self.size, generator=stream(self.seed, "permutation", epoch))

    def _fetched(self, order: Tensor, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows of each batch from number `first` on, and their x as it is stored: read when it is asked for, or ahead of
        that by threads."""
        if not self.fetched_ahead:
            for rows in order.to(self.device).split(self.batch_size)[first : len(self)]:
                yield rows, self._fetch(rows)
            return
        waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
        with ThreadPoolExecutor(AHEAD, "vae-lab-data") as pool:
            for rows in order.split(self.batch_size)[first : len(self)]:
                waiting.append((rows, pool.submit(self._fetch, rows)))
                if len(waiting) > AHEAD:
                    yield self._arrived(*waiting.popleft())
            while waiting:
                yield self._arrived(*waiting.popleft())

    def _fetch(self, rows: Tensor) -> Tensor:
        x = self.x.index_select(0, rows if self.rows is None else self.rows[rows])
        return x.pin_memory() if self.fetched_ahead and self.device.type == "cuda" else x

    def _arrived(self, rows: Tensor, coming: "Future[Tensor]") -> tuple[Tensor, Tensor]:
        """From pinned memory a copy to a GPU does not wait for what the GPU is at."""
        return rows.to(self.device), coming.result().to(self.device, self.dtype, non_blocking=True)

    def _batch(self, rows: Tensor, x: Tensor) -> Batch:
        y = None if self.y is None else self.y.index_select(0, rows)
        return Batch(draw(x, self.levels, self.generator) if self.redraw else _scaled(x, self.levels), y, None, rows)

    def state_dict(self) -> dict[str, int]:
        return {"served": self.served}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.served = state["served"]


def fits(x: Tensor, device: torch.device) -> bool:
    """Whether x may lie on a device as a whole: on a GPU it may take half of what is free, since training needs some too."""
    return device.type != "cuda" or x.nbytes <= torch.cuda.mem_get_info(device)[0] // 2


def is_whole(dtype: torch.dtype) -> bool:
    """Whether values of a type are whole numbers, such as tokens or counts: neither grey levels (uint8) nor binary."""
    return not (dtype.is_floating_point or dtype.is_complex or dtype in (torch.bool, torch.uint8))


def _kept_as(dtype: torch.dtype) -> torch.dtype:
    """The type in which x is kept in memory: no value of it is changed by that, but for the rounding of float64."""
    if dtype.is_floating_point:
        return torch.float32
    return torch.uint8 if dtype in (torch.bool, torch.uint8) else torch.int64


def _scaled(x: Tensor, levels: int) -> Tensor:
    if levels == 1:
        return x.long() if is_whole(x.dtype) else x.float()
    return x.float().div_(levels)
