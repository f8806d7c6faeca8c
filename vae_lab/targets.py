"""The nodes of a config that name a class, and the class that each names."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_lab.errors import RequestError, first_line, nearest, place, placed

Node = Mapping[str, Any]

_SIZES = ("shape", "latent_dim")
_TRAINING = ("latent_dim", "total_updates", "examples")

HANDED: Mapping[str, tuple[str, ...]] = {
    "encoder": (*_SIZES, "outputs"),
    "decoder": (*_SIZES, "arity"),
    "posterior": _SIZES,
    "parametrization": _SIZES,
    "likelihood": _SIZES,
    "prior": _SIZES,
    "labels": ("classes",),
    "inference": (*_SIZES, "total_updates"),
    "bound": _TRAINING,
    "beta": _TRAINING,
    "rate": _TRAINING,
    "regularizer": _TRAINING,
    "optimizer": ("params",),
    "scheduler": ("optimizer", "total_updates"),
    "callbacks": ("directory",),
    "logger": ("run_dir", "run_name", "study_name", "run_config", "run_tags"),
}
"""What a constructor of each group is handed, if it asks for it by name; a config need not say it."""

CONTEXT = frozenset(name for names in HANDED.values() for name in names)


class _Quiet:
    """Keeps what Hydra logs of a class that it cannot import off the terminal: the refusal says it in one line."""

    def __enter__(self) -> None:
        logging.getLogger("hydra.utils").disabled = True

    def __exit__(self, *_: object) -> None:
        logging.getLogger("hydra.utils").disabled = False


_quiet = _Quiet()


def locate(key: str, target: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names."""
    from hydra.utils import get_object  # `ls` waits for nothing heavy

    try:
        with _quiet:
            return get_object(target)
    except Exception as error:  # Hydra wraps whatever the import raised
        raise_for_memory(error)
        raise RequestError(f"{key}._target_: {target} cannot be imported: {_import_fault(target, error)}") from error


def _import_fault(target: str, error: Exception) -> str:
    """Why a class cannot be imported: the mistake in its module, with file and line, or that the module is not found."""
    cause = error.__cause__ or error.__context__ or error
    top, (module, _, name) = target.partition(".")[0], target.rpartition(".")
    if (
        module in sys.modules
        and isinstance(cause, (ModuleNotFoundError, AttributeError))
        and cause.name in (target, name)
    ):
        return f"the module {module} has no {name}{nearest(name, dir(sys.modules[module]))}"
    if isinstance(cause, ModuleNotFoundError) and cause.name == top:
        beside = next((path for path in (Path(f"{top}.py"), Path(top)) if path.exists()), None)
        advice = (
            f"; {beside} lies here, and Python looks for modules on its path alone: PYTHONPATH=. vae-lab ..."
            if beside
            else ""
        )
        return f"Python finds no module {top}{advice or '; put its folder on PYTHONPATH, or install its package'}"
    return placed(cause) if place(cause) else first_line(error)


def raise_for_memory(error: BaseException | None) -> None:
    """Raises the `MemoryError` that an error wraps, if it does: the request is not to blame for it."""
    while error is not None:
        if isinstance(error, MemoryError):
            raise error
        error = error.__cause__ or error.__context__


def targets(settings: Node | Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with a `_target_`, however deep, with its dotted key."""
    for key, value in settings.items() if isinstance(settings, Mapping) else enumerate(settings):
        if isinstance(value, Mapping) and "_target_" in value:
            yield f"{prefix}{key}", value
        if isinstance(value, (Mapping, list, tuple)):
            yield from targets(value, f"{prefix}{key}.")


def parts(node: Node) -> dict[str, Node]:
    """The parts of a group that takes several, by name; one that is no list is a part alone."""
    if "_target_" in node:
        return {"": node}
    return {str(name): item for name, item in node.items() if isinstance(item, Mapping) and "_target_" in item}
