"""Arrays that are too large for memory stay in their file, and are served as those in memory are, to the bit."""

import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_lab.data import Batches, DataError, array_file, array_values, loader
from vae_lab.data.arrays import Arrays
from vae_lab.models import Batch

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 4, 3), np.uint8)
Y = np.arange(50) % 5
SPLITS = {"train": GREY[:30], "val": GREY[30:40], "test": GREY[40:]}
LABELS = {"train_y": Y[:30], "val_y": Y[30:40], "test_y": Y[40:]}


def written(folder: Path, content: Any) -> str:
    path = folder / ("x.npz" if isinstance(content, dict) else "x.npy")
    np.savez(path, **content) if isinstance(content, dict) else np.save(path, content)
    return str(path)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Arrays]:
    """A dataset of a file that is taken for large."""

    def opened(path: str, **settings: Any) -> Arrays:
        monkeypatch.setattr(array_file, "LARGE", 1)
        data = Arrays(path, **settings)
        data.load("train")
        monkeypatch.undo()
        return data

    return opened


def served(data: Arrays) -> list[Batch]:
    """Two epochs of training, of which the second is broken off and gone on with, and an evaluation."""
    train = data.batches("train", 4, seed=3, shuffle=True)
    batches = [*train, *islice(train, 3)]
    again = data.batches("train", 4, seed=3, shuffle=True)
    again.load_state_dict({"served": len(batches)})
    batches += [*again, train.shown(torch.tensor([2, 0]), 5)]
    return [*batches, *data.batches("val", 3), *data.batches("test", 3)]


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (GREY, {}),
        (GREY, {"binarization": "dynamic"}),
        (GREY, {"binarization": "static"}),
        (GREY > 99, {}),
        (RNG.random((50, 7), np.float32), {"binarization": "dynamic"}),
        ({"x": GREY, "y": Y}, {"binarization": "dynamic", "without": [2]}),
        ({"x": RNG.random((50, 7), np.float32), "y": Y}, {"binarization": "dynamic"}),
        ({"x": RNG.normal(size=(50, 7)).astype(np.float32)}, {}),
        ({**SPLITS, **LABELS}, {"binarization": "dynamic"}),
        ({**SPLITS, **LABELS}, {"without": [0, 1]}),
    ],
)
def test_what_is_served_is_the_same(content: Any, settings: dict[str, Any], tmp_path: Path, large: Any) -> None:
    path = written(tmp_path, content)
    here, there = Arrays(path, **settings), large(path, **settings)
    assert there.load("train").mapped
    assert not here.load("train").mapped
    assert there.spec() == here.spec()
    assert there.fingerprint() == here.fingerprint()
    for a, b in zip(served(here), served(there), strict=True):
        for one, other in zip(a, b, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("write", [np.save, np.savez_compressed])
def test_what_cannot_be_used_where_it_lies_is_read(write: Any, tmp_path: Path, large: Any) -> None:
    """Another type, another order, or compressed."""
    path = tmp_path / ("x.npy" if write is np.save else "x.npz")
    x = RNG.random((50, 7)) if write is np.save else GREY
    write(path, x) if write is np.save else write(path, x=x)
    data = large(str(path))
    assert not data.load("train").mapped
    assert torch.equal(data.load("val").x, Arrays(str(path)).load("val").x)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (GREY, []),
        (GREY > 99, []),
        (RNG.random((50, 7), np.float32), []),
        (RNG.random((50, 7)), ["is float64, not float32, uint8 or bool"]),
        (np.asfortranarray(RNG.random((50, 7), np.float32)), ["is in Fortran order"]),
        ({"x": GREY}, []),
    ],
)
def test_what_is_large_and_read_into_memory_is_told(
    x: Any, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Arrays(written(tmp_path, x))
    assert data.cautions() == []
    monkeypatch.setattr(array_file, "LARGE", 1)
    assert [line.split("since it ")[1].split("; ")[0] for line in data.cautions()] == told


@pytest.mark.parametrize("damage", ["a bit", "its size"])
def test_a_large_archive_that_is_damaged_is_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a small one is, which is unzipped."""
    path = tmp_path / "x.npz"
    np.savez(path, train=GREY[:30], val=GREY[30:40], test=GREY[40:])
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[content.index(GREY[:2].tobytes()) + 7] ^= 4
    else:
        at = content.index(b"(30, 4, 3)")
        content[at : at + 10] = b"(99, 4, 3)"
    path.write_bytes(content)
    said = []
    for large in (2**28, 1):
        monkeypatch.setattr(array_file, "LARGE", large)
        with pytest.raises(DataError) as error:
            data = Arrays(str(path))
            data.fingerprint()
            data.load("train")
        said.append(str(error.value))
    assert all(line.startswith(f"{path} is not a whole .npy or .npz file (") for line in said)


def test_a_small_file_is_read_into_memory(tmp_path: Path) -> None:
    """Where nothing that happens to the file can reach it."""
    data = Arrays(written(tmp_path, GREY))
    before = data.load("train").x.clone()
    np.save(tmp_path / "x.npy", 255 - GREY)
    assert torch.equal(data.load("train").x, before)
    data.check_unchanged()


def test_a_large_file_that_changes_is_noticed(tmp_path: Path, large: Any) -> None:
    data = large(path := written(tmp_path, GREY))
    data.check_unchanged()
    np.save(path, 255 - GREY)
    with pytest.raises(DataError, match=r"x\.npy has changed while it was in use"):
        data.check_unchanged()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 1.5])
def test_a_bad_value_is_found_wherever_it_is(bad: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are looked at some at a time."""
    x = RNG.random((50, 7), np.float32)
    x[[31, 47], 2] = bad
    path = written(tmp_path, x)
    said = []
    for size in (2**24, 100, 1):
        monkeypatch.setattr(array_values, "_BLOCK", size)
        with pytest.raises(DataError) as error:
            Arrays(path, kind="unit").load("train")
        said.append(str(error.value))
    assert f"has {bad} in row 31 (of 2 such rows)" in said[0]
    assert len(set(said)) == 1


@pytest.mark.parametrize("redraw", [False, True])
def test_what_is_fetched_ahead_is_the_same(redraw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As data are that a GPU has no room for."""
    settings: dict[str, Any] = {"levels": 255, "seed": 2, "batch_size": 7, "redraw": redraw, "shuffle": redraw}
    x, y = torch.from_numpy(GREY), torch.from_numpy(Y)
    here = list(Batches(x, y, **settings))
    monkeypatch.setattr(loader, "fits", lambda *_: False)
    for a, b in zip(here, Batches(x, y, **settings), strict=True):
        assert all(torch.equal(a[i], b[i]) for i in (0, 1, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_a_gpu_has_no_room_for_arrives_there(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(GREY)
    here = list(Batches(x, batch_size=7, levels=255, device="cuda", shuffle=True))
    monkeypatch.setattr(loader, "fits", lambda *_: False)
    for a, b in zip(here, Batches(x, batch_size=7, levels=255, device="cuda", shuffle=True), strict=True):
        assert b.x.is_cuda
        assert torch.equal(a.x, b.x)


LIMITED = """\
import resource, sys
from itertools import islice
from vae_lab.data.arrays import Arrays

data = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
limit = int(data.split()[1]) * 1024 + 2**28
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
arrays = Arrays(sys.argv[1], kind="unit", binarization="dynamic", val_fraction=1e-4, test_fraction=1e-4)
arrays.fingerprint()
train = arrays.batches("train", 128, shuffle=True)
print(len(train), sum(float(batch.x.sum()) for batch in islice(train, 20)), len(list(arrays.batches("test", 64))))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="its memory is limited by Linux's means")
def test_a_file_of_a_gigabyte_is_trained_on_within_a_quarter_of_it(tmp_path: Path) -> None:
    """By a process that may take 256 MB more than it has when it opens the file (which is sparse, and takes no disk)."""
    n = 2**30 // 784
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (n, 28, 28)).flush()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "x.npy")], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == f"{(n - 2 * 137) // 128} 0.0 3\n"
