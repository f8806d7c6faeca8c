"""Frey Faces: small grey pictures of one person, real-valued data for Gaussian likelihoods."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from vae_lab.data.array_file import ArrayFile
from vae_lab.data.binarization import Binarization
from vae_lab.data.dataset import DataError, Dataset, Spec, Split, kind_after, split_rows
from vae_lab.data.files import content_hash

SIZES = {"train": 1565, "val": 200, "test": 200}
SHAPE = (28, 20)
ADVICE = (
    "it is made from frey_rawface.mat (https://cs.nyu.edu/~roweis/data.html) as an npz whose key `images` is "
    "(1965, 28, 20) uint8; set dataset.root= to the folder that has frey_faces/frey_faces.npz"
)


class FreyFaces(Dataset):
    """1,965 frames of a video of Brendan Frey's face, 28x20 pixels with 256 grey levels (Roweis, Saul and Hinton 2002),
    split at random into 1,565, 200 and 200. Neighbouring frames are alike, so val and test are easier than new faces.

    Raises DataError at load for a file that is missing or not as it should be.

    Arguments:
        root: the folder that has frey_faces/frey_faces.npz.
        binarization: dynamic, static, threshold or none (x is grey, level / 255).
        binarization_seed: of the fixed draws of val and test (and of train, if static).
        split_seed: of the split.
    """

    cosmetic = frozenset({"root"})  # where the data lie is no part of a run's identity

    def __init__(
        self,
        root: str = "data",
        binarization: Binarization = "none",
        binarization_seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        self.path = Path(root).expanduser() / "frey_faces" / "frey_faces.npz"
        self.binarization, self.binarization_seed, self.split_seed = binarization, binarization_seed, split_seed

    def spec(self) -> Spec:
        return Spec((1, *SHAPE), kind_after("unit", self.binarization), dict(SIZES))

    def fingerprint(self) -> str:
        return content_hash(self.path, _content)

    def read(self) -> dict[str, Split]:
        x = torch.from_numpy(_images(self.path))[:, None]
        return {name: Split(x[rows], levels=255) for name, rows in split_rows(SIZES, self.split_seed).items()}


def _images(path: Path) -> np.ndarray:
    images = ArrayFile(path, ADVICE).read("images")
    wanted = (sum(SIZES.values()), *SHAPE)
    if images.shape != wanted or images.dtype != np.uint8:
        raise DataError(f"{path}: `images` is {images.shape} {images.dtype}, not {wanted} uint8: {ADVICE}")
    return images


def _content(path: Path) -> Iterator[memoryview]:
    yield np.ascontiguousarray(_images(path)).data
