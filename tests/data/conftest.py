"""Datasets as conf/dataset/*.yaml makes them, and a mirror of MNIST on the loopback."""

import gzip
import hashlib
import inspect
import os
import pydoc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from vae_lab.data import Dataset, mnist

REPO = Path(__file__).parents[2]
CONF = REPO / "conf" / "dataset"
DATA_ROOT = Path(os.environ.get("VAE_LAB_DATA", REPO.parent / "shared" / "data"))
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
NEEDS_FILE = {"mnist": "mnist/train-images-idx3-ubyte.gz", "frey_faces": "frey_faces/frey_faces.npz"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", NAMES)


@pytest.fixture(scope="session")
def settings_of() -> Callable[[str], tuple[type[Dataset], dict[str, Any]]]:
    return _settings_of


def _settings_of(name: str) -> tuple[type[Dataset], dict[str, Any]]:
    """The class that a YAML names, and its settings."""
    node = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    cls = pydoc.locate(node.pop("_target_"))
    assert inspect.isclass(cls)
    return cls, node


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a person might bring, by the name of the dataset: 60 grey images with labels as an array and as files, and a
    table."""
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 6, 5), np.uint8), np.arange(60) % 3
    np.savez(folder / "own.npz", x=x, y=y)
    for i in range(60):
        (folder / "pictures" / f"class {y[i]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i]).save(folder / "pictures" / f"class {y[i]}" / f"{i:02}.png")
    rows = [",".join(map(str, row)) for row in rng.normal([1, 2, 3], [10, 0.1, 1], (60, 3))]
    (folder / "own.csv").write_text("\n".join(["a,b,c", *rows]))
    return {"arrays": folder / "own.npz", "images": folder / "pictures", "table": folder / "own.csv"}


@pytest.fixture(scope="session")
def make(own_data: dict[str, Path]) -> Callable[..., Dataset]:
    """make(name, **overrides): the dataset that the YAML describes, its file found, or a skip with the reason."""

    def build(name: str, **overrides: Any) -> Dataset:
        cls, node = _settings_of(name)
        if name in NEEDS_FILE and not (DATA_ROOT / NEEDS_FILE[name]).is_file():
            pytest.skip(f"{name}: no {DATA_ROOT / NEEDS_FILE[name]} (set VAE_LAB_DATA)")
        found = {"root": str(DATA_ROOT)} if "root" in node else {"path": str(own_data[name])} if "path" in node else {}
        return cls(**node | found | overrides)

    return build


@pytest.fixture(scope="session")
def _made() -> dict[str, Dataset]:
    return {}


@pytest.fixture
def dataset(name: str, make: Callable[..., Dataset], _made: dict[str, Dataset]) -> Dataset:
    """One for each YAML, read once."""
    if name not in _made:
        _made[name] = make(name)
    return _made[name]


TINY = (
    mnist.Idx("train-images-idx3-ubyte", (40, 28, 28), ""),
    mnist.Idx("train-labels-idx1-ubyte", (40,), ""),
    mnist.Idx("t10k-images-idx3-ubyte", (10, 28, 28), ""),
    mnist.Idx("t10k-labels-idx1-ubyte", (10,), ""),
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A MNIST of 50 images in place of the real one: gzipped content by file name."""
    rng = np.random.default_rng(0)
    files, contents = [], {}
    for idx in TINY:
        content = idx.header + rng.integers(0, 10, idx.shape, np.uint8).tobytes()
        files.append(idx._replace(md5=hashlib.md5(content).hexdigest()))
        contents[f"{idx.name}.gz"] = gzip.compress(content)
    for name, idx in zip(("TRAIN_X", "TRAIN_Y", "TEST_X", "TEST_Y"), files, strict=True):
        monkeypatch.setattr(mnist, name, idx)
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    monkeypatch.setattr(mnist, "VAL", 10)
    return contents


class Mirror(ThreadingHTTPServer):
    """Serves `files` with Range, and remembers what was asked: (name, first byte). `cut` ends the first transfers of a
    file after so many bytes; `ranges=False` ignores Range as simple servers do."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked, self.cut, self.cuts, self.ranges = dict(files), [], 0, 0, True
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name, mirror = self.path.lstrip("/"), self.server
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")) if mirror.ranges else 0
        mirror.asked.append((name, first))
        if name not in mirror.files:
            return self.send_error(404)
        if first and first >= len(mirror.files[name]):
            return self.send_error(416)
        body = mirror.files[name][first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mirror.cuts > 0:
            mirror.cuts, body = mirror.cuts - 1, body[: mirror.cut]
        self.wfile.write(body)
        return None

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tiny: dict[str, bytes]) -> Iterator[Callable[[], Mirror]]:
    """mirror(): a new server of the tiny MNIST."""
    servers: list[Mirror] = []

    def start() -> Mirror:
        servers.append(Mirror(tiny))
        Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
