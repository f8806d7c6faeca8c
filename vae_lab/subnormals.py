"""Numbers next to zero, which cost many times what others do."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Numbers under 1e-38 are zero (in float32), on this thread of the CPU.

    A processor takes many times as long over them, and training is full of them: Adam's mean of a gradient that is nearly
    always zero, such as that of a pixel at the border, halves every seven updates and is there after a thousand; so are
    the gradients of classes of which a classifier is sure. They change no parameter: what is added is below any bit of it.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # torch's own start
