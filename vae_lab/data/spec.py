"""What is known of a dataset before it is read, and the error of data that cannot be used."""

from dataclasses import dataclass
from typing import Literal, get_args

from vae_lab.traits import Traits

Kind = Literal["binary", "unit", "real"]
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(SplitName)


class DataError(ValueError):
    """Data that cannot be used. One line: what is wrong, where, what is allowed, what to do."""


@dataclass(frozen=True)
class Spec:
    """What is known of a dataset without loading it. `kind` is that of x after binarisation."""

    shape: tuple[int, ...]  # of one x: (channels, height, width) for images, (d,) for vectors
    kind: Kind  # binary: {0, 1}; unit: grey in [0, 1]; real: any real number
    sizes: dict[str, int]  # examples in "train", "val", "test"
    labels: int | None = None  # number of classes
    log_units: float = 0.0  # nats by which -log p(x) of an example exceeds that of x as it is served, in other units

    @property
    def traits(self) -> Traits:
        kind = {"binary": {"binary_x", "unit_x"}, "unit": {"unit_x", "real_x"}, "real": {"real_x"}}[self.kind]
        image, labels = len(self.shape) == 3 and "image", self.labels is not None and "labels"
        return Traits(provides=frozenset(kind | {name for name in (image, labels) if name}))
