"""The features of published Frechet distances, from a file of weights that the user has."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_lab.data.dataset import Dataset
from vae_lab.errors import first_line
from vae_lab.evaluation.features import Features, image_shape

DIMENSION = 2048
RELEASED = "weights-inception-2015-12-05-6726825d.pth"
_IMAGES = 25  # that go through it at a time: each is made 299 x 299


@dataclass(frozen=True)
class Inception:
    """The last pooling layer of the Inception-v3 network that the Frechet Inception distance is defined on (Heusel et al.
    2017), by torch-fidelity (the extra `inception`), which enlarges images as the original does. Grey ones are repeated to
    three channels; [0, 1] is rounded to 0 to 255, and what a model draws beyond it is cut off. The features are not scaled.

    Arguments:
        weights: a file of the network's state, as torch-fidelity's releases have it.
    """

    weights: str | None = None

    def __call__(self, dataset: Dataset) -> Features:
        """Errors: ValueError, one line, for data that are no images in [0, 1], a missing package, a file that is not there
        or not of this network."""
        spec = dataset.spec()
        if (channels := image_shape(spec, "inception")[0]) not in (1, 3):
            raise ValueError(f"inception is for images of one or three channels, and these have {channels}")
        if spec.kind == "real":
            raise ValueError("inception is for images in [0, 1], and these are real-valued; there is edges")
        if self.weights is None:
            raise ValueError(f"inception needs weights=FILE, and downloads none: torch-fidelity releases {RELEASED}")
        path = Path(self.weights).expanduser()
        network = _network(path, _state(path))
        declared = {
            "name": "inception",
            "dimension": DIMENSION,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        return Features(lambda x: torch.cat([network(part)[0] for part in to_bytes(x).split(_IMAGES)]), declared)


def to_bytes(x: Tensor) -> Tensor:
    """Images in [0, 1], (n, 1 or 3, height, width), as uint8 of three channels."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)


def _state(path: Path) -> dict[str, Any]:
    try:
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):
            raise ValueError(f"the checksum of {damaged} does not match")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"weights={path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # what torch's unpickler raises has no common base
        raise ValueError(f"weights={path} is damaged, or no file of plain tensors: {first_line(error)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"weights={path} holds no network's state, but one {type(state).__name__}")
    return state


def _network(path: Path, state: dict[str, Any]) -> nn.Module:
    """torch-fidelity unpickles whatever a file has in it: it is handed the tensors that were read safely, written anew."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError("inception needs a package: pip install 'vae-lab[inception]'") from error
    written = io.BytesIO()
    torch.save(state, written)
    written.seek(0)
    try:
        with torch.random.fork_rng():  # layers are drawn before they are read
            network: nn.Module = FeatureExtractorInceptionV3("inception", [str(DIMENSION)], written)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"weights={path} is of another network: {first_line(error)}") from error
    return network
