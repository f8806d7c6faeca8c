"""What `sample` measures on its default features, of real pictures and of what no eye takes for them."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from conftest import data_root, needs_data
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from vae_lab.data.dataset import Dataset
from vae_lab.data.digits import Digits
from vae_lab.data.frey_faces import FreyFaces
from vae_lab.data.mnist import MNIST
from vae_lab.evaluation.distances import frechet_distance, kernel_distance
from vae_lab.evaluation.features import FEATURES
from vae_lab.evaluation.generate import nearest
from vae_lab.evaluation.neighbourhoods import neighbourhoods

NOISE = torch.Generator().manual_seed(0)


def mixed(dataset: Dataset, split: str) -> Tensor:
    x = next(iter(dataset.batches(split, dataset.spec().sizes[split]))).x
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def blurred(x: Tensor) -> Tensor:
    return avg_pool2d(pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def shuffled(x: Tensor) -> Tensor:
    orders = torch.rand(len(x), x[0].numel(), generator=NOISE).argsort(1)
    return x.flatten(1).gather(1, orders).view_as(x)


def cloud(x: Tensor) -> Tensor:
    """Independent pixels with the mean and the spread that they have in the data: the right pixels and no picture."""
    return (x.mean(0) + x.std(0) * torch.randn(x.shape, generator=NOISE)).clamp(0, 1)


def uniform(x: Tensor) -> Tensor:
    return torch.rand(x.shape, generator=NOISE)


def averaged(x: Tensor) -> Tensor:
    """The mean picture, nearly: the middle of the data, near to all of it in pixels."""
    return (x.mean(0) + 0.02 * torch.randn(x.shape, generator=NOISE)).clamp(0, 1)


PLANTED: list[Callable[[Tensor], Tensor]] = [blurred, shuffled, cloud, uniform, averaged]


def measured(reference: Tensor, samples: Tensor) -> dict[str, float]:
    """Each so that more is worse."""
    near, kernel = neighbourhoods(reference, samples), kernel_distance(reference, samples)
    frechet = frechet_distance(reference, samples)
    assert near is not None
    assert kernel is not None
    assert frechet is not None
    return {
        "precision": 1 - near.precision,
        "density": -near.density,
        "coverage": 1 - near.coverage,
        "frechet": frechet,
        "kernel": kernel.value - 3 * kernel.error,
    }


def check_order(dataset: Dataset) -> None:
    """Held-out pictures are better than all that are none, by every measure and by far; copies are as good as they, and are
    seen by their distance to the nearest training example alone."""
    train, test = mixed(dataset, "train"), mixed(dataset, "test")[:1000]
    n = len(test)
    features = FEATURES["auto"](dataset)
    assert features.declared["name"] == "edges"
    reference, copies = features(train[:n]), train[n : 2 * n]
    real = measured(reference, features(test))
    for plant in PLANTED:
        found = measured(reference, features(plant(test)))
        assert {name for name in real if found[name] <= real[name]} == set(), plant.__name__
        assert found["frechet"] > 2 * real["frechet"], plant.__name__
        assert found["density"] > 0.6 * real["density"], plant.__name__
    copied = measured(reference, features(copies))
    assert copied["precision"] == pytest.approx(real["precision"], abs=0.05)
    assert copied["density"] == pytest.approx(real["density"], abs=0.15)
    assert float(nearest(copies, train).distances.max()) < 1e-3 < float(nearest(test, train).distances.median())


def test_digits_and_what_is_none() -> None:
    check_order(Digits(binarization="none"))


@needs_data
@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_mnist_and_what_is_none(binarization: Literal["none", "dynamic"]) -> None:
    check_order(MNIST(str(data_root()), binarization=binarization))


@needs_data
def test_faces_and_what_is_none() -> None:
    check_order(FreyFaces(str(data_root())))


def test_random_and_trained_features_do_not_see_it() -> None:
    """Why they are not the default: clouds and the mean picture lie among the data there, more than held-out pictures do."""
    dataset = Digits(binarization="none")
    train, test = mixed(dataset, "train"), mixed(dataset, "test")
    for name in ("pixels", "random_conv"):
        features = FEATURES[name]  # type: ignore[index]
        of = features(dataset)
        reference = of(train[: len(test)])
        assert measured(reference, of(averaged(test)))["precision"] < measured(reference, of(test))["precision"]
