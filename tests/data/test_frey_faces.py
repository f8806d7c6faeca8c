"""The file of the Frey Faces: what each bad one is told."""

from pathlib import Path

import numpy as np
import pytest

from vae_lab.data import DataError
from vae_lab.data.frey_faces import ADVICE, FreyFaces

IMAGES = np.random.default_rng(0).integers(0, 256, (1965, 28, 20), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "frey_faces").mkdir()
    return tmp_path / "frey_faces" / "frey_faces.npz"


def refusal(path: Path) -> str:
    data = FreyFaces(str(path.parents[1]))
    with pytest.raises(DataError) as of_load:
        data.load("train")
    with pytest.raises(DataError) as of_fingerprint:
        data.fingerprint()
    assert str(of_load.value) == str(of_fingerprint.value)
    assert "\n" not in str(of_load.value)
    return str(of_load.value)


def test_the_fingerprint_is_of_the_images(path: Path) -> None:
    np.savez(path, images=IMAGES)
    plain = FreyFaces(str(path.parents[1])).fingerprint()
    np.savez_compressed(path, images=IMAGES, other=np.zeros(3))
    assert FreyFaces(str(path.parents[1])).fingerprint() == plain
    np.savez(path, images=IMAGES[::-1])
    assert FreyFaces(str(path.parents[1])).fingerprint() != plain


def test_a_missing_file(path: Path) -> None:
    assert refusal(path) == f"{path} is missing: {ADVICE}"


def test_another_key(path: Path) -> None:
    np.savez(path, faces=IMAGES)
    assert refusal(path) == f"{path} has no key `images`: {ADVICE}"


def test_another_shape(path: Path) -> None:
    np.savez(path, images=IMAGES.reshape(1965, 560))
    assert refusal(path) == f"{path}: `images` is (1965, 560) uint8, not (1965, 28, 20) uint8: {ADVICE}"


def test_pickled_objects_are_not_opened(path: Path) -> None:
    np.savez(path, images=np.array([print] * 3))
    assert refusal(path).startswith(f"{path}: images holds pickled objects, which could run code")


@pytest.mark.parametrize("keep", [0, 10, 500_000])
def test_a_truncated_file(path: Path, keep: int) -> None:
    np.savez(path, images=IMAGES)
    path.write_bytes(path.read_bytes()[:keep])
    assert refusal(path).startswith(f"{path} is not a whole .npy or .npz file (")


def test_an_altered_file(path: Path) -> None:
    np.savez(path, images=IMAGES)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path} is not a whole .npy or .npz file (Bad CRC-32")
