"""A checked request for a run, and the directory that is its name."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vae_lab.build import build
from vae_lab.check import check_machine, check_settings
from vae_lab.choices import displaced
from vae_lab.combinations import cautions
from vae_lab.config import given, resolve
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.errors import RequestError
from vae_lab.evaluation import Evaluation
from vae_lab.identity import signature
from vae_lab.store import RunDirectory

Say = Callable[[str], None]


print_line: Say = functools.partial(print, flush=True)


@dataclass(frozen=True)
class Request:
    """A checked request for a run: its settings, its data (not yet loaded), and the directory that is its name."""

    settings: dict[str, Any]
    dataset: Dataset
    directory: RunDirectory
    cautions: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        arm = self.settings["study"].get("arm") or self.directory.signature
        return f"{arm} seed={self.settings['seed']}"

    @property
    def evaluation(self) -> Evaluation:
        return build(self.settings["evaluation"])


def request(cfg: DictConfig, named: tuple[str, ...] = ()) -> Request:
    """Checks a config and finds its directory. Errors: `RequestError`, one line."""
    settings = resolve(cfg)
    try:
        dataset = check_settings(settings, named)
        check_machine(settings)
        spec, fingerprint = dataset.spec(), dataset.fingerprint()
    except DataError as error:
        raise RequestError(str(error)) from error
    known = {"shape": list(spec.shape), "kind": spec.kind, "sizes": spec.sizes, "labels": spec.labels}
    settings["spec"] = {**known, "fingerprint": fingerprint}
    folder = Path(settings["runs_dir"]) / settings["study"]["name"]
    directory = RunDirectory(folder / signature(settings, fingerprint))
    displacing = displaced(given(settings["overrides"]), named)
    return Request(settings, dataset, directory, (*displacing, *cautions(settings)))
