"""What a module remembers of the batches that it was trained on, for evaluation."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def remember(pairs: Sequence[tuple[Tensor, Tensor]], batches: Tensor, momentum: float) -> None:
    r"""Moves each running moment towards what a batch says of it: :math:`m \leftarrow m + w (s - m)` with
    :math:`w = \max(1 / n, 1 - \text{momentum})` at batch n, which is a plain mean until it has 1 / (1 - momentum)
    batches.

    A batch that says something not finite is forgotten whole: a skipped update must not reach the moments either.

    Arguments:
        pairs: the running moments, each with what the batch says of it; batches: how many were remembered, ().
    """
    finite = torch.stack([value.isfinite().all() for _, value in pairs]).all()
    weight = finite * (1 / (batches + 1)).clamp(min=1 - momentum)
    for moment, value in pairs:
        moment.lerp_(torch.where(finite, value, moment).to(moment.dtype), weight.to(moment.dtype))
    batches += finite
