"""The password of an MLflow server reaches the server, and no file of a run."""

import base64
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_runs import TINY, Lab

pytest.importorskip("mlflow")
SECRET = "s3/cret"
NAMED = "ann:s3%2Fcret"


@pytest.fixture
def refusing() -> Iterator[tuple[str, set[str | None]]]:
    """A server that refuses every request: its host and port, and who they came from."""
    asked: set[str | None] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.add(self.headers["Authorization"])
            self.send_error(403)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def kept(folder: Path) -> list[Path]:
    """The files that hold the password, as it is or as it is written in an address."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [f for f in files if any(word.encode() in f.read_bytes() for word in (SECRET, NAMED.partition(":")[2]))]


def test_a_password_of_the_environment_is_used_and_not_kept(
    lab: Lab, in_tmp: Path, refusing: tuple[str, set[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, asked = refusing
    for part in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{part}", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{NAMED}@{host}/mlflow")
    said = lab("train", *TINY, "logger=mlflow")
    assert said.code == 0
    assert asked == {"Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()}
    assert "warning: logger=mlflow failed (" in said.err + said.out
    assert list(in_tmp.glob("runs/solo/*/result.json"))
    assert kept(in_tmp) == []
    assert "s3" not in said.err + said.out


def test_a_password_among_the_settings_is_refused(lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE", f"postgresql://{NAMED}@localhost/mlflow")
    for given in (f"https://{NAMED}@localhost", "${oc.env:STORE}"):
        said = lab("train", *TINY, "logger=mlflow", f"logger.tracking_uri='{given}'")
        assert (said.code, said.out) == (2, "")
        advice = "it would be kept in the run's files; hand it over by the environment"
        assert said.err == f"vae-lab: logger.tracking_uri: a password given with an address; {advice}\n"
    assert os.listdir(in_tmp) == []
