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

SCALES, CELLS, COARSE = 3, 2, 7
_FAINT, _FLOOR = 1e-4, 0.5
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


def edges(dataset: Dataset) -> Features:
    """How strong edges are, at three scales, in four directions and in none (the Laplacian), in each quarter of a picture, and
    what it looks like at 7x7 pixels (4x4 where it has fewer than 14); each number standardised over training examples.

    Moduli of filters are averaged, as in a scattering transform of one layer (Bruna and Mallat 2013). Blurred pictures have
    too little of them and noise has too much, so that both lie *beside* the data. In pixels, and in layers of rectified units
    that see a picture as none of their class, they lie in the middle of the data, near to all of it.
    """
    image_shape(dataset.spec(), "edges")
    examples = edge_strengths(next(iter(dataset.batches("train", _SCALED))).x).double()
    location, spread = examples.mean(0), examples.std(0)
    spread = spread.clamp(min=max(_FLOOR * float(spread.mean()), 1e-6))  # of corners that are always empty
    content = torch.stack([location, spread]).numpy().astype("<f4").tobytes()
    declared = {"name": "edges", "dimension": examples.shape[1], "sha256": hashlib.sha256(content).hexdigest()}
    return Features(lambda x: (edge_strengths(x) - location) / spread, declared)


def edge_strengths(x: Tensor) -> Tensor:
    """The numbers that `edges` standardises, of (n, channels, height, width)."""
    parts, kernels, shown = [], _edge_filters().to(x), x
    for _ in range(SCALES):
        padded = nn.functional.pad(shown, (2, 2, 2, 2), mode="replicate").flatten(0, 1)[:, None]
        found = nn.functional.conv2d(padded, kernels).abs()
        cells = nn.functional.adaptive_avg_pool2d(found, CELLS)
        parts.append((cells.reshape(len(x), -1) + _FAINT).sqrt())
        if min(shown.shape[-2:]) >= 4:
            shown = nn.functional.avg_pool2d(shown, 2)
    coarse = nn.functional.adaptive_avg_pool2d(x, COARSE if min(x.shape[-2:]) >= 2 * COARSE else COARSE // 2 + 1)
    return torch.cat([*parts, coarse.flatten(1)], 1)


def _edge_filters() -> Tensor:
    """Four directions of the derivative of a Gaussian, and the Laplacian, (5, 1, 5, 5)."""
    t = torch.arange(-2.0, 3.0)
    bump = (-(t**2) / (2 * 0.8**2)).exp()
    bump, slope = bump / bump.sum(), t * bump / (t * bump).abs().sum()
    across = bump[:, None] * slope[None, :]
    angles = [k * math.pi / 4 for k in range(4)]
    laplacian = torch.zeros(5, 5)
    laplacian[1:4, 1:4] = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]) / 8
    turned = [math.cos(angle) * across + math.sin(angle) * across.T for angle in angles]
    return torch.stack([*turned, laplacian])[:, None]


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
        raise ValueError(
            "classifier needs data with labels, and two or more of them; there are edges, random_conv and pixels"
        )
    network = Network(image_shape(spec, "classifier"), spec.labels or 0)
    _train(network, dataset)
    accuracy = _accuracy(network, dataset)
    return _of_network(network, dataset, "classifier", accuracy=accuracy.share, accuracy_error=accuracy.error)


def auto(dataset: Dataset) -> Features:
    """Those that go with the data: `edges` for images, else x itself."""
    return edges(dataset) if len(dataset.spec().shape) == 3 else pixels(dataset)


Named = Literal["auto", "edges", "pixels", "random_conv", "classifier", "inception"]
FEATURES: dict[Named, Callable[[Dataset], Features]] = {
    "auto": auto,
    "edges": edges,
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
