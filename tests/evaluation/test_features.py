"""Declared features: the same for everybody, of any image, and telling where they were trained to tell."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_lab.data.arrays import Arrays
from vae_lab.data.dataset import Dataset, Spec, Split
from vae_lab.data.digits import Digits
from vae_lab.data.linear_gaussian import LinearGaussian
from vae_lab.evaluation import features
from vae_lab.evaluation.distances import frechet_distance
from vae_lab.evaluation.features import FEATURES, WIDTH, Network, sha256


class Planted(Dataset):
    """Images of noise, of one more grey level where the label is 1."""

    def __init__(self, shape: tuple[int, ...] = (1, 6, 5), labels: int | None = 2, shift: float = 1.0) -> None:
        self.shape, self.labels, self.shift = shape, labels, shift

    def spec(self) -> Spec:
        return Spec(self.shape, "real", {"train": 400, "val": 1, "test": 300}, self.labels)

    def read(self) -> dict[str, Split]:
        return {split: self._drawn(n, i) for i, (split, n) in enumerate(self.spec().sizes.items())}

    def _drawn(self, n: int, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, self.labels or 1, n)
        x = rng.normal(size=(n, *self.shape)) + self.shift * y.reshape(n, *[1] * len(self.shape))
        return Split(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y) if self.labels else None)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 2), (3, 7, 4), (1, 28, 28), (3, 64, 48)])
def test_images_of_any_size_have_random_features(shape: tuple[int, ...]) -> None:
    found = FEATURES["random_conv"](Planted(shape))
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert found(x).shape == (3, WIDTH)
    assert found(x).dtype == torch.float64
    assert found.declared["dimension"] == WIDTH


def test_random_features_are_the_same_whatever_was_drawn_before_and_leave_the_generator_alone() -> None:
    first = FEATURES["random_conv"](Planted())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = FEATURES["random_conv"](Planted())
    assert torch.equal(torch.get_rng_state(), state)
    assert first.declared == again.declared
    assert len(first.declared["sha256"]) == 64


@pytest.mark.parametrize("grey", [1e-3, 1.0, 1e3])
def test_features_of_a_network_have_a_mean_square_of_one_in_whatever_units_x_is(grey: float) -> None:
    data = Planted(shift=0)
    for split in data.read():
        data.load(split).x.mul_(grey)
    x = next(iter(data.batches("train", 1000))).x
    assert float(FEATURES["random_conv"](data)(x).square().mean()) == pytest.approx(1, rel=1e-4)


def test_images_of_nothing_have_features_of_zero() -> None:
    data = Planted()
    data.load("train").x.zero_()
    assert FEATURES["random_conv"](data)(data.load("train").x).unique().tolist() == [0]


def test_random_features_tell_apart_what_differs_and_not_what_does_not() -> None:
    of = FEATURES["random_conv"](Planted())
    x, same, other = (of(torch.randn(400, 1, 6, 5, generator=torch.Generator().manual_seed(i))) for i in range(3))
    distances = [frechet_distance(x, y) for y in (same, other * 1.2)]
    assert distances[0] is not None
    assert distances[1] is not None
    assert 0 < 2 * distances[0] < distances[1]


def test_the_hash_is_of_every_weight() -> None:
    network = Network((1, 4, 4), 2)
    before = {sha256(network)}
    for weight in network.parameters():
        with torch.no_grad():
            weight.view(-1)[0] += 1e-6
        before.add(sha256(network))
    assert len(before) == 1 + len(list(network.parameters()))


def test_pixels_are_x_itself() -> None:
    x = torch.rand(700, 1, 6, 5)
    found = FEATURES["pixels"](Planted())
    assert torch.equal(found(x), x.flatten(1).double())
    assert found.declared == {"name": "pixels", "dimension": 30}


def test_a_classifier_learns_what_can_be_learnt_and_is_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes that no example leaves open are told apart, two that are one are not; asked again it has the same hash."""
    monkeypatch.setattr(features, "STEPS", 100)
    clear, unclear = (FEATURES["classifier"](Planted(shift=shift)).declared for shift in (3.0, 0.0))
    assert clear["accuracy"] > 0.98
    assert abs(unclear["accuracy"] - 0.5) < 5 * np.sqrt(0.25 / 300)
    assert unclear["accuracy_error"] == pytest.approx(np.sqrt(0.25 / 300), rel=0.05)
    torch.rand(3)
    assert FEATURES["classifier"](Planted(shift=3.0)).declared == clear


@pytest.mark.slow
def test_a_class_that_is_missing_is_farther_away_on_the_features_of_a_classifier() -> None:
    """Of the digits: half of the test examples against all of train, and those without their zeros and ones."""
    data = Digits(binarization="none")
    of = FEATURES["classifier"](data)
    assert of.declared["accuracy"] > 0.95
    train, test = (next(iter(data.batches(split, 2000))) for split in ("train", "test"))
    assert test.y is not None
    some = test.x[: int((test.y > 1).sum())]
    whole, missing = (frechet_distance(of(train.x[:240]), of(x)) for x in (some, test.x[test.y > 1]))
    assert whole is not None
    assert missing is not None
    assert missing > 1.3 * whole


def choice(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(features, "STEPS", 1)
    name: str = FEATURES["auto"](data).declared["name"]
    return name


def test_what_goes_with_the_data_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice(Planted(), monkeypatch) == "edges"
    assert choice(Planted(labels=None), monkeypatch) == "edges"
    assert choice(LinearGaussian(), monkeypatch) == "pixels"


def test_a_classifier_sees_pixels_drawn_anew_where_the_model_did(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    seen: list[Tensor] = []
    monkeypatch.setattr(features, "STEPS", 2)
    monkeypatch.setattr(Network, "forward", lambda self, x: (seen.append(x), self.read(self.embed(x)))[1])
    x = np.full((30, 4, 4), 0.5, dtype=np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(30) % 2)
    FEATURES["classifier"](Arrays(str(tmp_path / "x.npz"), binarization="dynamic"))
    assert {float(v) for part in seen for v in part.unique()} == {0, 1}
    assert not torch.equal(seen[0].sum(0), seen[1].sum(0))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("random_conv", LinearGaussian(), "random_conv is for images, and these data are vectors; there is pixels"),
        ("classifier", Planted((5,)), "classifier is for images, and these data are vectors; there is pixels"),
        ("classifier", Planted(labels=None), "classifier needs data with labels"),
        ("classifier", Planted(labels=1), "classifier needs data with labels, and two or more of them"),
    ],
)
def test_features_that_do_not_go_with_the_data_are_refused(name: str, data: Dataset, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FEATURES[name](data)  # type: ignore[index]
