"""One MLflow run for one run of the lab. Imported only when it is used: MLflow is an extra."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from filelock import FileLock
from mlflow.entities import RunStatus
from mlflow.tracking import MlflowClient
from pytorch_lightning.loggers import MLFlowLogger

from vae_lab.links import pictures_in
from vae_lab.training.tracker import NONE, LastStep, LoggerBackend, checkpoint

SIGNATURE = "vae_lab.signature"
ADDRESS = "MLFLOW_TRACKING_URI"


def _shown(address: str | None) -> str | None:
    """A server's address without the name and the password in it: MLflow shows it in its errors, which `run.log` keeps. It
    reads the two from variables of their own."""
    server = re.fullmatch(r"(https?://)([^:/?#]+):([^/?#]*)@(.*)", address or "")
    if server is None:
        return address
    scheme, name, password, rest = server.groups()
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(name), unquote(password)
    return scheme + rest


@contextlib.contextmanager
def _own_address() -> Iterator[None]:
    """Keeps MLflow from telling its address, by a variable, to all that this process runs later."""
    before = os.environ.get(ADDRESS)
    try:
        yield
    finally:
        os.environ.pop(ADDRESS, None)
        if before is not None:
            os.environ[ADDRESS] = before


class MLflowRun(LoggerBackend):
    """An MLflow run in the experiment of the study; one that was cut goes on.

    Arguments:
        run_dir: the run's directory; without an address the store is `mlflow.db`, and `mlartifacts/`, two folders above.
        run_name, study_name, settings, tags: what the run is called, and what it holds.
        uri: the store or server; None for `MLFLOW_TRACKING_URI`, or the store beside the studies.
        log_model: whether to keep the checkpoint.
    """

    def __init__(
        self,
        run_dir: Path,
        run_name: str,
        study_name: str,
        settings: dict[str, Any],
        tags: list[str],
        uri: str | None,
        log_model: bool,
    ) -> None:
        root = run_dir.parent.parent
        address = uri or _shown(os.environ.get(ADDRESS))
        self._uri, self._local = address or f"sqlite:///{root / 'mlflow.db'}", None if address else root
        self._tags = dict(tag.partition("=")[::2] for tag in tags) | {SIGNATURE: run_dir.name}
        self._name, self._study, self._settings, self._log_model = run_name, study_name, settings, log_model

    def begin(self) -> LastStep:
        with _own_address():
            if self._local is None:
                return self._open()
            with FileLock(self._local / ".mlflow.lock"):  # two that make the tables of a new store at once would clash
                return self._open()

    def _open(self) -> LastStep:
        cut = self._cut()
        super().__init__(
            MLFlowLogger(
                self._study,
                self._name,
                self._uri,
                self._tags,
                run_id=cut,
                artifact_location=(self._local / "mlartifacts" / self._study).as_uri() if self._local else None,
            )
        )
        if cut is None:
            self.logger.log_hyperparams(self._settings)  # MLflow lets none of them change
            return super().begin()
        client = self._client()
        client.update_run(cut, status="RUNNING")
        names = client.get_run(cut).data.metrics
        last = {name: max(metric.step for metric in client.get_metric_history(cut, name)) for name in names}
        return lambda name: last.get(name, NONE)

    def _cut(self) -> str | None:
        """The id of a run of this signature that has not ended well."""
        client = MlflowClient(self._uri)
        experiment = client.get_experiment_by_name(self._study)
        if experiment is None:
            return None
        query = f"tags.`{SIGNATURE}` = '{self._tags[SIGNATURE]}'"
        for run in client.search_runs([experiment.experiment_id], query):
            if RunStatus.from_string(run.info.status) != RunStatus.FINISHED:
                return str(run.info.run_id)
        return None

    def _client(self) -> Any:
        return self.logger.experiment  # type: ignore[attr-defined]

    def report(self, result: Mapping[str, Any], run_dir: Path) -> None:
        super().report(result, run_dir)
        client, run = self._client(), self.logger.version
        for file in pictures_in(run_dir):
            client.log_artifact(run, str(file), "figures")
        if self._log_model:
            client.log_artifact(run, str(checkpoint(result, run_dir)), "checkpoints")
