"""The config of a request, from Python."""

from omegaconf import DictConfig

from vae_lab.config import composer
from vae_lab.study import register_named


def compose(*overrides: str) -> DictConfig:
    """The config of `vae-lab train OVERRIDES`, as from the command line.

    Errors: `RequestError` for an unknown group, option or key, or a word that does not parse.

    Example:
        >>> compose("prior=mixture", "prior.components=3").prior.components
        3
    """
    register_named(list(overrides))
    with composer() as composed:
        config: DictConfig = composed(list(overrides))
        return config
