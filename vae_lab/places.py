"""Where the option files are, ours and other packages'. Found without importing anything heavy, since `--help` lists the uses."""

import functools
import importlib.util
import itertools
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from vae_lab.errors import RequestError, decoded

ENTRY_POINT = "vae_lab.conf"
USE = "use"
"""The group whose options are no parts of a run, but what a finished one is put to."""


def packaged(name: str) -> Path:
    """The folder `conf` or `experiments`: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / f"_{name}"
    return inside if inside.is_dir() else Path(__file__).parent.parent / name


@functools.cache
def plugin_directories() -> list[Path]:
    """Folders of options that other installed packages add by an entry point `vae_lab.conf = "package.folder"`."""
    return [_package_directory(point.value) for point in entry_points(group=ENTRY_POINT)]


def _package_directory(value: str) -> Path:
    """The folder of `package.folder`, found without importing anything below the top package."""
    top, *rest = value.replace(":", ".").split(".")
    found = importlib.util.find_spec(top)
    if found is None or not found.submodule_search_locations:
        raise RequestError(f"the entry point {ENTRY_POINT} = '{value}' names no installed package")
    return Path(next(iter(found.submodule_search_locations))).joinpath(*rest)


def option_directories(named: Sequence[str] = ()) -> list[Path]:
    return [packaged("conf"), *plugin_directories(), *(Path(directory) for directory in named)]


def uses(named: Sequence[str] = ()) -> dict[str, str]:
    """The uses of a finished run, by the names of their files, each with what its file says of it first."""
    files = [file for directory in option_directories(named) for file in sorted(directory.glob(f"{USE}/*.yaml"))]
    return {file.stem: head(text_of(file))[0] for file in files}


def text_of(file: Path) -> str:
    """The text of an option's file. Errors: `RequestError` with the line of what is not UTF-8."""
    try:
        return decoded(file.read_bytes())
    except ValueError as error:
        raise RequestError(f"{file}: {error}") from error


def head(text: str) -> list[str]:
    """The lines of the comment that an option's file begins with, without Hydra's own."""
    comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line.removeprefix("#").strip() for line in comments if not line.startswith("# @package")] or [""]
