"""Features by weights that a person has: what the network is shown, and which files are refused."""

import hashlib
import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_lab.data.dataset import Dataset, Spec, Split
from vae_lab.data.linear_gaussian import LinearGaussian
from vae_lab.evaluation.inception import DIMENSION, Inception, to_bytes


class Pictures(Dataset):
    """Of no content: nothing is read of data but their spec."""

    def __init__(self, channels: int = 1, kind: str = "unit") -> None:
        self.channels, self.kind = channels, kind

    def spec(self) -> Spec:
        return Spec((self.channels, 6, 5), self.kind, {"train": 4, "val": 1, "test": 3})  # type: ignore[arg-type]

    def read(self) -> dict[str, Split]:
        raise AssertionError


class StandIn(nn.Module):
    """What torch-fidelity's network is called with and gives back, made small: a linear map of the mean colour. It reads
    its file as carelessly as the original does."""

    def __init__(self, name: str, features: list[str], weights: Any) -> None:
        super().__init__()
        assert (name, features) == ("inception", ["2048"])
        self.map = nn.Linear(3, DIMENSION)
        self.load_state_dict(torch.load(weights, weights_only=False))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert (x.dtype, x.shape[1]) == (torch.uint8, 3)
        return (self.map(x.float().mean((2, 3))),)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = {name: torch.randn_like(value) for name, value in nn.Linear(3, DIMENSION).state_dict().items()}
    torch.save({f"map.{name}": value for name, value in state.items()}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_images_are_shown_in_bytes_and_three_colours() -> None:
    x = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 3.0]).view(1, 1, 1, 7)
    assert to_bytes(x)[0, :, 0].tolist() == [[0, 0, 0, 1, 128, 255, 255]] * 3
    levels = torch.arange(256).view(1, 1, 16, 16)
    assert torch.equal(to_bytes(levels / 255), levels.to(torch.uint8).expand(1, 3, 16, 16))
    colour = torch.rand(2, 3, 4, 5)
    assert to_bytes(colour).numpy() == pytest.approx(np.rint(colour.numpy() * np.float32(255)))


@pytest.mark.usefixtures("stand_in")
def test_features_are_the_networks_and_declared_with_the_hash_of_its_file(weights: Path) -> None:
    state = torch.get_rng_state()
    found = Inception(str(weights))(Pictures())
    assert torch.equal(torch.get_rng_state(), state)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found.declared == {"name": "inception", "dimension": 2048, "sha256": digest}
    x = torch.rand(60, 1, 6, 5).mul(255).round() / 255
    w = torch.load(weights, weights_only=True)
    colour = (255 * x.double()).mean((1, 2, 3))
    expected = colour[:, None] * w["map.weight"].double().sum(1) + w["map.bias"]
    assert found(x).numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-2)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('it was run')",)


def _zip_flipped(file: Path) -> bytes:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


def _saved(content: Any) -> bytes:
    torch.save(content, written := io.BytesIO())
    return written.getvalue()


@pytest.mark.usefixtures("stand_in")
def test_a_file_that_is_not_the_networks_costs_one_line_and_runs_nothing(weights: Path) -> None:
    whole = weights.read_bytes()
    wrong = {
        _zip_flipped(weights): "is damaged, or no file of plain tensors: the checksum of",
        whole[:1000]: "is damaged, or no file of plain tensors: ",
        b"": "is damaged, or no file of plain tensors: ",
        b"no weights": "is damaged, or no file of plain tensors: ",
        _saved({"map.weight": Bomb()}): "is damaged, or no file of plain tensors: ",
        _saved([1, 2]): "holds no network's state, but one list",
        _saved({"other": torch.ones(2)}): "is of another network: ",
        _saved({1: 2}): "is of another network: ",
    }
    for content, said in wrong.items():
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="weights=") as refused:
            Inception(str(weights))(Pictures())
        assert str(refused.value).startswith(f"weights={weights} {said}"), said
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"weights=.* cannot be read: No such file or directory"):
        Inception(str(weights.with_name("none.pth")))(Pictures())


@pytest.mark.parametrize(
    ("weights", "data", "said"),
    [
        ("f.pth", LinearGaussian(), "inception is for images, and these data are vectors; there is pixels"),
        ("f.pth", Pictures(2), "inception is for images of one or three channels, and these have 2"),
        ("f.pth", Pictures(3, "real"), r"inception is for images in \[0, 1\], and these are real-valued; there is edges"),
        (None, Pictures(3), "inception needs weights=FILE, and downloads none: torch-fidelity releases weights-inception-2015-12-05-6726825d.pth"),
    ],
)  # fmt: skip
def test_what_goes_with_no_inception_is_refused(weights: str | None, data: Dataset, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        Inception(weights)(data)


def test_a_missing_package_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match=r"^inception needs a package: pip install 'vae-lab\[inception\]'$"):
        Inception(str(weights))(Pictures())


def test_features_are_those_of_torch_fidelitys_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real network, where the extra is installed, of random weights: those of its release are not here."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    made = module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:  # it cannot be made without a file
        patch.setattr(made, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        torch.save({}, nothing := tmp_path / "nothing.pth")
        network = made("random", ["2048"], str(nothing))
    for weight in network.parameters():  # as they are drawn, nothing of x would be left after so many layers
        nn.init.kaiming_normal_(weight, nonlinearity="relu") if weight.dim() == 4 else None
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict(), file)
    of = Inception(str(file))(Pictures())
    x = torch.rand(27, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    grey = torch.from_numpy(np.rint(255 * x.numpy()).astype(np.uint8)).repeat(1, 3, 1, 1)
    expected = network(grey)[0]
    assert of(x).shape == (27, 2048)
    assert of(x).numpy() == pytest.approx(expected.double().numpy(), rel=1e-3, abs=1e-5)
    assert expected.std(0).mean() > 1e-3
