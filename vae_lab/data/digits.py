"""The digits that scikit-learn ships: nothing to download."""

import gzip
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from vae_lab.data.binarization import Binarization
from vae_lab.data.dataset import DataError, Dataset, Spec, Split, kind_after, split_rows
from vae_lab.data.files import content_hash
from vae_lab.settings import NonNegativeInt

SIZES = {"train": 1197, "val": 300, "test": 300}


class Digits(Dataset):
    """1,797 handwritten digits of 8x8 pixels with 17 grey levels, 0 to 16 (Alpaydin and Kaynak 1998, UCI; the copy
    bundled with scikit-learn), split at random into 1,197, 300 and 300, not stratified by class.

    Arguments:
        binarization: dynamic, static, threshold or none.
        binarization_seed: of the fixed draws of val and test (and of train, if static).
        split_seed: of the split.
        without: classes that train and val leave out, and test keeps.
    """

    levels = 16

    def __init__(
        self,
        binarization: Binarization = "dynamic",
        binarization_seed: int = 0,
        split_seed: int = 0,
        without: Sequence[NonNegativeInt] = [],
    ) -> None:
        self.binarization, self.binarization_seed = binarization, binarization_seed
        self.split_seed, self.without = split_seed, without

    def spec(self) -> Spec:
        return self.trained_on(Spec((1, 8, 8), kind_after("unit", self.binarization), dict(SIZES), labels=10))

    def fingerprint(self) -> str:
        return content_hash(_path(), _content)

    def read(self) -> dict[str, Split]:
        with gzip.open(_path(), "rt") as lines:
            table = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.uint8))
        x, y = table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].long()
        return {
            name: Split(x[rows], y[rows], levels=self.levels)
            for name, rows in split_rows(SIZES, self.split_seed).items()
        }


def _path() -> Path:
    """Found without importing scikit-learn, which takes seconds."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("dataset=digits needs scikit-learn, which ships them: pip install scikit-learn")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _content(path: Path) -> Iterator[bytes]:
    yield gzip.decompress(path.read_bytes())
