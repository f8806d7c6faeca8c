"""The commands that put a finished run to a use."""

from typing import Any


def reconstruct(argv: list[str]) -> int:
    from vae_lab.uses import Reconstruct

    return _use("reconstruct", Reconstruct, argv)


def sample(argv: list[str]) -> int:
    from vae_lab.uses import Sample

    return _use("sample", Sample, argv)


def interpolate(argv: list[str]) -> int:
    from vae_lab.uses import Interpolate

    return _use("interpolate", Interpolate, argv)


def probe(argv: list[str]) -> int:
    from vae_lab.uses import Probe

    return _use("probe", Probe, argv)


def _use(name: str, kind: Any, argv: list[str]) -> int:
    """`vae-lab NAME RUN [option=value ...]`: prints the numbers, and where they and the pictures are."""
    from vae_lab import arguments
    from vae_lab.cli.words import only_shows
    from vae_lab.errors import RequestError
    from vae_lab.settings import flatten
    from vae_lab.uses import use

    asked = arguments.parse(argv)
    run, *options = asked.overrides or [""]
    if not run or "=" in run:
        raise RequestError(f"{name}: which run? vae-lab {name} RUN [option=value]")
    if only_shows(asked) or asked.multirun or asked.config_dir:
        raise RequestError(f"{name}: takes a run and its own options, no flag")
    answer, paths = use(name, kind, run, arguments.plain_values(options))
    for key, value in flatten(answer.numbers).items():
        print(f"{key:40} {'n/a' if value is None else value if isinstance(value, int) else f'{value:.4g}'}")
    print(*paths, sep="\n")
    return 0
