"""The nodes of a config that name a class, and the class that each names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.utils import get_object

from vae_lab.errors import RequestError, first_line

Node = Mapping[str, Any]

CONTEXT = frozenset(
    [
        "shape",
        "latent_dim",
        "outputs",
        "arity",
        "classes",
        "total_updates",
        "examples",
        "optimizer",
        "params",
        "directory",
        "run_dir",
        "run_name",
        "study_name",
        "run_config",
        "run_tags",
    ]
)
"""What a constructor may ask for by name; a config need not say it."""


def locate(key: str, target: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names."""
    try:
        return get_object(target)
    except Exception as error:  # Hydra wraps whatever the import raised
        raise_for_memory(error)
        raise RequestError(f"{key}._target_: {target} cannot be imported: {first_line(error)}") from error


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
