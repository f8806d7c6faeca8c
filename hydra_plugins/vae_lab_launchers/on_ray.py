"""`hydra/launcher=ray`: packs as tasks of a Ray cluster, or of the cores of this machine."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from hydra_plugins.vae_lab_launchers._packs import Ended, Pack, PackLauncher
from vae_lab.errors import RequestError, typed_line
from vae_lab.settings import Count


class RayLauncher(PackLauncher):
    """Runs packs as tasks of Ray.

    Args:
        runs_per_job: runs that one task does, one after the other.
        init: arguments of `ray.init`: `address` of the cluster, and others.
        remote: options of `ray.remote` for a task: `num_cpus`, `num_gpus`, `resources`, `max_retries`, and others.
    """

    name, extra, package = "hydra/launcher=ray", "ray", "ray"
    forwarded = ("VAE_LAB_", "WANDB_", "HYDRA_FULL_ERROR")

    def __init__(self, runs_per_job: Count, init: dict[str, Any], remote: dict[str, Any], **unknown: Any) -> None:
        self.runs_per_job, self.init, self.remote = runs_per_job, init, remote

    def work(self, packs: list[Pack], folder: Path) -> Ended:
        import ray
        from ray.exceptions import RayError

        # SIGTERM is to mean what it means everywhere here. Ray takes it for itself, and makes of the exit that a handler asks
        # for during a wait one with code 1: it is noted then, and handled after the wait.
        handler, noted = signal.getsignal(signal.SIGTERM), threading.Event()
        self._connect()
        signal.signal(signal.SIGTERM, lambda *_: noted.set())
        try:
            task = ray.remote(_do).options(**self.remote)
            tasks = {task.remote(pack): pack for pack in packs}
            while tasks:
                ready, _ = ray.wait(list(tasks), timeout=0.5)
                if noted.is_set():
                    signal.signal(signal.SIGTERM, handler)
                    signal.raise_signal(signal.SIGTERM)
                for reference in ready:
                    pack = tasks.pop(reference)
                    try:
                        yield pack, ray.get(reference)
                    except RayError as error:
                        yield pack, typed_line(error)
                if not ready:
                    yield None
        finally:
            signal.signal(signal.SIGTERM, handler)
            ray.shutdown()

    def _connect(self) -> None:
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of what runs here
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            ray.init(**{**quiet, **{key: value for key, value in self.init.items() if value is not None}})
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        except (ray.exceptions.RayError, OSError, RuntimeError, ValueError, TypeError) as error:
            raise RequestError(f"{self.name}: {typed_line(error)}") from error
        asked = {"CPU": self.remote.get("num_cpus"), "GPU": self.remote.get("num_gpus")}
        asked |= self.remote.get("resources") or {}
        needs = {key: value for key, value in asked.items() if value}
        if not any(all(node.get(key, 0) >= value for key, value in needs.items()) for node in nodes):
            wanted = " ".join(f"{key}={value}" for key, value in needs.items())
            print(f"warning: {self.name}: no node has {wanted}; waiting for one", file=sys.stderr, flush=True)


def _do(pack: Pack) -> Any:
    return pack()
