"""MNIST from its IDX files, checked at every load, and downloaded only when asked."""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.binarization import Binarization
from vae_lab.data.dataset import DataError, Dataset, Spec, Split, kind_after
from vae_lab.data.download import fetch
from vae_lab.data.files import content_hash
from vae_lab.settings import NonNegativeInt

MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
VAL = 10_000  # the last of the training file


class Idx(NamedTuple):
    """What an IDX file must be: a big-endian header (magic number, then one size a dimension), then uint8."""

    name: str
    shape: tuple[int, ...]
    md5: str  # of the uncompressed content: the same however the file was compressed

    @property
    def header(self) -> bytes:
        return np.array([0x800 + len(self.shape), *self.shape], ">u4").tobytes()

    def read(self, path: Path) -> bytes:
        """The uncompressed content of the file at `path`. Raises DataError, naming the file and what is wrong with it:
        missing, truncated, damaged, or by header, size and md5 another."""
        try:
            content = path.read_bytes()
            content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        except FileNotFoundError:
            raise DataError(f"{path} is missing") from None
        except EOFError:
            raise DataError(f"{path} is truncated: its compressed data end early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        self._check(content, path)
        return content

    def chunks(self, path: Path) -> Iterator[bytes]:
        yield self.read(path)

    def _check(self, content: bytes, path: Path) -> None:
        header, size = self.header, len(self.header) + math.prod(self.shape)
        if content[: len(header)] != header[: len(content)]:
            given = content[: len(header)].hex()
            raise DataError(f"{path} is not MNIST's {self.name}: its header is {given}, not {header.hex()}")
        if len(content) != size:
            state = "truncated" if len(content) < size else "too long"
            raise DataError(f"{path} is {state}: {len(content):,} bytes uncompressed where {size:,} belong")
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != self.md5:
            raise DataError(f"{path} is altered: the md5 of its uncompressed content is not {self.md5}")


TRAIN_X = Idx("train-images-idx3-ubyte", (60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb")
TRAIN_Y = Idx("train-labels-idx1-ubyte", (60_000,), "a25bea736e30d166cdddb491f175f624")
TEST_X = Idx("t10k-images-idx3-ubyte", (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea")
TEST_Y = Idx("t10k-labels-idx1-ubyte", (10_000,), "27ae3e4e09519cfbb04c329615203637")
FILES: tuple[Idx, ...] = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)


class MNIST(Dataset):
    """70,000 handwritten digits of 28x28 pixels with 256 grey levels (LeCun, Bottou, Bengio and Haffner 1998): the
    first 50,000 of the training file to train, its last 10,000 to validate, the 10,000 of the test file to test.

    Raises DataError at load for a file that is missing, truncated or altered.

    Arguments:
        root: the folder with the four IDX files, plain or `.gz`, in it or in its subfolder `mnist`.
        download: fetch what is missing or damaged to `root`/mnist.
        binarization: dynamic, static, threshold or none.
        binarization_seed: of the fixed draws of val and test (and of train, if static).
        without: classes that train and val leave out, and test keeps.
    """

    cosmetic = frozenset({"root", "download"})  # where the data lie is no part of a run's identity

    def __init__(
        self,
        root: str = "data",
        download: bool = False,
        binarization: Binarization = "dynamic",
        binarization_seed: int = 0,
        without: Sequence[NonNegativeInt] = [],
    ) -> None:
        self.root, self.download = Path(root).expanduser(), download
        self.binarization, self.binarization_seed, self.without = binarization, binarization_seed, without

    def spec(self) -> Spec:
        sizes = {"train": TRAIN_X.shape[0] - VAL, "val": VAL, "test": TEST_X.shape[0]}
        kind = kind_after("unit", self.binarization)
        return self.trained_on(Spec((1, *TRAIN_X.shape[1:]), kind, sizes, labels=10))

    def fingerprint(self) -> str:
        parts = [content_hash(self._whole(idx), idx.chunks) for idx in FILES]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def read(self) -> dict[str, Split]:
        x, y, test_x, test_y = (self._tensor(idx) for idx in FILES)
        return {
            "train": Split(x[:-VAL, None], y[:-VAL].long(), levels=255),
            "val": Split(x[-VAL:, None], y[-VAL:].long(), levels=255),
            "test": Split(test_x[:, None], test_y.long(), levels=255),
        }

    def _tensor(self, idx: Idx) -> Tensor:
        content = bytearray(idx.read(self._whole(idx)))
        return torch.frombuffer(content, dtype=torch.uint8, offset=len(idx.header)).view(idx.shape)

    def _whole(self, idx: Idx) -> Path:
        """Where the file is, once it has been found whole. Raises DataError with advice."""
        path = self._find(idx)
        try:
            content_hash(path, idx.chunks)
        except DataError as fault:
            if not self.download:
                advice = "set dataset.download=true to fetch it, or dataset.root= to the folder that has it"
                raise DataError(f"{fault}: {advice}") from None
            path = self.root / "mnist" / f"{idx.name}.gz"
            fetch([mirror + path.name for mirror in MIRRORS], path, check=idx.read)
        return path

    def _find(self, idx: Idx) -> Path:
        folders, names = (self.root / "mnist", self.root), (f"{idx.name}.gz", idx.name)
        places = [folder / name for folder in folders for name in names]
        return next((place for place in places if place.is_file()), places[0])
