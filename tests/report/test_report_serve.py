"""`vae-lab report --serve`: a real server, asked as a browser asks, and as nobody should."""

import http.client
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import start
from synthetic_study import Truth, write_run, write_study

from vae_lab import cli
from vae_lab.claim import claim
from vae_lab.report import serve


class Address:
    """Where the server is, and how to ask it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, host: str | None = None) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        connection.endheaders()
        answer = connection.getresponse()
        content = answer.status, answer.getheader("Content-Type") or "", answer.read()
        connection.close()
        return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("served"), {"vanilla": [Truth(1.7)], "good": [Truth(6.0)]})


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Address]:
    process = start(folder.parent, "report", str(folder), "--serve", "--port", "0")
    assert process.stdout
    said = process.stdout.readline() + process.stdout.readline()
    found = re.fullmatch(
        r"http://127\.0\.0\.1:(\d+)/  \(Ctrl-C ends it\)\nfrom another machine: ssh -N -L \1:127\.0\.0\.1:\1 \S+@\S+\n",
        said,
    )
    assert found, said
    yield Address(int(found[1]))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "\nno longer served\n", "")


def test_it_serves_the_page_its_table_and_its_figures(served: Address, folder: Path) -> None:
    status, kind, page = served.get("/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b"<h1>made_up</h1>" in page
    assert b"Content-Security-Policy" in page
    assert served.get("/results.csv")[2].startswith(b"arm,cell,seed,signature,status")
    assert served.get("/goods0/figures/samples.png")[1:] == (
        "image/png",
        (folder / "goods0" / "figures" / "samples.png").read_bytes(),
    )


@pytest.mark.parametrize(
    "path",
    [
        "/plan.json",
        "/goods0/result.json",
        "/goods0/run.log",
        "/../served0/plan.json",
        "/%2e%2e/plan.json",
        "/goods0/figures/../result.json",
        "/goods0/figures/../../plan.json",
        "//etc/passwd",
        "/goods0/figures/",
    ],
)
def test_it_serves_nothing_else(served: Address, path: str) -> None:
    assert served.get(path)[0] == 404


def test_a_link_out_of_the_folder_is_not_followed(served: Address, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_text("secret")
    link = folder / "goods0" / "figures" / "secret.png"
    link.symlink_to(tmp_path / "secret.png")
    assert served.get("/goods0/figures/secret.png")[0] == 404
    link.unlink()


def test_a_foreign_name_for_this_address_is_refused(served: Address) -> None:
    """A page of another site could give its own name this address, and read what is served."""
    assert served.get("/", host="attacker.example:80")[0] == 403
    assert served.get("/", host=f"localhost:{served.port}")[0] == 200


def test_only_this_machine_is_answered(served: Address) -> None:
    others = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError, match=r"refused|timed out|reachable"):
            socket.create_connection((address, served.port), timeout=5)
    assert served.get("/")[0] == 200


def test_it_is_made_anew_when_a_result_changes(served: Address, folder: Path) -> None:
    """Not at once: the server makes a page no more often than its cost allows."""
    assert b"123.5" not in served.get("/results.csv")[2]
    write_run(folder, "good", 0, Truth(6.0), metrics={"test/rate": 123.5})
    ends = time.monotonic() + 300
    while b"123.5" not in served.get("/results.csv")[2]:
        assert time.monotonic() < ends, "the table stayed as it was"
        time.sleep(0.2)
    assert b"123.5" in served.get("/")[2]


def test_a_folder_is_not_searched_for_every_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Path] = []
    look = serve._stamp
    monkeypatch.setattr(serve, "_stamp", lambda folder: looks.append(folder) or look(folder))
    report, before = serve.Served(folder), time.monotonic()
    for _ in range(30):
        report.report()
    assert len(looks) <= 1 + (time.monotonic() - before) / serve.LOOK


def test_a_study_that_stops_and_writes_nothing_is_not_shown_as_running(tmp_path: Path) -> None:
    """As one that was killed, or a failed run that was given up again."""
    served = serve.Served(write_study(tmp_path, {"vanilla": [Truth(1.7)]}))
    failed = write_run(tmp_path, "vanilla", 0, Truth(1.7), status="failed", metrics={}, error="RuntimeError: boom")
    with claim(failed):
        assert served.report().live
    ends = time.monotonic() + 60
    while served.report().live:
        assert time.monotonic() < ends, "the page stayed as it was"
        time.sleep(0.2)


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By those that they lie in; a name may have any letters, and a folder that is given twice is there once."""
    places = [tmp_path / name for name in ("here/study", "there/study", "a b/100% é")]
    for i, place in enumerate(places):
        write_study(place, {"vanilla": [Truth(1.7)]}, seeds=2, question=f"the question {i}?")
    with serve.Server([*places, places[0] / "."], port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = Address(server.port)
        links = re.findall('href="(.*?)"', address.get("/")[2].decode())
        assert links == ["/here/study/", "/there/study/", "/a%20b/100%25%20%C3%A9/"]
        for i, link in enumerate(links):
            assert f"the question {i}?".encode() in address.get(link)[2]
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prot", "1"], "report: --prot: no such flag; there are --host, --port, --serve (did you mean '--port'?)"),
        (["--serve", "--port", "x"], "report: argument --port: invalid int value: 'x'"),
        (["--serve", "--port", "70000"], "report: --port 70000: a port is a number from 0 (any free one) to 65535"),
        (["--port", "8000"], "report: --host and --port say where to serve; they need --serve"),
        (
            ["--serve", "--host", "192.0.2.1", "--port", "0"],
            "report: cannot serve on 192.0.2.1 port 0: Cannot assign requested address",
        ),
    ],
)
def test_what_cannot_be_served(folder: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["report", str(folder), *words])
    assert (end.value.code, capfd.readouterr().err) == (2, f"vae-lab: {said}\n")


def test_a_port_that_is_taken_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as holder, pytest.raises(SystemExit) as end:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        cli.main(["report", str(folder), "--serve", "--port", str(port)])
    assert end.value.code == 2
    told = f"report: cannot serve on 127.0.0.1 port {port}: Address already in use; another: --port {port + 1}"
    assert told in capfd.readouterr().err


def test_a_slow_client_has_its_time_and_keeps_no_other_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that says nothing is sent away after a silence, one that says a letter now and then after its time in all."""
    monkeypatch.setattr(serve._Handler, "timeout", 2.0)
    monkeypatch.setattr(serve, "LONGEST", 5.0)
    with serve.Server([folder], port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Address(server.port).get("/")  # makes the page
        clients = {name: socket.create_connection(("127.0.0.1", server.port), 30) for name in ("silent", "slow")}
        begun, ends = time.monotonic(), {}
        assert Address(server.port).get("/results.csv")[0] == 200
        clients["slow"].sendall(b"GET / HTTP/1.1\r\n")
        while len(ends) < 2 and time.monotonic() < begun + 30:
            for name, client in clients.items():
                if name not in ends and is_closed(client, name == "slow"):
                    ends[name] = time.monotonic() - begun
        assert 1.9 < ends["silent"] < ends["slow"]
        assert 4.9 < ends["slow"] < 25
        assert Address(server.port).get("/")[0] == 200
        for client in clients.values():
            client.close()
        server.shutdown()
    assert capfd.readouterr().err == ""


def is_closed(client: socket.socket, talks: bool) -> bool:
    """Whether the other end has hung up, a third of a second from now."""
    client.settimeout(0.3)
    try:
        if talks:
            client.sendall(b"x")
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
