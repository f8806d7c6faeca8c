"""A stand-in for W&B's server, on loopback: the one thing about a sweep, or a run online, that cannot be real here.

It answers the GraphQL calls that the real client's `wandb sweep` and `wandb agent` make, and hands out the points of a
grid. Of a run it stores the history, as the client sends it: rows from a line on, which replace those that were there.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

ENTITY = {"id": "entity-1", "name": "someone"}
PROJECT = {"id": "project-1", "name": "vae_lab", "entity": ENTITY}
VIEWER = {
    "id": "user-1",
    "entity": ENTITY["name"],
    "username": ENTITY["name"],
    "email": "",
    "flags": "{}",
    "admin": False,
    "deletedAt": None,
    "name": ENTITY["name"],
    "apiKeys": {"edges": []},
    "teams": {"edges": []},
}


class Sweeps:
    """One sweep, its agents and the runs that were handed out."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.points: Iterator[dict[str, Any]] = iter(())
        self.given: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.histories: dict[str, list[list[dict[str, Any]]]] = {}  # of a run, each from its first line
        self._lock = threading.Lock()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(operation)
        return getattr(self, f"on_{operation}")(variables)  # an unknown one is an error of the test's

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": VIEWER}

    def on_UpsertSweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.config = yaml.safe_load(variables["config"])
        parameters = self.config["parameters"]
        self.points = (
            dict(zip(parameters, values, strict=True))
            for values in itertools.product(*(parameter["values"] for parameter in parameters.values()))
        )
        return {"upsertSweep": {"sweep": {"name": "sweep1", "project": PROJECT}, "configValidationWarnings": []}}

    def on_SweepWithRuns(self, _: dict[str, Any]) -> dict[str, Any]:
        sweep = {"id": "s", "name": "sweep1", "state": "RUNNING", "config": yaml.safe_dump(self.config)}
        return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}

    def on_CreateAgent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent-1"}}}

    def on_Heartbeat(self, variables: dict[str, Any]) -> dict[str, Any]:
        busy = bool(json.loads(variables["runState"]))
        commands = [] if busy else [self._next()]
        return {"agentHeartbeat": {"agent": {"id": "agent-1"}, "commands": json.dumps(commands)}}

    def on_RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        lines = [json.dumps(row) for row in self.histories.get(variables["name"], [[]])[-1]]
        bucket = {
            "id": "run-1",
            "name": variables["name"],
            "summaryMetrics": (lines or ["{}"])[-1],
            "displayName": "",
            "historyLineCount": len(lines),
            "historyTail": json.dumps(lines[-1:]),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "wandbConfig": '{"t": 1}',
        }
        return {"model": {**PROJECT, "bucket": bucket if lines else None}}

    def on_UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        bucket = {"id": "run-1", "name": variables["name"], "displayName": "", "config": "{}", "project": PROJECT}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def on_CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"createRunFiles": {"runID": "run-1", "uploadHeaders": [], "files": []}}

    def store(self, run: str, files: dict[str, Any]) -> None:
        """What the client has sent of a run's files."""
        part = files.get("wandb-history.jsonl")
        if part:
            histories = self.histories.setdefault(run, [])
            if part["offset"] == 0:
                histories.append([])
            histories[-1][part["offset"] :] = map(json.loads, part["content"])

    def _next(self) -> dict[str, Any]:
        with self._lock:
            point = next(self.points, None)
            if point is None:
                return {"type": "exit"}
            self.given.append(point)
            args = {name: {"value": value} for name, value in point.items()}
            run = f"run{len(self.given)}"
            return {"type": "run", "run_id": run, "program": self.config["program"], "args": args}


@contextmanager
def serving() -> Iterator[tuple[str, Sweeps]]:
    """The server's address, and what it holds."""
    sweeps = Sweeps()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/file_stream"):
                sweeps.store(self.path.split("/")[-2], asked.get("files") or {})
                self._send({})
                return
            try:
                name = asked.get("operationName") or asked["query"].split("(")[0].split("{")[0].split()[-1]
                content: dict[str, Any] = {"data": sweeps.answer(name, asked.get("variables") or {})}
            except (AttributeError, KeyError) as error:
                content = {"errors": [{"message": repr(error)}]}
            self._send(content)

        def _send(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sweeps
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
