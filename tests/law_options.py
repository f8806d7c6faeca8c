"""Every option of a kind, ours and those of installed packages, as Hydra composes it: a new YAML is tested unasked."""

import functools
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from vae_lab import compose, options

Node = dict[str, Any]


def every(kind: str, key: str | None = None) -> pytest.MarkDecorator:
    """Parametrises a test over the names of the options of a kind, or of those that have a key."""
    names = options.groups()[kind] if key is None else options.options_with(kind, key)
    return pytest.mark.parametrize("name", dict.fromkeys(names))


@functools.cache
def _composed(kind: str, name: str) -> DictConfig:
    return compose(f"{kind}={name}")


def node_of(kind: str, name: str, **settings: Any) -> Node:
    """The resolved settings of an option, with some of them changed."""
    node = OmegaConf.to_container(_composed(kind, name)[kind], resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()} | settings
