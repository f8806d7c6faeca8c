"""One run: check, claim, fit, evaluate, remember. Asking twice runs once; what was cut goes on from its last checkpoint."""

import contextlib
import functools
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from omegaconf import DictConfig
from pytorch_lightning.utilities.warnings import PossibleUserWarning

from vae_lab.build import build, build_model, build_objective, spec_of, updates_of
from vae_lab.check import check_arguments, check_installed, check_settings, check_targets, targets
from vae_lab.config import resolve
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.errors import RequestError, RunFailed, refusal
from vae_lab.evaluation import ElboMeter, Evaluation, evaluate
from vae_lab.evaluation.panels import panels, write_panels
from vae_lab.identity import evaluation_hash, signature
from vae_lab.models import VAE
from vae_lab.store import BEST, CONFIG, HISTORY, LAST, LOG, RESULT, Damaged, RunDirectory, to_json, write_atomically
from vae_lab.training.checkpoint_io import DamagedCheckpoint, read_checkpoint
from vae_lab.training.history import HistoryLogger
from vae_lab.training.ledger import Ledger
from vae_lab.training.module import Training, objective_loss

Say = Callable[[str], None]
print_line: Say = functools.partial(print, flush=True)


@dataclass(frozen=True)
class Request:
    """A checked request for a run: its settings, its data (not yet loaded), and the directory that is its name."""

    settings: dict[str, Any]
    dataset: Dataset
    directory: RunDirectory

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
        check_installed(settings)
        spec, fingerprint = dataset.spec(), dataset.fingerprint()
    except DataError as error:
        raise RequestError(str(error)) from error
    known = {"shape": list(spec.shape), "kind": spec.kind, "sizes": spec.sizes, "labels": spec.labels}
    settings["spec"] = {**known, "fingerprint": fingerprint}
    folder = Path(settings["runs_dir"]) / settings["study"]["name"]
    return Request(settings, dataset, RunDirectory(folder / signature(settings, fingerprint)))


def train(cfg: DictConfig, progress: bool = True, say: Say = print_line) -> dict[str, Any]:
    """Runs a config, or finds that it was run: the content of its `result.json`.

    Errors: `RequestError` if the config makes no sense; `RunFailed` if the run ended with an error.
    """
    return execute(request(cfg), progress, say)


def execute(asked: Request, progress: bool = True, say: Say = print_line) -> dict[str, Any]:
    """Runs what was asked under a claim, unless it is done already."""
    directory = asked.directory
    with _claimed(asked):
        done = _finished(asked, say)
        if done is not None and done["evaluation"]["hash"] == evaluation_hash(asked.evaluation.identity()):
            return done
        torch.set_num_threads(asked.settings["threads"])
        with _logged(directory.path):
            return _run(asked, done, progress, say)


@contextlib.contextmanager
def _claimed(asked: Request) -> Iterator[None]:
    """The claim of a run's directory, or one line if it cannot be written."""
    path = asked.directory.path
    try:
        with asked.directory.claim(f"{asked.label}: another process holds {path}; waiting for it"):
            yield
    except OSError as error:
        raise refusal(error, path) from error


def _finished(asked: Request, say: Say) -> dict[str, Any] | None:
    """The result of a completed run; None if there is none, it failed, is damaged, or was asked for anew."""
    directory = asked.directory
    if asked.settings["rerun"]:
        _forget(directory.path)
        return None
    try:
        result = directory.result()
    except Damaged as damage:
        say(f"{damage}; it is made again")
        (directory.path / RESULT).unlink()
        return None
    return result if result is not None and result["status"] == "completed" else None


def _forget(path: Path) -> None:
    for name in (RESULT, CONFIG, HISTORY, LOG, ".ledger"):
        (path / name).unlink(missing_ok=True)
    for folder in ("checkpoints", "figures", ".hydra"):
        shutil.rmtree(path / folder, ignore_errors=True)


def _run(asked: Request, done: dict[str, Any] | None, progress: bool, say: Say) -> dict[str, Any]:
    """Fits (unless that is done) and evaluates. A failure is written down before it is raised."""
    path = asked.directory.path
    try:
        if done is None or not _resumable(path, say):
            _write_config(asked)
            fitted = _fit(asked, progress, say)
        else:
            fitted = done["timing"]
        result = _evaluated(asked, fitted, say)
    except (KeyboardInterrupt, SystemExit):
        logging.getLogger(__name__).warning("interrupted; the run goes on from its last checkpoint when asked again")
        raise
    except Exception as error:
        first = _first_line(error)
        logging.getLogger(__name__).error("the run failed\n%s", traceback.format_exc())
        with contextlib.suppress(OSError):  # a full disk cannot take this either
            write_atomically(path / RESULT, to_json(_record(asked, "failed", {}, {}, {}, error=first)))
        raise RunFailed(f"{asked.label}: {first} (see {path / LOG})") from error
    write_atomically(path / RESULT, to_json(result))
    return result


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, (RequestError, DataError)) else f"{type(error).__name__}: {lines[0]}"


def _write_config(asked: Request) -> None:
    path = asked.directory.path
    write_atomically(path / CONFIG, yaml.safe_dump(asked.settings, sort_keys=False))
    write_atomically(path / ".hydra" / "overrides.yaml", yaml.safe_dump(asked.settings.get("overrides", [])))


# ---- fitting


def _fit(asked: Request, progress: bool, say: Say) -> dict[str, Any]:
    """Trains from the start or from the last checkpoint; returns the timing."""
    path, settings = asked.directory.path, asked.settings
    ledger, resume = Ledger(path / ".ledger"), _resumable(path, say)
    ledger.count_attempt()
    history = HistoryLogger(path / HISTORY)
    history.rewind(resume["vae_lab"]["updates"] if resume else -1)
    pl.seed_everything(settings["seed"], verbose=False)
    module = make_module(asked, ledger)
    if settings["init_from"] and not resume:
        load_weights(module.model, Path(settings["init_from"]), "last")
    tracker = _tracker(asked)
    trainer = make_trainer(asked, [history, *([tracker] if tracker else [])], progress)
    started = time.perf_counter()
    try:
        _lightning_fit(trainer, module, asked, str(path / LAST) if resume else None)
    finally:
        ledger.add_seconds(time.perf_counter() - started)
        _finish(tracker, failed=sys.exc_info()[0] is not None, say=say)
    return {
        "seconds_fit": ledger.seconds,
        "steps": module.updates,
        "steps_run": ledger.updates,
        "attempts": ledger.attempts,
    }


def _lightning_fit(trainer: pl.Trainer, module: Training, asked: Request, resume: str | None) -> None:
    data = functools.partial(asked.dataset.batches, device=module_device(trainer))
    train = data("train", asked.settings["batch_size"], seed=asked.settings["seed"], shuffle=True)
    val = data("val", asked.evaluation.batch_size)
    try:
        trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # Lightning turns an interrupt into exit code 1
        if trainer.interrupted and stop.code == 1:
            raise KeyboardInterrupt from stop
        raise


def module_device(trainer: pl.Trainer) -> torch.device:
    return trainer.strategy.root_device


def make_module(asked: Request, ledger: Ledger | None = None) -> Training:
    settings, spec = asked.settings, asked.dataset.spec()
    updates, evaluation = updates_of(settings, spec), asked.evaluation
    return Training(
        build_model(settings, spec),
        build_objective(settings, updates),
        optimizer=lambda params: build(settings["optimizer"], params=params),
        scheduler=lambda optimizer: build(settings["scheduler"], optimizer=optimizer, total_updates=updates),
        meter=lambda: ElboMeter(evaluation.elbo_samples, evaluation.seed),
        seed=settings["seed"],
        ledger=ledger,
        gradient_clip_val=settings["trainer"].get("gradient_clip_val"),
        accumulate=settings["trainer"].get("accumulate_grad_batches", 1),
    )


def make_trainer(asked: Request, loggers: list[Any], progress: bool) -> pl.Trainer:
    directory = str(asked.directory.path / "checkpoints")
    callbacks = [build(node, directory=directory) for node in asked.settings["callbacks"].values()]
    node = dict(asked.settings["trainer"])
    node["enable_progress_bar"] = node["enable_progress_bar"] and progress and sys.stderr.isatty()
    if node["enable_progress_bar"]:
        callbacks.append(pl.callbacks.RichProgressBar())
    return build({**node, "logger": loggers, "callbacks": callbacks, "default_root_dir": str(asked.directory.path)})


def _resumable(path: Path, say: Say) -> dict[str, Any] | None:
    """The last checkpoint if it is whole; a damaged one is said, and the run begins anew."""
    if not (path / LAST).exists():
        return None
    try:
        return read_checkpoint(path / LAST)
    except DamagedCheckpoint as damage:
        say(f"{damage}; the run begins anew")
        shutil.rmtree(path / "checkpoints")
        return None


def _tracker(asked: Request) -> Any:
    context = {
        "run_dir": asked.directory.path,
        "run_name": asked.label,
        "study_name": asked.settings["study"]["name"],
        "run_config": asked.settings,
    }
    return build(asked.settings["logger"], **context)


def _finish(tracker: Any, failed: bool, say: Say) -> None:
    """Ends the tracker's run with its exit code, also when the job failed."""
    if type(tracker).__name__ != "WandbLogger":
        return
    experiment = tracker.experiment
    offline = bool(experiment.settings._offline)
    folder = Path(experiment.dir).parent
    experiment.finish(exit_code=int(failed))
    if offline:
        say(f"wandb sync {folder}")


# ---- evaluating


def _evaluated(asked: Request, timing: Mapping[str, Any], say: Say) -> dict[str, Any]:
    path, settings, evaluation = asked.directory.path, asked.settings, asked.evaluation
    started = time.perf_counter()
    model = build_model(settings, asked.dataset.spec())
    load_weights(model, path, evaluation.checkpoint)
    model.eval()
    log = logging.getLogger(__name__)
    metrics, details = evaluate(model, asked.dataset, evaluation, say=log.info)
    objective, updates = build_objective(settings, updates_of(settings, asked.dataset.spec())), timing["steps"]
    for split in ("val", "test"):
        batches = asked.dataset.batches(split, evaluation.batch_size)
        metrics[f"{split}/loss"] = objective_loss(model, objective, batches, updates)
        metrics[f"{split}/beta"] = objective.beta(updates)
    if evaluation.figures and len(settings["spec"]["shape"]) == 3:
        write_panels(panels(model, next(iter(asked.dataset.batches("test", 16)))), path / "figures")
    timing = {**timing, "seconds_evaluate": time.perf_counter() - started}
    return _record(asked, "completed", metrics, details, timing)


def load_weights(model: VAE, path: Path, which: str) -> None:
    """Puts the weights of a run's checkpoint into a model. Errors: `RequestError` if it is not there, not whole, or of
    another model."""
    file, prefix = path / (BEST if which == "best" else LAST), "model."
    if not file.exists():
        raise RequestError(f"{file} is not there: {path} is no finished run, or never saved its {which} model")
    try:
        state = read_checkpoint(file)["state_dict"]
        model.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})
    except DamagedCheckpoint as damage:
        raise RequestError(f"{damage}; rerun=true trains it again") from damage
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise RequestError(f"{file} does not fit the model of {path / CONFIG}: {' '.join(str(error).split())}") from error


def _record(
    asked: Request,
    status: str,
    metrics: dict[str, float],
    details: dict[str, Any],
    timing: Mapping[str, Any],
    error: str | None = None,
) -> dict[str, Any]:
    settings, identity = asked.settings, asked.evaluation.identity()
    return {
        "signature": asked.directory.signature,
        "study": settings["study"]["name"],
        "arm": settings["study"].get("arm"),
        "seed": settings["seed"],
        "status": status,
        **({"error": error} if error else {}),
        "metrics": metrics,
        "details": details,
        "evaluation": {"hash": evaluation_hash(identity), "settings": identity},
        "settings": settings,
        "environment": environment(settings),
        "timing": dict(timing),
    }


@functools.cache
def code_version() -> dict[str, str | None]:
    """The version of this code and, in a checkout, its commit (with a + if files differ from it)."""
    root = Path(__file__).parent.parent
    commit = None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if (root / ".git").exists():
            git = ["git", "-C", str(root)]
            commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True, timeout=10).strip()
            dirty = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True, timeout=10).strip()
            commit += "+" if dirty else ""
    return {"vae_lab": version("vae-lab"), "commit": commit}


def environment(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers of a run may depend on besides its settings."""
    return {
        **code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch_lightning": pl.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "threads": settings["threads"],
        "accelerator": settings["trainer"]["accelerator"],
        "precision": settings["trainer"]["precision"],
    }


# ---- a finished run


@dataclass(frozen=True)
class Run:
    """A run on disk, with its model."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    model: VAE


def load(run_dir: str | Path) -> Run:
    """Rebuilds a run's model from its directory alone, in eval mode.

    Nothing but the classes that option files name is built, whoever wrote the `config.yaml`, and a checkpoint is read
    as plain tensors. Errors: `RequestError`, one line.
    """
    path = Path(run_dir)
    settings = stored_settings(path)
    result = RunDirectory(path).result() or {}
    which = settings["evaluation"].get("checkpoint", "last")
    model = build_model(settings, spec_of(settings))
    load_weights(model, path, which)
    return Run(path, settings, result, model.eval())


MODEL = ("encoder", "decoder", "posterior", "parametrization", "likelihood", "prior")


def stored_settings(path: Path) -> dict[str, Any]:
    """The `config.yaml` of a run, refused if it holds an interpolation, names a class that no option file names, or has
    settings of the model that its classes do not take."""
    file = path / CONFIG
    if not file.exists():
        raise RequestError(f"{path} is no run directory: it has no {CONFIG}")
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        if "${" in repr(settings):
            raise RequestError(f"{file}: a stored config holds values only, no interpolation (${{...}})")
        check_targets(settings)
        for key, node in targets({name: settings[name] for name in (*MODEL, "dataset")}):
            check_arguments(key, node)
        spec_of(settings)
        missing = [key for key in (*MODEL, "evaluation") if "_target_" not in settings[key]]
    except RequestError:
        raise
    except yaml.YAMLError as error:
        raise RequestError(f"{file} is damaged: {' '.join(str(error).split())}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(f"{file} is damaged: it is no config of a run ({type(error).__name__}: {error})") from error
    if missing or not isinstance(settings.get("latent_dim"), int):
        raise RequestError(f"{file} is damaged: it has no {missing[0] if missing else 'latent_dim'}")
    return settings


def reevaluate(run_dir: str | Path, overrides: Mapping[str, Any], say: Say = print_line) -> dict[str, Any]:
    """Evaluates a finished run under other settings and replaces its metrics; the model stays as it is.

    Arguments:
        overrides: dotted keys under `evaluation.`, or `dataset.root` and `dataset.path` where the data have moved.
    """
    path = Path(run_dir)
    settings = stored_settings(path)
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        if not (head == "evaluation" and rest) and key not in ("dataset.root", "dataset.path"):
            raise RequestError(f"{key}: evaluate takes evaluation.*, dataset.root and dataset.path; to train otherwise, use train")
        settings[head][rest] = value
    try:
        before = RunDirectory(path).result()
        dataset = check_settings(settings)
        moved = dataset.fingerprint() != settings["spec"].get("fingerprint", dataset.fingerprint())
    except (Damaged, DataError) as error:
        raise RequestError(str(error)) from error
    if before is None or before["status"] != "completed":
        raise RequestError(f"{path} has not completed; `vae-lab ls` shows its state")
    if moved:
        raise RequestError(f"{path} was trained on other data: the content of its dataset has changed")
    asked = Request(settings, dataset, RunDirectory(path))
    with _claimed(asked), _logged(path):
        torch.set_num_threads(settings["threads"])
        result = _evaluated(asked, before["timing"], say)
        write_atomically(path / RESULT, to_json(result))
    return result


# ---- the log


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Sends everything that is logged or warned of to `run.log`; Lightning's chatter goes there only."""
    handler = _Log(path / LOG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("", "pytorch_lightning", "lightning.pytorch", "vae_lab")]
    quiet = [h for logger in loggers[1:] for h in logger.handlers]
    levels = [(item, item.level) for item in (*quiet, *loggers)]
    for logger in loggers:
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
    for chatty in quiet:
        chatty.setLevel(logging.ERROR)
    unpropagated = [logger for logger in loggers[:3] if logger.name == "root" or not logger.propagate]
    for logger in unpropagated:
        logger.addHandler(handler)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")  # Lightning's own
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # of every resumed run
            warnings.simplefilter("default", PossibleUserWarning)  # advice: for the log
            yield
    finally:
        logging.captureWarnings(False)
        for logger in unpropagated:
            logger.removeHandler(handler)
        for item, level in levels:
            item.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()


class _Log(logging.FileHandler):
    """`run.log`; a line that finds no room on the disk is lost."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Without the traceback that Python would print."""
