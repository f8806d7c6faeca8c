"""The name of a run: a hash of everything that can change the trained model, and of nothing else."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_lab.build import locate

NUMERICS = 1
"""Raised when a default or a random stream changes, so that numbers made before and after are never taken for the same."""

COSMETIC = frozenset(
    [
        "study",
        "arm",
        "experiment",
        "mitigation",
        "runs_dir",
        "logger",
        "evaluation",
        "rerun",
        "fail_fast",
        "optimized_metric",
        "overrides",
        "spec",
    ]
)


def signature(settings: Mapping[str, Any], fingerprint: str) -> str:
    """Ten hexadecimal digits that name a run.

    A setting that equals its class's own default is left out, so that a setting added later renames no run; so is one
    that its class calls `cosmetic`, such as a path. The data enter by the hash of their content.
    """
    kept = {key: _canonical(value) for key, value in settings.items() if key not in COSMETIC}
    kept["init_from"] = weights_hash(settings.get("init_from"))
    content = json.dumps([NUMERICS, fingerprint, kept], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            value = _without_defaults(value)
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_defaults(node: Mapping[str, Any]) -> dict[str, Any]:
    target = locate("", str(node["_target_"]))
    parameters = inspect.signature(target).parameters
    cosmetic: frozenset[str] = getattr(target, "cosmetic", frozenset())
    return {
        key: value
        for key, value in node.items()
        if key not in cosmetic and not (key in parameters and parameters[key].default == value)
    }


def weights_hash(run: str | None) -> str | None:
    """The hash of the weights that a run starts from, wherever they lie."""
    if run is None:
        return None
    checkpoint = Path(run) / "checkpoints" / "last.ckpt"
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest() if checkpoint.exists() else str(run)


def evaluation_hash(settings: Mapping[str, Any]) -> str:
    """The identity of an evaluation's settings: another one evaluates again, and never trains again."""
    content = json.dumps([NUMERICS, dict(settings)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:10]
