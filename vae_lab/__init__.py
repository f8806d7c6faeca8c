"""A laboratory for variational autoencoders.

    >>> import vae_lab
    >>> config = vae_lab.compose("dataset=digits", "mitigation=free_bits")
    >>> config.rate.granularity
    'dim'

`train(config)` runs it, `load(run_dir)` gives a finished run with its model, `results(path)` a table of runs;
`use(name, run_dir)` puts a finished run to a use, as `vae-lab NAME RUN` does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_lab.composition import compose as compose
    from vae_lab.finished import load as load
    from vae_lab.listing import results as results
    from vae_lab.run import train as train
    from vae_lab.uses.use import use as use

_PLACES = {"compose": "composition", "train": "run", "load": "finished", "results": "listing", "use": "uses"}


def __getattr__(name: str) -> Any:
    """Imports on first use, so that `vae-lab --help` does not wait for torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'vae_lab' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"vae_lab.{_PLACES[name]}"), name)
