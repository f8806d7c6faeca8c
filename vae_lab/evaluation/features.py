"""Features that distances between sets of examples are measured on, each declared by a name and a hash of its weights.

Those of this file are made here; `inception` reads a file of weights that the user has. Nothing is downloaded, and a file
is read as plain tensors, since as anything more it would be code.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vae_lab.data.dataset import Dataset, Spec
from vae_lab.distributions import stream_seed
from vae_lab.evaluation.probe import Accuracy

WIDTH, STEPS, BATCH, PEAK_RATE = 64, 1000, 100, 4e-3
_ROWS, _SCALED = 500, 1000  # examples that go through a network at a time, and that its scale is found on


@dataclass(frozen=True)
class Features:
    """A fixed map of examples, (n, *shape), to features, (n, d).

    Attributes:
        declared: what identifies it, by name. Distances on features that are declared alike can be compared.
    """

    of: Callable[[Tensor], Tensor]
    declared: dict[str, Any]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([self.of(part).double() for part in x.split(_ROWS)])


class Network(nn.Module):
    """Two strided convolutions and `WIDTH` rectified units, the features, from which `outputs` numbers are read linearly.
    Weights start as He et al. (2015) have them, which keep the scale of what goes through, from one fixed seed.

    Arguments:
        shape: (channels, height, width), of any size.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *sides = shape
        height, width = (-(-side // 4) for side in sides)
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(0, "features"))
            self.embed = nn.Sequential(
                *(nn.Conv2d(channels, 16, 5, stride=2, padding=2), nn.ReLU()),
                *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU()),
                *(nn.Flatten(), nn.Linear(32 * height * width, WIDTH), nn.ReLU()),
            )
            self.read = nn.Linear(WIDTH, outputs)
            for weight in self.parameters():
                nn.init.zeros_(weight) if weight.dim() == 1 else nn.init.kaiming_normal_(weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.read(self.embed(x))
        return scores


def pixels(dataset: Dataset) -> Features:
    """x itself."""
    return Features(lambda x: x.flatten(1), {"name": "pixels", "dimension": math.prod(dataset.spec().shape)})


def random_conv(dataset: Dataset) -> Features:
    """A convolutional network that was never trained (Naeem et al. 2020 use such features for data unlike ImageNet's)."""
    return _of_network(Network(image_shape(dataset.spec(), "random_conv"), 1), dataset, "random_conv")


def classifier(dataset: Dataset) -> Features:
    """The last hidden layer of a small classifier, trained here on the train split (Adam, one cycle of the learning rate);
    its test accuracy is declared with it. The same data, torch and machine give the same weights; the hash says whether.

    Errors: ValueError for data that are no images or have fewer than two labels.
    """
    spec = dataset.spec()
    if (spec.labels or 0) < 2:
        raise ValueError("classifier needs data with labels, and two or more of them; there are random_conv and pixels")
    network = Network(image_shape(spec, "classifier"), spec.labels or 0)
    _train(network, dataset)
    accuracy = _accuracy(network, dataset)
    return _of_network(network, dataset, "classifier", accuracy=accuracy.share, accuracy_error=accuracy.error)


def auto(dataset: Dataset) -> Features:
    """Those that go with the data: a classifier for images with labels, else random ones for images, else x itself."""
    spec = dataset.spec()
    if len(spec.shape) != 3:
        return pixels(dataset)
    return classifier(dataset) if (spec.labels or 0) > 1 else random_conv(dataset)


Named = Literal["auto", "pixels", "random_conv", "classifier", "inception"]
FEATURES: dict[Named, Callable[[Dataset], Features]] = {
    "auto": auto,
    "pixels": pixels,
    "random_conv": random_conv,
    "classifier": classifier,
}


def image_shape(spec: Spec, name: str) -> tuple[int, ...]:
    """(channels, height, width) of the data. Errors: ValueError for vectors, which the features of that name are not for."""
    if len(spec.shape) != 3:
        raise ValueError(f"{name} is for images, and these data are vectors; there is pixels")
    return spec.shape


def _train(network: Network, dataset: Dataset) -> None:
    adam = torch.optim.Adam(network.parameters())
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, PEAK_RATE, total_steps=STEPS)
    batches = dataset.batches("train", BATCH, shuffle=True).beside("features")
    for _, batch in zip(range(STEPS), batches, strict=False):
        adam.zero_grad()
        assert batch.y is not None
        nn.functional.cross_entropy(network(batch.x), batch.y).backward()
        adam.step()
        cycle.step()


@torch.no_grad()
def _accuracy(network: Network, dataset: Dataset) -> Accuracy:
    known = map(dataset.known, dataset.batches("test", _ROWS))
    right = torch.cat([network(batch.x).argmax(1) == batch.y for batch in known])
    return Accuracy(float(right.double().mean()), len(right))


@torch.no_grad()
def _of_network(network: Network, dataset: Dataset, name: str, **more: float) -> Features:
    """Scaled (which rectified units allow) to a mean square of 1 over training examples: the kernel distance adds 1 to
    products of features, which means little where they are large or small."""
    x = next(iter(dataset.batches("train", _SCALED))).x
    scale = network.embed(x).square().mean().sqrt().clamp(min=1e-6)
    for weight in network.embed[-2].parameters():
        weight.div_(scale)
    declared = {"name": name, "dimension": WIDTH, "sha256": sha256(network.embed), **more}
    return Features(network.embed.eval(), declared)


def sha256(network: nn.Module) -> str:
    """Of the names, shapes and values of its weights, in hex."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
