"""The page over HTTP, for a study on another machine: on loopback, made anew when asked for and something has changed."""

import contextlib
import getpass
import html
import itertools
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from vae_lab import store
from vae_lab.errors import RequestError
from vae_lab.report import Report
from vae_lab.report.live import PAUSE, SHARE, build_live
from vae_lab.report.reading import Known

LOOPBACK, PORT = "127.0.0.1", 8765
LOOK = 1.0  # seconds between two looks at a folder, at least: one at thousands of runs takes a part of a second
READ = frozenset({store.PLAN, store.RESULT, store.HISTORY, store.CONFIG, ".launch.json"})
SILENT, LONGEST = 15.0, 120.0  # seconds that a client may say nothing, and that it has in all
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
FIGURE = re.compile(r"[\w.-]+/figures/[\w-]+\.png")
HTML, CSV, PNG = "text/html; charset=utf-8", "text/csv; charset=utf-8", "image/png"


class Served:
    """A folder's report, as fresh as its files, but neither made nor compared with them more often than that costs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._known: Known = {}
        self._report: Report | None = None
        self._stamp: object = None
        self._not_before = 0.0

    def report(self) -> Report:
        """Errors: `RequestError` where no report can be made."""
        with self._lock:
            if self._report is None or time.monotonic() >= self._not_before:
                before = time.thread_time()
                self._report = self._renewed()
                self._not_before = time.monotonic() + max(LOOK, (time.thread_time() - before) / (5 * SHARE))
            return self._report

    def _renewed(self) -> Report:
        stamp = _stamp(self.folder)
        if (
            self._report is not None and stamp == self._stamp and not self._report.live
        ):  # a run may stop without a trace
            return self._report
        made, self._known = build_live(self.folder, self._known, PAUSE)
        is_running = any(row.status == "running" for row in made.study.rows)
        report = made if is_running else Report(made.study)
        report.html  # noqa: B018  (made while the lock is held)
        self._stamp = stamp
        return report


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """What changes whenever a file does that the report reads."""
    stamps = []
    for place, _, names in os.walk(folder):
        for name in READ.intersection(names):
            with contextlib.suppress(OSError):  # it went while we looked
                found = os.stat(file := os.path.join(place, name))
                stamps.append((file, found.st_mtime_ns, found.st_size))
    return sorted(stamps)


class Server(ThreadingHTTPServer):
    """Serves the reports of folders: one at `/`, or several each at `/NAME/` with a list of them at `/`. The name is the
    folder's, after as many of those that it lies in as tell it from the others."""

    daemon_threads = True

    def __init__(self, folders: list[Path], host: str = LOOPBACK, port: int = PORT) -> None:
        self.served: Mapping[str, Served] = {name: Served(folder) for name, folder in _names(folders).items()}
        self.is_local = host in (LOOPBACK, "localhost")
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that has gone, or was sent away; the terminal belongs to the person."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _names(folders: Iterable[Path]) -> dict[str, Path]:
    """Where each folder's report is; a folder that is given twice is there once."""
    once = {folder.resolve(): folder for folder in folders}
    if len(once) == 1:
        return dict(zip([""], once.values(), strict=True))
    length = next(n for n in itertools.count(1) if len({full.parts[-n:] for full in once}) == len(once))
    return {"/".join(full.parts[-length:]).lstrip("/") + "/": folder for full, folder in once.items()}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = SILENT
    server_version, sys_version = "vae-lab", ""

    def setup(self) -> None:
        self._give_time()
        super().setup()

    def finish(self) -> None:
        self._limit.cancel()
        super().finish()

    def _give_time(self) -> None:
        """Gives the client its time: one that reads or writes a byte now and then would otherwise stay for ever."""
        self._limit = threading.Timer(LONGEST, self._hang_up)
        self._limit.daemon = True
        self._limit.start()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # it has gone by itself
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self._limit.cancel()  # while we are at work, it is we who are slow
        status, kind, content = self._answer()
        self._give_time()
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        for name, value in (headers | {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if self.server.is_local and host not in LOCAL_NAMES:  # a foreign page that gave its own name this address
            return HTTPStatus.FORBIDDEN, "text/plain", b"this server answers to localhost only\n"
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        if not path and "" not in self.server.served:
            return HTTPStatus.OK, HTML, self._list().encode()
        for name, served in self.server.served.items():
            if path.startswith(name):
                try:
                    return _part(served, path[len(name) :])
                except RequestError as error:
                    return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", f"{error}\n".encode()
        return _missing()

    def _list(self) -> str:
        links = "".join(
            f'<li><a href="/{html.escape(quote(name))}">{html.escape(name)}</a></li>' for name in self.server.served
        )
        return f'<!DOCTYPE html><html lang="en"><title>reports</title><h1>Reports</h1><ul>{links}</ul></html>'

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the person."""


def _part(served: Served, name: str) -> tuple[HTTPStatus, str, bytes]:
    """The page, its table, or a figure of one of the folder's runs; nothing else of the folder."""
    if name in ("", "report.html"):
        return HTTPStatus.OK, HTML, served.report().html.encode()
    if name == "results.csv":
        return HTTPStatus.OK, CSV, served.report().csv.encode()
    file = served.folder / name
    if (
        FIGURE.fullmatch(name)
        and ".." not in name
        and file.resolve().is_relative_to(served.folder.resolve())
        and file.is_file()
    ):
        return HTTPStatus.OK, PNG, file.read_bytes()
    return _missing()


def _missing() -> tuple[HTTPStatus, str, bytes]:
    return HTTPStatus.NOT_FOUND, "text/plain", b"not here; the report is at /\n"


def serve(folders: list[Path], host: str = LOOPBACK, port: int = PORT) -> None:
    """Serves until interrupted. Errors: `RequestError` where that address cannot be had."""
    try:
        server = Server(folders, host, port)
    except (OSError, OverflowError) as error:
        taken = f"; another: --port {port + 1}" if port else ""
        raise RequestError(
            f"report: cannot serve on {host} port {port}: {getattr(error, 'strerror', None) or error}{taken}"
        ) from error
    with server:
        for served in server.served.values():
            served.report()
        _say(server, host)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nno longer served", flush=True)


def _say(server: Server, host: str) -> None:
    port = server.port
    if not server.is_local:
        print(
            f"warning: --host {host}: whoever reaches this machine can read the report; there is no password",
            flush=True,
        )
    print(f"http://{LOOPBACK if server.is_local else host}:{port}/  (Ctrl-C ends it)")
    if server.is_local:
        print(
            f"from another machine: ssh -N -L {port}:{LOOPBACK}:{port} {getpass.getuser()}@{socket.gethostname()}",
            flush=True,
        )
