"""A finished run: its model, rebuilt from its directory alone, and another evaluation of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.build import MODEL, build_model, spec_of
from vae_lab.capacity import check_workers
from vae_lab.check import check_settings
from vae_lab.claim import Claim
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.errors import RequestError, writable
from vae_lab.evaluation.anomaly import Sampling, ScoreName, scores
from vae_lab.evaluation.generate import Samples, sample
from vae_lab.evaluation.interpolate import ITERATIONS, Points, Way, interpolate
from vae_lab.evaluation.reconstruct import Reconstructions, reconstruct
from vae_lab.evaluation.traverse import decoded, moved
from vae_lab.identity import TOP_LEVEL
from vae_lab.joblog import logged
from vae_lab.lookup import check_run, find_run
from vae_lab.models import VAE
from vae_lab.options import defaults, folders, option_content
from vae_lab.request import Request, Say, print_line
from vae_lab.run import keep, under_claim
from vae_lab.schema import check_arguments, check_targets
from vae_lab.scoring import evaluated, load_weights
from vae_lab.store import CONFIG, LOG, Damaged, RunDirectory
from vae_lab.targets import targets
from vae_lab.use_options import check_evaluation
from vae_lab.yaml_text import BadYaml, read_yaml


@dataclass(frozen=True)
class Run:
    """A run on disk, with its model."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    model: VAE
    named: tuple[str, ...] = ()  # folders of options of the person's own, without which the data may not be known

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The means of q(z|x), (n, k), of examples x, (n, *shape); of a model that is told labels, at labels y, (n,)."""
        self._check(x)
        return self.model.given(y).encode(x).mean

    def reconstruct(self, x: Tensor, seed: int = 0, first: int = 0, y: Tensor | None = None) -> Reconstructions:
        """The mean of p(x|z), and a draw from it, of examples x, (n, *shape), at z the mean of q(z|x); of a model that is
        told labels, at labels y, (n,)."""
        self._check(x)
        return reconstruct(self.model.given(y), x, seed, first)

    def sample(
        self,
        count: int,
        seed: int = 0,
        temperature: float = 1.0,
        density: Distribution | None = None,
        y: Tensor | None = None,
    ) -> Samples:
        """New examples: z from the prior, or from another density on z, at a temperature (see `tempered`); the mean of p(x|z),
        and a draw from it. A model that is told labels needs some, y, (count,)."""
        if count < 1:
            raise ValueError(f"{count} samples asked for; one or more are needed")
        if not 0 < temperature < math.inf:
            raise ValueError(f"a temperature of {temperature} asked for; it is a number above 0")
        return sample(self.model, count, seed, temperature, density, y)

    def score(
        self, x: Tensor, names: Iterable[ScoreName], how: Sampling = Sampling(), beside: Sequence["Run"] = ()
    ) -> dict[ScoreName, Tensor]:
        """How anomalous examples x, (n, *shape), are to the model: scores of each by name, (n,), higher for more so; `waic`
        over the runs `beside` it too."""
        self._check(x)
        return scores([self.model, *(run.model for run in beside)], x, names, how)

    def _check(self, x: Tensor) -> None:
        shape = tuple(self.config["spec"]["shape"])
        if not isinstance(x, Tensor) or tuple(x.shape[1:]) != shape:
            given = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"examples {given} given; this model takes a tensor (n, {', '.join(map(str, shape))})")
        whole = self.config["spec"]["kind"] == "real" and x.dtype == torch.int64  # as data of whole numbers are served
        if x.dtype != torch.float32 and not whole:
            way = "run.dataset().examples(PATH) reads a file as the model sees it"
            raise ValueError(f"examples of {x.dtype} given; this model takes torch.float32; {way}")

    def interpolate(
        self, a: Tensor, b: Tensor, steps: int = 8, way: Way = "linear", seed: int = 0, iterations: int = ITERATIONS
    ) -> Points:
        """The points between two examples, (*shape) each, from the mean of q(z|a) to that of q(z|b), and what they decode to;
        `iterations` bounds the search for a geodesic."""
        self._check(torch.stack([a, b]))
        return interpolate(self.model, a, b, steps, way, seed, iterations)

    def traverse(
        self, x: Tensor, latent: int, values: Sequence[float] | Tensor, seed: int = 0, y: Tensor | None = None
    ) -> Tensor:
        """What becomes of an example x, (*shape), as one latent of the mean of q(z|x) takes other values: the mean of p(x|z) at
        each, (steps, *shape), or draws with the same noise where the decoder has no mean; y is the label, ()."""
        if latent not in range(self.config["latent_dim"]):
            raise ValueError(f"latent {latent} asked for; there are {self.config['latent_dim']}, from 0")
        start = self.encode(x[None], y)[0]
        return decoded(self.model.given(y), moved(start, latent, torch.as_tensor(values).to(start)), seed)

    def dataset(self, moved: Mapping[str, Any] | None = None) -> Dataset:
        """The data that it was trained on.

        Arguments:
            moved: `dataset.root` or `dataset.path`, where the data lie elsewhere now.

        Errors: `RequestError` if they are not there, or not the same.
        """
        dataset = {**self.config["dataset"], **{key.rpartition(".")[2]: value for key, value in (moved or {}).items()}}
        return _same_data(self.path, {**self.config, "dataset": dataset}, self.named)


def load(run_dir: str | Path, config_dir: str | None = None) -> Run:
    """Rebuilds a run's model from its directory alone, in eval mode. `config_dir` names a folder of options of your own,
    if the run was made with one.

    Nothing but the classes that option files name is built, whoever wrote the `config.yaml`, and a checkpoint is read
    as plain tensors. Errors: `RequestError`, one line.
    """
    path = find_run(run_dir)
    settings = stored_settings(path, folders(config_dir))
    try:
        result = RunDirectory(path).result() or {}
    except Damaged as damage:
        raise RequestError(str(damage)) from damage
    which = settings["evaluation"].get("checkpoint", "last")
    model = build_model(settings, spec_of(settings))
    ended = result["timing"].get("steps") if result.get("status") == "completed" else None
    load_weights(model, path, which, ended=ended)
    return Run(path, settings, result, model.eval(), folders(config_dir))


def stored_settings(path: Path, named: tuple[str, ...] = ()) -> dict[str, Any]:
    """The `config.yaml` of a run, refused if it holds an interpolation, names a class that no option file names, or has
    settings of the model that its classes do not take."""
    file = path / CONFIG
    check_run(path)
    try:
        settings = read_yaml(file, unique=False)
        if "${" in repr(settings):
            raise RequestError(f"{file}: a stored config holds values only, no interpolation (${{...}})")
        if "hydra" in settings:
            raise RequestError(f"{file}: hydra: a stored config holds a run's settings, and none of Hydra's own")
        added = {group: option_content(group, str(defaults()[group])) for group in MODEL}
        settings = {**added, "compile": TOP_LEVEL["compile"], **settings}  # what older runs have not
        check_targets(settings, named)
        for key, node in targets({name: settings[name] for name in (*MODEL, "dataset")}):
            check_arguments(key, node)
        spec_of(settings)
        check_workers("threads", settings["threads"])
        missing = [key for key in (*MODEL, "evaluation") if "_target_" not in settings[key]]
    except RequestError:
        raise
    except BadYaml as error:
        raise RequestError(f"{file} is damaged: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(f"{file} is damaged: it is no config of a run ({type(error).__name__}: {error})") from error
    if missing or not isinstance(settings.get("latent_dim"), int):
        raise RequestError(f"{file} is damaged: it has no {missing[0] if missing else 'latent_dim'}")
    return settings


def reevaluate(
    run_dir: str | Path, overrides: Mapping[str, Any], config_dir: str | None = None, say: Say = print_line
) -> dict[str, Any]:
    """Evaluates a finished run under other settings and replaces its metrics; the model stays as it is.

    Arguments:
        overrides: dotted keys under `evaluation.`, or `dataset.root` and `dataset.path` where the data have moved.
    """
    path = find_run(run_dir)
    settings = stored_settings(path, folders(config_dir))
    check_evaluation(overrides, folders(config_dir))
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        settings[head][rest] = value
    dataset = _same_data(path, settings, folders(config_dir))
    asked = Request(settings, dataset, RunDirectory(path))
    return under_claim(asked, lambda held: _reevaluated(asked, held, say), say)


def _same_data(path: Path, settings: dict[str, Any], named: tuple[str, ...]) -> Dataset:
    """The dataset of a run's settings. Errors: `RequestError` if it is not there, or not what the run was trained on."""
    try:
        dataset = check_settings({**settings, "init_from": None}, named)
        moved = dataset.fingerprint() != settings["spec"].get("fingerprint", dataset.fingerprint())
    except DataError as error:
        raise RequestError(str(error)) from error
    if moved:
        raise RequestError(f"{path} was trained on other data: the content of its dataset has changed")
    return dataset


def _reevaluated(asked: Request, held: Claim, say: Say) -> dict[str, Any]:
    path = asked.directory.path
    try:
        before = asked.directory.result()
    except Damaged as damage:
        raise RequestError(str(damage)) from damage
    if before is None or before["status"] != "completed":
        raise RequestError(f"{path} has not completed; `vae-lab ls` shows its state")
    with writable(path / LOG, logged(path)):
        torch.set_num_threads(asked.settings["threads"])
        result = evaluated(asked, before["timing"], say)
        keep(result, path, held)
    return result
