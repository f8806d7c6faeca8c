"""The points of a grid as configs, checked as far as no class need be imported: a wrong value is answered at once."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from omegaconf import DictConfig

from vae_lab.config import composer
from vae_lab.forms import written
from vae_lab.lookup import settings_of
from vae_lab.options import folders
from vae_lab.schema import check_schema

At = Callable[[list[str]], AbstractContextManager[None]]


def composed(points: Sequence[list[str]], at: At, config_dir: str | None = None) -> list[DictConfig]:
    """Composes every point and checks its schema. Parts that several points share are checked once.

    Arguments:
        at: gives a context in which a point is handled, to say of an error where it was met.

    Errors: `RequestError`, one line.
    """
    configs, shared = [], set[str]()
    with composer(config_dir) as compose:
        for point in points:
            with at(point):
                configs.append(compose(point))
                check_schema(settings_of(configs[-1]), folders(config_dir), written, shared)
    return configs
