"""The evaluation of one run, from its checkpoint, and the record of it."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vae_lab.build import build_model, build_objective
from vae_lab.data.magnitude import far, is_far
from vae_lab.environment import environment
from vae_lab.errors import RequestError, left_out
from vae_lab.evaluation import evaluate
from vae_lab.evaluation.panels import panels, write_panels
from vae_lab.identity import evaluation_hash
from vae_lab.models import VAE
from vae_lab.request import Request, Say
from vae_lab.stages import Stages
from vae_lab.store import BEST, CONFIG, LAST
from vae_lab.training.checkpoint_io import DamagedCheckpoint, read_checkpoint
from vae_lab.training.held_out import objective_loss
from vae_lab.training.trainer import device_of
from vae_lab.training.weights import rate_weight
from vae_lab.training.window import Diverged


def evaluated(asked: Request, timing: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Evaluates a run from its checkpoint; says what takes long."""
    with Stages(say, asked.label) as stage:
        return _evaluated(asked, timing, say, stage)


def _evaluated(asked: Request, timing: Mapping[str, Any], say: Say, stage: Stages) -> dict[str, Any]:
    path, settings, evaluation = asked.directory.path, asked.settings, asked.evaluation
    started = time.perf_counter()
    device = device_of(settings["trainer"]["accelerator"])
    model = build_model(settings, asked.dataset.spec())
    load_weights(model, path, evaluation.checkpoint, ended=timing["steps"])
    model.to(device).eval()
    metrics, details = evaluate(model, asked.dataset, evaluation, say=stage)
    objective, updates = build_objective(settings, asked.dataset.spec()), timing["steps"]
    of_objective = _part(_content(path, evaluation.checkpoint), "objective.")  # a controller's, or a discriminator
    objective.load_state_dict(of_objective)
    objective.to(device).eval()
    for split in ("val", "test"):
        stage(f"evaluating the loss of {split}")
        batches = asked.dataset.batches(split, evaluation.batch_size, device=device)
        metrics[f"{split}/loss"] = objective_loss(model, objective, batches, updates)
        metrics[f"{split}/beta"] = float(rate_weight(model, objective, updates))
    if not math.isfinite(metrics["test/elbo"]):
        error = Diverged(f"test/elbo is {metrics['test/elbo']}: the model is of no use", "Try a smaller optimizer.lr")
        raise explained(error, asked)
    stage("drawing pictures")
    asked.dataset.check_unchanged()
    if evaluation.figures and len(settings["spec"]["shape"]) == 3:
        with left_out(f"{asked.label}: pictures", say):
            write_panels(panels(model, next(iter(asked.dataset.batches("test", 16, device=device)))), path / "figures")
    timing = {**timing, "seconds_evaluate": time.perf_counter() - started}
    return record(asked, "completed", metrics, details, timing)


SMALL_SIGMA = 1e-3
"""The part of the size of x below which a sigma makes the distortion enormous."""


def explained(error: Diverged, asked: Request) -> Diverged:
    """The same error with its cause, where that is the size of x or sigma."""
    size, sigma = asked.dataset.magnitude, asked.settings["likelihood"].get("sigma")
    if is_far(size):
        return Diverged(error.text, f"The inputs are the cause: {far(size)}: {asked.dataset.rescaling}")
    if isinstance(sigma, float | int) and sigma < SMALL_SIGMA * size:
        return Diverged(
            error.text,
            f"The cause is likelihood.sigma={sigma:g}, which is small beside x (values of about {size:.2g}): take a sigma nearer to "
            "them, or likelihood=gaussian_shared with its sigma of 1, which is learned",
        )
    return error


def load_weights(model: VAE, path: Path, which: str, start: bool = False, ended: int | None = None) -> None:
    """Puts the weights of a run's checkpoint into a model; at the start of another run without the state of its
    inference. A run that has `ended` at an update is not taken for what it was in the middle, where it is being made
    again. Errors: `RequestError` if the checkpoint is not there, not whole, or of another model."""
    content = _content(path, which)
    updates = content.get("vae_lab", {}).get("updates", ended)
    if which == "last" and ended is not None and updates != ended:
        raise RequestError(
            f"{_checkpoint(path, which)} is of update {updates}, and the run ended at update {ended}: its model is being made "
            "again; ask for the run as it was asked for at first"
        )
    state = _part(content, "model.")
    if start:
        own = {name: value for name, value in model.state_dict().items() if name.startswith("inference.")}
        state = {name: value for name, value in state.items() if not name.startswith("inference.")} | own
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        file = _checkpoint(path, which)
        raise RequestError(
            f"{file} does not fit the model of {path / CONFIG}: {' '.join(str(error).split())}"
        ) from error


def _checkpoint(path: Path, which: str) -> Path:
    return path / (BEST if which == "best" else LAST)


def _content(path: Path, which: str) -> dict[str, Any]:
    """The content of a checkpoint that holds weights by name. Errors: `RequestError`."""
    file = _checkpoint(path, which)
    if not file.exists():
        raise RequestError(f"{file} is not there: {path} is no finished run, or never saved its {which} model")
    try:
        content = read_checkpoint(file)
        _part(content, "")
    except DamagedCheckpoint as damage:
        raise RequestError(f"{damage}; rerun=true trains it again") from damage
    except (KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"{file} is no checkpoint of a run: it has no state_dict of names and tensors") from error
    return content


def _part(content: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names begin with `prefix`, by the rest of their names."""
    state = content["state_dict"].items()
    return {key[len(prefix) :]: value for key, value in state if key.startswith(prefix)}


def record(
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
