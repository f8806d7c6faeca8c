"""The config of a request, from Python."""

from omegaconf import DictConfig

from vae_lab.arguments import readable
from vae_lab.config import composer
from vae_lab.study import register_named


def compose(*overrides: str) -> DictConfig:
    """The config of `vae-lab train OVERRIDES`, as from the command line; of a key that is there twice the later word
    counts, so that a list of words can be changed by adding to it.

    Errors: `RequestError` for an unknown group, option or key, or a word that does not parse.

    Example:
        >>> compose("prior=mixture", "prior.components=3").prior.components
        3
    """
    words = list({word.lstrip("+~").partition("=")[0]: word for word in map(readable, overrides)}.values())
    register_named(words)
    with composer() as composed:
        config: DictConfig = composed(words)
        return config
