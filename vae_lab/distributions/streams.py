"""Reproducible noise: every draw comes from a stream named by (seed, purpose, counter).

A run that resumes asks for the same name and gets the same noise, whatever was drawn in between. Restoring the state of
one global generator does not give that: it is wrong after a checkpoint at an epoch's end and around a validation.
"""

import zlib

import torch

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def _mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection whose every output bit depends on every
    input bit, so that neighbouring counters give unrelated streams."""
    x = (x + 0x9E37_79B9_7F4A_7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return x ^ (x >> 31)


def stream_seed(seed: int, purpose: str, counter: int = 0) -> int:
    """The seed of the stream `purpose` at `counter`, 63 bits (of which torch's generator for the CPU keeps 32).

    Example:
        >>> stream_seed(0, "posterior", 7) == stream_seed(0, "posterior", 7)
        True
        >>> stream_seed(0, "posterior", 7) == stream_seed(0, "posterior", 8)
        False
    """
    return _mix(_mix(_mix(seed & _MASK) ^ zlib.crc32(purpose.encode())) ^ (counter & _MASK)) >> 1


def stream(seed: int, purpose: str, counter: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator at the start of the stream `purpose` at `counter`."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, counter))
