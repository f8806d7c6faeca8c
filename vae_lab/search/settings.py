"""What a search is told: `hydra.sweeper.*` and the metrics that it optimises."""

import importlib.util
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vae_lab.errors import RequestError, listed, nearest
from vae_lab.metrics import METRICS
from vae_lab.schema import validate
from vae_lab.settings import Count, NonNegativeInt

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

Direction = Literal["maximize", "minimize"]
_BETTER: dict[str, Direction] = {"max": "maximize", "min": "minimize"}


class Settings(BaseModel):
    """The keys of `hydra.sweeper`; what each is stands in `conf/hydra/sweeper/optuna.yaml`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    n_trials: Count
    n_jobs: Count
    study_name: str = Field(pattern=r"^\w[\w.-]*$")
    direction: Direction | list[Direction] | None
    storage: str | None
    seed: NonNegativeInt
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    retry_failed: bool
    trial: int | None


def objectives_of(settings: Mapping[str, Any]) -> list[str]:
    """The metrics that a search chooses by, from a run's settings."""
    wanted = settings["optimized_metric"]
    return list(wanted) if isinstance(wanted, list) else [wanted]


def checked(node: Mapping[str, Any], objectives: list[str]) -> tuple[Settings, list[Direction]]:
    """The settings of a search, and the direction of each of its objectives. Errors: `RequestError`, one line."""
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("hydra/sweeper=optuna needs a package: pip install 'vae-lab[optuna]'")
    validate("hydra.sweeper", Settings, node)
    settings = Settings.model_validate(dict(node))
    directions = _directions(objectives, settings.direction)
    _check_storage(settings.storage)
    sampler_of(settings, 0)
    pruner_of(settings)
    if len(objectives) > 1 and _name(settings.pruner) != "NopPruner":
        raise RequestError(
            f"hydra/sweeper/pruner: {_name(settings.pruner)} given with {len(objectives)} objectives; Optuna cuts trials of "
            "searches with one objective only: leave the pruner out"
        )
    return settings, directions


def _check_storage(url: str | None) -> None:
    """Refuses what is no URL of a database; a password in it is not shown."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    if url is None:
        return
    try:
        make_url(url).get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        kind, separator, _ = url.partition("://")
        shown = f"{kind}://..." if separator else f"{url!r}"
        hint = nearest(kind, DATABASES) if separator else ""
        allowed = f"a URL of {', '.join(DATABASES)}, as in sqlite:///trials.db, or null for a journal beside the runs"
        raise RequestError(f"hydra.sweeper.storage: {shown} given; must be {allowed}{hint}") from error


DATABASES = ("sqlite", "postgresql", "mysql")  # those that Optuna is tested with


def _directions(objectives: list[str], given: Direction | list[Direction] | None) -> list[Direction]:
    named = [given] if isinstance(given, str) else given
    directions: Sequence[Direction | None] = named or [None] * len(objectives)
    if len(directions) != len(objectives):
        raise RequestError(
            f"hydra.sweeper.direction: {len(directions)} given; optimized_metric has {len(objectives)}: {listed(objectives)}"
        )
    return [_direction(name, given) for name, given in zip(objectives, directions, strict=True)]


def _direction(objective: str, given: Direction | None) -> Direction:
    split, _, name = objective.partition("/")
    if split == "test":
        raise RequestError(
            f"optimized_metric: {objective} given; a search chooses, and what chooses must not see test: use val/{name}, and "
            "read test of what was chosen"
        )
    better = METRICS[name].better
    if given is None and better is None:
        raise RequestError(
            f"hydra.sweeper.direction: a value is needed: neither way is better for {objective} by itself "
            "(maximize or minimize, one for each of optimized_metric)"
        )
    return given or _BETTER[str(better)]


def sampler_of(settings: Settings, seed: int) -> "BaseSampler":
    """The sampler that was named. Errors: `RequestError`."""
    from optuna import samplers

    sampler: BaseSampler = _made(samplers, "sampler", {**settings.sampler, "seed": seed})
    return sampler


def pruner_of(settings: Settings) -> "BasePruner":
    """The pruner that was named. Errors: `RequestError`."""
    from optuna import pruners

    pruner: BasePruner = _made(pruners, "pruner", settings.pruner)
    return pruner


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_")).rpartition(".")[2]


def _made(module: Any, kind: str, node: Mapping[str, Any]) -> Any:
    """An object of Optuna's from a node, which names nothing but one of the classes of that kind."""
    from optuna.exceptions import ExperimentalWarning

    key, target = f"hydra.sweeper.{kind}", str(node.get("_target_"))
    known = [f"{module.__name__}.{name}" for name in module.__all__ if name[:4] != "Base" and name[0].isupper()]
    if target not in known:
        raise RequestError(f"{key}._target_: {target} given; allowed: {listed(known)}{nearest(target, known)}")
    made, given = getattr(module, _name(node)), {name: value for name, value in node.items() if name != "_target_"}
    for name in given:
        allowed = list(inspect.signature(made).parameters)
        if name not in allowed:
            raise RequestError(
                f"{key}.{name}: no such key; {_name(node)} has {listed(allowed)}{nearest(name, allowed)}"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # the pin of Optuna's version is the answer to it
            return made(**given)
    except (TypeError, ValueError, ImportError) as error:
        raise RequestError(f"{key}: {_name(node)}: {' '.join(str(error).split())}") from error
