"""The name of a run: a hash of everything that can change the trained model, and of nothing else."""

import functools
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from vae_lab.data.files import content_hash
from vae_lab.schema import typed
from vae_lab.settings import COSMETIC
from vae_lab.store import LAST
from vae_lab.targets import locate
from vae_lab.training.checkpoint_io import read_checkpoint

NUMERICS = 2
"""Raised when a default or a random stream changes, so that numbers made before and after are never taken for the same."""

TOP_LEVEL: dict[str, Any] = {
    "seed": 0, "latent_dim": 16, "batch_size": 128, "threads": 1, "compile": False, "init_from": None, "regularizer": {},
}  # fmt: skip
"""The defaults of the settings outside any class. A setting added here later, at its default, renames no run."""


def signature(settings: Mapping[str, Any], fingerprint: str) -> str:
    """Ten hexadecimal digits that name a run.

    A setting that equals its class's own default is left out, so that a setting added later renames no run; so is one
    that its class calls `cosmetic`, such as a path. The data enter by the hash of their content. A class whose numbers
    changed has a `revision`, which renames the runs that use it and no other, or a `revision_of(**settings)` where it
    depends on its settings (None for those whose numbers are the same).
    """
    kept = {
        key: _canonical(value)
        for key, value in settings.items()
        if key not in COSMETIC and not _neutral(value) and not (key in TOP_LEVEL and value == TOP_LEVEL[key])
    }
    kept["init_from"] = weights_hash(settings.get("init_from"))
    content = json.dumps([NUMERICS, fingerprint, kept], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def _neutral(value: Any) -> bool:
    """Whether a group's part does nothing, as its class says itself: a group added later then renames no run."""
    if not isinstance(value, Mapping) or "_target_" not in value:
        return bool(value == {})
    return bool(vars(locate("", str(value["_target_"]))).get("neutral", False))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            value = without_defaults(value)
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value


def without_defaults(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's settings in the types that its class declares (1 for a float is 1.0, but 1 update is not 1.0 run)."""
    return dict(_read_without_defaults(json.dumps(node)))


@functools.lru_cache(1024)  # the points of a grid share most of their nodes
def _read_without_defaults(content: str) -> dict[str, Any]:
    node = json.loads(content)
    target = locate("", str(node["_target_"]))
    forwards = getattr(target, "forwards_to", None)
    parameters = {
        **(inspect.signature(forwards).parameters if forwards else {}),
        **inspect.signature(target).parameters,
    }
    cosmetic: frozenset[str] = getattr(target, "cosmetic", frozenset())
    kept = {
        key: value
        for key, value in typed(target, node).items()
        if key not in cosmetic and not (key in parameters and _same(parameters[key].default, value))
    }
    by_settings = getattr(target, "revision_of", None)
    revision = by_settings(**kept) if by_settings else getattr(target, "revision", None)
    return kept if revision is None else {**kept, "revision": revision}


def _same(default: Any, value: Any) -> bool:
    return default == value and type(default) is type(value)


def weights_hash(run: str | None) -> str | None:
    """The hash of the model's weights that a run starts from, wherever they lie."""
    if run is None:
        return None
    return content_hash(Path(run) / LAST, _weights)


def _weights(checkpoint: Path) -> Iterator[bytes]:
    for name, value in sorted(read_checkpoint(checkpoint)["state_dict"].items()):
        if name.startswith("model."):
            yield name.encode() + value.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def evaluation_hash(settings: Mapping[str, Any]) -> str:
    """The identity of an evaluation's settings: another one evaluates again, and never trains again."""
    content = json.dumps([NUMERICS, dict(settings)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:10]
