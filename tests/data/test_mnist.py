"""MNIST's files: whole, missing, truncated, altered, and fetched from mirrors on the loopback."""

import gzip
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vae_lab.data import DataError, Dataset, download, mnist
from vae_lab.data.mnist import MNIST

TRAIN, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
ADVICE = ": set dataset.download=true to fetch it, or dataset.root= to the folder that has it"


@pytest.fixture
def root(tmp_path: Path, tiny: dict[str, bytes]) -> Path:
    """A folder with the tiny MNIST, whole."""
    (tmp_path / "mnist").mkdir()
    for name, content in tiny.items():
        (tmp_path / "mnist" / name).write_bytes(content)
    return tmp_path


def refusal(root: Path) -> str:
    """What `load` and `fingerprint` say, the same line."""
    with pytest.raises(DataError) as of_load:
        MNIST(str(root)).load("train")
    with pytest.raises(DataError) as of_fingerprint:
        MNIST(str(root)).fingerprint()
    assert str(of_load.value) == str(of_fingerprint.value)
    assert "\n" not in str(of_load.value)
    return str(of_load.value)


def test_splits_are_the_first_and_last_of_the_training_file(root: Path) -> None:
    data = MNIST(str(root))
    content = torch.frombuffer(
        bytearray(gzip.decompress((root / "mnist" / TRAIN).read_bytes()))[16:], dtype=torch.uint8
    )
    assert torch.equal(torch.cat([data.load("train").x, data.load("val").x]).flatten(), content)
    assert data.spec().sizes == {"train": 30, "val": 10, "test": 10}
    assert data.load("test").x.shape == (10, 1, 28, 28)


def test_plain_files_and_other_compressions_are_the_same_data(root: Path, tmp_path: Path) -> None:
    before, x = MNIST(str(root)).fingerprint(), MNIST(str(root)).load("train").x
    for i, path in enumerate(sorted((root / "mnist").iterdir())):
        content = gzip.decompress(path.read_bytes())
        path.unlink()
        moved = tmp_path / (path.name if i % 2 else path.stem)
        moved.write_bytes(gzip.compress(content, 1) if i % 2 else content)
    assert MNIST(str(tmp_path)).fingerprint() == before
    assert torch.equal(MNIST(str(tmp_path)).load("train").x, x)


def test_a_missing_file(root: Path) -> None:
    (root / "mnist" / LABELS).unlink()
    assert refusal(root) == f"{root}/mnist/{LABELS} is missing{ADVICE}"


def test_a_truncated_file(root: Path) -> None:
    path = root / "mnist" / TRAIN
    path.write_bytes(path.read_bytes()[:5000])
    assert refusal(root) == f"{path} is truncated: its compressed data end early{ADVICE}"


def test_a_truncated_plain_file(root: Path) -> None:
    path = root / "mnist" / TRAIN
    path.write_bytes(gzip.decompress(path.read_bytes())[:5000])
    assert refusal(root) == f"{path} is truncated: 5,000 bytes uncompressed where 31,376 belong{ADVICE}"


def test_an_empty_file(root: Path) -> None:
    (root / "mnist" / TRAIN).write_bytes(b"")
    assert "is truncated: 0 bytes uncompressed where 31,376 belong" in refusal(root)


@pytest.mark.parametrize("place", [10, 3000, -6])
def test_an_altered_archive(root: Path, place: int) -> None:
    path = root / "mnist" / TRAIN
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert refusal(root).startswith(f"{path} is ")


def test_an_altered_pixel(root: Path) -> None:
    path = root / "mnist" / TRAIN
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[700] ^= 1
    path.write_bytes(gzip.compress(content))
    assert refusal(root) == f"{path} is altered: the md5 of its uncompressed content is not {mnist.TRAIN_X.md5}{ADVICE}"


def test_another_file_under_the_name(root: Path) -> None:
    path = root / "mnist" / TRAIN
    path.write_bytes((root / "mnist" / LABELS).read_bytes())
    header = "0000080300000028" + "0000001c" * 2
    assert f"{path} is not MNIST's train-images-idx3-ubyte: its header is 0000080100000028" in refusal(root)
    assert f", not {header}{ADVICE}" in refusal(root)


def test_a_change_after_the_first_look_is_seen(root: Path) -> None:
    MNIST(str(root)).fingerprint()
    path = root / "mnist" / TRAIN
    path.write_bytes(path.read_bytes()[:5000])
    assert "is truncated" in refusal(root)


def test_real_mnist_has_the_pinned_md5s(make: Callable[..., Dataset]) -> None:
    data = make("mnist", download=False)
    assert [data.load(split).x.shape[0] for split in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    assert data.load("train").y[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.load("test").y[:5].tolist() == [7, 2, 1, 0, 4]
    assert float(data.load("train").x.float().mean() / 255) == pytest.approx(0.1306, abs=5e-4)


class TestDownload:
    """From real servers on 127.0.0.1."""

    @pytest.fixture
    def fetch_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MNIST]:
        def build(*servers: Any) -> MNIST:
            monkeypatch.setattr(mnist, "MIRRORS", tuple(server.url for server in servers))
            return MNIST(str(tmp_path), download=True)

        return build

    def test_all_four_are_fetched_once(self, mirror: Any, fetch_from: Any, tmp_path: Path) -> None:
        server = mirror()
        data = fetch_from(server)
        fingerprint = data.fingerprint()
        assert data.load("train").x.shape == (30, 1, 28, 28)
        assert sorted(server.asked) == sorted((name, 0) for name in server.files)
        assert MNIST(str(tmp_path)).fingerprint() == fingerprint
        assert not list(tmp_path.rglob("*.part"))

    def test_nothing_is_fetched_unasked(self, mirror: Any, fetch_from: Any, tmp_path: Path) -> None:
        server = mirror()
        fetch_from(server)
        with pytest.raises(DataError, match="is missing"):
            MNIST(str(tmp_path)).load("train")
        assert not server.asked

    def test_a_cut_transfer_goes_on_where_it_stopped(self, mirror: Any, fetch_from: Any) -> None:
        server = mirror()
        server.cut, server.cuts = 3000, 2
        fetch_from(server).load("train")
        assert [first for name, first in server.asked if name == TRAIN] == [0, 3000, 6000]

    def test_a_mirror_that_always_cuts_leaves_a_part_that_the_next_one_ends(self, mirror: Any, fetch_from: Any) -> None:
        bad, good = mirror(), mirror()
        bad.cut, bad.cuts = 1000, 3
        fetch_from(bad, good).load("train")
        assert good.asked[0] == (TRAIN, 3000)

    def test_a_part_from_an_earlier_process_is_resumed(self, mirror: Any, fetch_from: Any, tmp_path: Path) -> None:
        server = mirror()
        (tmp_path / "mnist").mkdir()
        (tmp_path / "mnist" / f"{TRAIN}.part").write_bytes(server.files[TRAIN][:4000])
        fetch_from(server).load("train")
        assert server.asked[0] == (TRAIN, 4000)

    @pytest.mark.parametrize("size", [4000, 10**6])
    def test_a_part_of_something_else_is_cleaned_up(
        self, mirror: Any, fetch_from: Any, tmp_path: Path, size: int
    ) -> None:
        server = mirror()
        (tmp_path / "mnist").mkdir()
        (tmp_path / "mnist" / f"{TRAIN}.part").write_bytes(bytes(size))
        fetch_from(server).load("train")
        assert [first for name, first in server.asked if name == TRAIN] == [size, 0]

    def test_a_whole_part_is_used(self, mirror: Any, fetch_from: Any, tmp_path: Path) -> None:
        server = mirror()
        (tmp_path / "mnist").mkdir()
        (tmp_path / "mnist" / f"{TRAIN}.part").write_bytes(server.files[TRAIN])
        fetch_from(server).load("train")
        assert [first for name, first in server.asked if name == TRAIN] == [len(server.files[TRAIN])]

    def test_a_server_without_range_sends_all_again(self, mirror: Any, fetch_from: Any) -> None:
        server = mirror()
        server.cut, server.cuts, server.ranges = 3000, 1, False
        fetch_from(server).load("train")
        assert [first for name, first in server.asked if name == TRAIN] == [0, 0]

    def test_a_corrupted_mirror_gives_way_to_the_next(self, mirror: Any, fetch_from: Any, caplog: Any) -> None:
        bad, good = mirror(), mirror()
        bad.files[TRAIN] = gzip.compress(b"<html>not here</html>")
        bad.files.pop(LABELS)
        with caplog.at_level(logging.WARNING):
            fetch_from(bad, good).load("train")
        assert good.asked == [(TRAIN, 0), (LABELS, 0)]
        assert "what came was wrong" in caplog.text
        assert "HTTP 404" in caplog.text

    def test_a_damaged_file_is_replaced(self, mirror: Any, fetch_from: Any, root: Path) -> None:
        server = mirror()
        path = root / "mnist" / TRAIN
        path.write_bytes(path.read_bytes()[:5000])
        fetch_from(server).load("train")
        assert server.asked == [(TRAIN, 0)]
        assert path.read_bytes() == server.files[TRAIN]

    def test_when_all_fail_each_answer_is_in_the_line(
        self, mirror: Any, fetch_from: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone, bad = mirror(), mirror()
        gone.files.clear()
        bad.files[TRAIN] = b"nonsense"
        data = fetch_from(gone, bad)
        monkeypatch.setattr(mnist, "MIRRORS", (*mnist.MIRRORS, "http://127.0.0.1:9/"))
        with pytest.raises(DataError) as error:
            data.load("train")
        text = str(error.value)
        assert text.startswith(
            f"{TRAIN} could not be downloaded from {gone.url}{TRAIN} (HTTP 404) or {bad.url}{TRAIN} (what"
        )
        assert "refused" in text
        assert "\n" not in text
        assert "try again (what has come is kept), or put the file into" in text

    def test_a_folder_that_cannot_be_written(self, mirror: Any, fetch_from: Any, tmp_path: Path) -> None:
        (tmp_path / "mnist").write_text("a file where the folder belongs")
        with pytest.raises(
            DataError, match=r"mnist/train-images.* cannot be written \(File exists\): set dataset.root="
        ):
            fetch_from(mirror()).load("train")

    def test_two_at_once_download_once(self, mirror: Any, fetch_from: Any) -> None:
        from concurrent.futures import ThreadPoolExecutor

        server = mirror()
        data = [fetch_from(server), fetch_from(server)]
        with ThreadPoolExecutor(2) as pool:
            prints = list(pool.map(lambda one: one.fingerprint(), data))
        assert prints[0] == prints[1]
        assert len(server.asked) == 4


def test_the_timeout_is_finite() -> None:
    assert 0 < download.TIMEOUT < 120
