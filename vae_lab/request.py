"""A checked request for a run, and the directory that is its name."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vae_lab.amounts import visible
from vae_lab.arguments import given
from vae_lab.build import build, with_end
from vae_lab.check import check_request
from vae_lab.choices import displaced
from vae_lab.combinations import cautions
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.errors import RequestError
from vae_lab.evaluation import Evaluation
from vae_lab.identity import signature
from vae_lab.lookup import settings_of
from vae_lab.options import option_name
from vae_lab.schema import check_top_level
from vae_lab.store import RunDirectory
from vae_lab.trial import has_foreign, try_parts

Say = Callable[[str], None]


def print_line(text: str) -> None:
    """Prints what a run says; some of it comes from its files."""
    print(visible(text), flush=True)


@dataclass(frozen=True)
class Request:
    """A checked request for a run: its settings, its data (not yet loaded), and the directory that is its name."""

    settings: dict[str, Any]
    dataset: Dataset
    directory: RunDirectory
    cautions: tuple[str, ...] = ()
    parameters: int = 0  # of the model, once it was built
    work: float = 0.0  # updates times batch size times draws of z times parameters, to compare runs by
    varying: tuple[str, ...] = ()  # the keys that differ within its grid, without the arm and the seed
    callbacks: tuple[Any, ...] = ()  # beside those of its settings: what watches a run and changes nothing in it

    @property
    def label(self) -> str:
        """Its arm, what differs within its grid, and its seed. Where nothing says how it differs, the words that were typed, as
        far as they fit on a line, or its signature."""
        words = self.settings.get("overrides", [])
        varied = [word for word in words if word.lstrip("+").partition("=")[0] in self.varying]
        arm = self.settings["study"].get("arm")
        typed = " ".join(word for word in words if not word.startswith(("seed=", "rerun=")))
        name = typed if 0 < len(typed) <= 60 else self.directory.signature
        return f"{' '.join([arm, *varied] if arm else varied) or name} seed={self.settings['seed']}"

    @property
    def evaluation(self) -> Evaluation:
        return build(self.settings["evaluation"])


def request(cfg: DictConfig, named: tuple[str, ...] = ()) -> Request:
    """Checks a config and finds its directory. Errors: `RequestError`, one line."""
    settings = settings_of(cfg)
    try:
        dataset, settings = check_request(settings, named)
        settings["spec"] = _known(dataset)
        broken = try_parts(settings, dataset) if has_foreign(settings) else []
        told = [f"dataset={option_name('dataset', settings['dataset'])}: {line}" for line in dataset.cautions()]
    except DataError as error:
        raise RequestError(str(error)) from error
    displacing = displaced(given(settings.get("overrides", [])), named)
    return Request(settings, dataset, _directory(settings), (*displacing, *told, *cautions(settings), *broken))


def _known(dataset: Dataset) -> dict[str, Any]:
    """What a run's config keeps of its data. Raises DataError."""
    spec = dataset.spec()
    known = {"shape": list(spec.shape), "kind": spec.kind, "sizes": spec.sizes, "labels": spec.labels}
    found = {"repeated": dataset.repeated} if dataset.repeated else {}
    return {**known, "log_units": spec.log_units, **found, "fingerprint": dataset.fingerprint()}


class Requests:
    """The requests of many configs, of which those that differ in the seed alone are checked once, and those of the same data
    share them in memory.

    Arguments:
        named: folders of options that the person named.
        then: what is done to a request that was checked, once too.
    """

    def __init__(self, named: tuple[str, ...] = (), then: Callable[[Request], Request] = lambda asked: asked) -> None:
        self._named, self._then, self._known = named, then, dict[str, Request]()
        self._data: dict[str, Dataset] = {}

    def __call__(self, cfg: DictConfig) -> Request:
        """Errors: `RequestError` if the config makes no sense."""
        settings = settings_of(cfg)
        key = json.dumps({**settings, "seed": 0, "overrides": None}, default=str)
        known = self._known.get(key)
        if known is not None and known.dataset.fingerprint() == known.settings["spec"]["fingerprint"]:
            return reseeded(known, settings)
        asked = request(cfg, self._named)
        self._known[key] = self._then(replace(asked, dataset=self._shared(asked)))
        return self._known[key]

    def _shared(self, asked: Request) -> Dataset:
        """The dataset of a request, or the same one of a request before it, which may have its data in memory."""
        key = json.dumps([asked.settings["dataset"], asked.settings["spec"]], default=str)
        return self._data.setdefault(key, asked.dataset)


def reseeded(asked: Request, settings: dict[str, Any]) -> Request:
    """The request for a config that differs from one that was checked in the seed alone. Errors: `RequestError`."""
    check_top_level(settings)
    settings = {**with_end(settings, asked.dataset.spec()), "spec": asked.settings["spec"]}
    return replace(asked, settings=settings, directory=_directory(settings))


def _directory(settings: dict[str, Any]) -> RunDirectory:
    folder = Path(settings["runs_dir"]) / settings["study"]["name"]
    return RunDirectory(folder / signature(settings, settings["spec"]["fingerprint"]))
