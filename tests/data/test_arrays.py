"""A person's own files: what is read from them, and what each bad one is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab.data import DataError
from vae_lab.data.arrays import Arrays

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 4, 3), np.uint8)


@pytest.fixture
def npy(tmp_path: Path) -> Callable[[Any], str]:
    def write(x: Any) -> str:
        np.save(tmp_path / "x.npy", x)
        return str(tmp_path / "x.npy")

    return write


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., str]:
    def write(**arrays: Any) -> str:
        np.savez_compressed(tmp_path / "x.npz", **arrays)
        return str(tmp_path / "x.npz")

    return write


def refusal(path: str, **settings: Any) -> str:
    with pytest.raises(DataError) as error:
        Arrays(path, **settings).load("train")
    text = str(error.value)
    assert path in text or "dataset.binarization" in text
    assert "\n" not in text
    return text.replace(f"{path}: ", "").replace(f"{path} ", "")


@pytest.mark.parametrize(
    ("x", "shape", "kind"),
    [
        (np.ones((20, 7), bool), (7,), "binary"),
        (GREY, (1, 4, 3), "unit"),
        (GREY % 2, (1, 4, 3), "binary"),
        (GREY[:, None] / 255, (1, 4, 3), "unit"),
        (RNG.random((20, 3, 5, 6), np.float32), (3, 5, 6), "unit"),
        ((GREY > 9).astype(np.float64), (1, 4, 3), "binary"),
        (RNG.normal(size=(20, 7)), (7,), "real"),
        (np.asfortranarray(RNG.normal(size=(20, 7)).astype(">f4")), (7,), "real"),
        (RNG.normal(size=(20, 7)).astype(np.float16), (7,), "real"),
    ],
)
def test_shape_and_kind_are_read_from_the_file(x: Any, shape: Any, kind: str, npy: Any, npz: Any) -> None:
    for path in (npy(x), npz(x=x)):
        data = Arrays(path)
        assert data.spec().shape == shape
        assert data.spec().kind == kind
        assert data.spec().sizes == {"train": 16, "val": 2, "test": 2}
        served = next(iter(data.batches("train", 20))).x
        rows = {row.tobytes() for row in served.numpy()}
        scale = 255 if x.dtype == np.uint8 and kind == "unit" else 1
        given = (torch.from_numpy(x.astype(np.float32)) / scale).reshape(20, *shape)
        assert rows <= {row.tobytes() for row in given.numpy()}


def test_the_header_is_enough_where_the_dtype_says_the_kind(npz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(x=GREY, y=np.arange(20) % 4)
    data = Arrays(path, kind="unit")
    read = []
    original = type(data._file).read
    monkeypatch.setattr(type(data._file), "read", lambda self, key: read.append(key) or original(self, key))
    assert data.spec().labels == 4
    assert read == ["y"]


def test_labels_stay_with_their_examples(npz: Any) -> None:
    x = np.arange(30, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    data = Arrays(npz(x=x, y=np.arange(30)), split_seed=5)
    for split in ("train", "val", "test"):
        assert torch.equal(data.load(split).x[:, 0].long(), data.load(split).y)


def test_splits_of_the_file_are_kept(npz: Any) -> None:
    data = Arrays(
        npz(
            train=GREY[:10],
            val=GREY[10:14],
            test=GREY[14:],
            train_y=np.arange(10),
            val_y=np.zeros(4, int),
            test_y=np.ones(6, int),
        )
    )
    assert data.spec().sizes == {"train": 10, "val": 4, "test": 6}
    assert data.spec().labels == 10
    assert torch.equal(data.load("val").x, torch.from_numpy(GREY[10:14, None]))


@pytest.mark.parametrize("how", ["dynamic", "static", "threshold"])
@pytest.mark.parametrize("x", [GREY, GREY / 255, GREY > 99])
def test_grey_and_binary_x_can_be_binarised(how: Any, x: Any, npy: Any) -> None:
    data = Arrays(npy(x), binarization=how)
    batch = next(iter(data.batches("train", 8, shuffle=True)))
    assert data.spec().kind == "binary"
    assert set(batch.x.unique().tolist()) <= {0.0, 1.0}


def test_dynamic_draws_of_float_grey_have_its_mean(npy: Any) -> None:
    loader = Arrays(npy(np.full((50, 2000), 0.3)), binarization="dynamic").batches("train", 40, shuffle=True)
    assert float(next(iter(loader)).x.mean()) == pytest.approx(0.3, abs=5 * (0.21 / 80_000) ** 0.5)


def test_the_fingerprint_is_of_the_content(npy: Any, npz: Any, tmp_path: Path) -> None:
    plain, packed = Arrays(npy(GREY)).fingerprint(), Arrays(npz(x=GREY)).fingerprint()
    np.savez(tmp_path / "other.npz", x=GREY)
    assert plain == packed == Arrays(str(tmp_path / "other.npz")).fingerprint()
    changed = GREY.copy()
    changed[3, 2, 1] ^= 1
    assert Arrays(npy(changed)).fingerprint() != plain
    assert Arrays(npz(x=GREY, y=np.arange(20))).fingerprint() != plain
    assert Arrays(npy(GREY.reshape(20, 3, 4))).fingerprint() != plain


def test_the_fractions_are_of_the_examples(npy: Any) -> None:
    assert Arrays(npy(GREY), val_fraction=0.25, test_fraction=0.5).spec().sizes == {"train": 5, "val": 5, "test": 10}


def with_value(x: Any, value: float, *rows: int) -> Any:
    x = x.copy()
    x[list(rows), 1] = value
    return x


REAL = RNG.normal(size=(20, 4))
UNIT = RNG.random((20, 4))
NAN, TWOS = with_value(REAL, np.nan, 7, 9), np.full((20, 4), 2, np.uint8)
HALVES = {"val_fraction": 0.6, "test_fraction": 0.6}

FINITE = "x must be finite in float32; remove or repair it"
SHAPES = "x is (n, d), (n, height, width) or (n, channels, height, width)"
EMPTY = "which is empty: give at least one example for each split"
DTYPES = "use bool, uint8 (grey levels 0 to 255), float32 or float64"
LAST = "which looks like channels last: channels come first here, np.moveaxis(x, -1, 1)"
FEW = "give more examples, or other dataset.val_fraction and dataset.test_fraction"
UNIT_ONLY = "dataset.kind=unit allows [0, 1]; rescale x, or use dataset.kind=real"
BINARY_ONLY = "dataset.kind=binary allows 0 and 1; use dataset.kind=unit or real"
NO_GREY = "dataset.binarization=static needs x in [0, 1], and this x is real-valued: use dataset.binarization=none"
HAVE = "each split needs an example, and these would have"
DIFFER = "the splits differ in shape or dtype"
KEYS = "an .npz needs either x (and y), or train, val and test (and train_y ...)"
LABELS = "labels are whole numbers from 0, one for each of 20 examples"
PICKLED = "y holds pickled objects, which could run code: save numbers, not objects"


@pytest.mark.parametrize(
    ("x", "settings", "line"),
    [
        (NAN, {}, f"x has nan in row 7 (of 2 such rows): {FINITE}"),
        (NAN, {"binarization": "dynamic"}, f"x has nan in row 7 (of 2 such rows): {FINITE}"),
        (with_value(UNIT, -np.inf, 0), {}, f"x has -inf in row 0 (of 1 such rows): {FINITE}"),
        (with_value(REAL, 1e300, 5), {"kind": "real"}, f"x has 1e+300 in row 5 (of 1 such rows): {FINITE}"),
        (with_value(UNIT, 1.5, 3), {"kind": "unit"}, f"x has 1.5 in row 3 (of 1 such rows): {UNIT_ONLY}"),
        (TWOS, {"kind": "binary"}, f"x has 2 in row 0 (of 20 such rows): {BINARY_ONLY}"),
        (REAL, {"binarization": "static"}, NO_GREY),
        (REAL[0], {}, f"x has shape (4,): {SHAPES}"),
        (np.float32(3), {}, f"x has shape (): {SHAPES}"),
        (np.zeros((2, 3, 4, 5, 6)), {}, f"x has shape (2, 3, 4, 5, 6): {SHAPES}"),
        (np.zeros((0, 4)), {}, f"x has shape (0, 4), {EMPTY}"),
        (np.zeros((9, 0)), {}, f"x has shape (9, 0), {EMPTY}"),
        (np.zeros((9, 28, 28, 3)), {}, f"x has shape (9, 28, 28, 3), {LAST}"),
        (np.zeros((9, 4), int), {}, f"x has dtype int64: {DTYPES}"),
        (np.zeros((9, 4), complex), {}, f"x has dtype complex128: {DTYPES}"),
        (np.array([["a"]] * 9), {}, f"x has dtype <U1: {DTYPES}"),
        (np.array([[print]] * 9), {}, f"x has dtype object: {DTYPES}"),
        (np.zeros((2, 4)), {}, f"{HAVE} train 2, val 0, test 0: {FEW}"),
        (np.zeros((9, 4)), HALVES, f"{HAVE} train -1, val 5, test 5: {FEW}"),
    ],
)
def test_bad_arrays_cost_one_clear_line(x: Any, settings: Any, line: str, npy: Any) -> None:
    assert refusal(npy(x), **settings) == line


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"images": GREY}, f"has images: {KEYS}"),
        ({"x": GREY, "val": GREY}, f"has val, x: {KEYS}"),
        ({"train": GREY, "test": GREY}, f"has test, train: {KEYS}"),
        (
            {"train": GREY, "val": GREY[:, :2], "test": GREY},
            f"{DIFFER} (train (4, 3) uint8, val (2, 3) uint8, test (4, 3) uint8): make them alike",
        ),
        (
            {"train": GREY, "val": GREY / 255, "test": GREY},
            f"{DIFFER} (train (4, 3) uint8, val (4, 3) float64, test (4, 3) uint8): make them alike",
        ),
        ({"train": REAL, "val": NAN, "test": REAL}, f"val has nan in row 7 (of 2 such rows): {FINITE}"),
        ({"x": GREY, "y": np.arange(19)}, f"y is (19,) int64: {LABELS}"),
        ({"x": GREY, "y": np.zeros(20)}, f"y is (20,) float64: {LABELS}"),
        ({"x": GREY, "y": np.arange(20) - 1}, f"y is (20,) int64 with -1 in it: {LABELS}"),
        ({"x": GREY, "y": np.array([print] * 20)}, PICKLED),
    ],
)
def test_bad_archives_cost_one_clear_line(arrays: Any, line: str, npz: Any) -> None:
    assert refusal(npz(**arrays)) == line


def test_a_missing_file(tmp_path: Path) -> None:
    assert (
        refusal(str(tmp_path / "no.npy"))
        == "is missing: save it with numpy.save or numpy.savez, and set dataset.path= to it"
    )


@pytest.mark.parametrize("keep", [0, 3, 60, 200])
@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_file(packed: bool, keep: int, npy: Any, npz: Any) -> None:
    path = npz(x=GREY) if packed else npy(GREY)
    Path(path).write_bytes(Path(path).read_bytes()[:keep])
    assert refusal(path).startswith("is not a whole .npy or .npz file (")


def test_a_flipped_bit_in_an_archive(npz: Any) -> None:
    path = Path(npz(x=GREY))
    content = bytearray(path.read_bytes())
    content[250] ^= 0x10
    path.write_bytes(content)
    assert refusal(str(path)).startswith("is not a whole .npy or .npz file (")


def test_text_is_not_an_array(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("1,2,3\n")
    assert refusal(str(tmp_path / "x.npy")).startswith("is not a whole .npy or .npz file (")
