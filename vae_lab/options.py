"""What options there are: the YAML files of every group, ours and other packages'."""

import contextlib
import functools
import importlib
import importlib.util
import re
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from vae_lab.errors import RequestError, listed, nearest

ENTRY_POINT = "vae_lab.conf"
_TARGET = re.compile(r"(?:^|[\s{,])_target_\s*:\s*['\"]?([\w.]+)", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#.*")


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


def groups(named: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every group and its options."""
    found: dict[str, list[str]] = {}
    for directory in option_directories(named):
        for file in sorted(directory.glob("*/*.yaml")):
            found.setdefault(file.parent.name, []).append(file.stem)
    for group in ("experiment", "arm"):
        with contextlib.suppress(OSError):
            found[group] = [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
    return found


@functools.cache
def named_targets(group: str, named: tuple[str, ...] = ()) -> frozenset[str]:
    """Every `_target_` that an option file of a group names, or a preset over several groups: the only things that a
    config may build in that place."""
    places = [directory / place for directory in option_directories(named) for place in (group, "mitigation")]
    files = [file for place in places for file in place.glob("**/*.yaml")]
    return frozenset(target for file in files for target in _targets_in(file))


@functools.cache
def _targets_in(file: Path) -> list[str]:
    return _TARGET.findall(_COMMENT.sub("", file.read_text(encoding="utf-8")))


def options_with(group: str, key: str) -> list[str]:
    """The options of a group whose file has a key."""
    found = []
    for directory in option_directories():
        for file in sorted(directory.glob(f"{group}/*.yaml")):
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            if isinstance(content, dict) and key in content:
                found.append(file.stem)
    return found


def option_of(group: str, target: str) -> str | None:
    """The option of a group whose file names a target."""
    for directory in option_directories():
        for file in sorted(directory.glob(f"{group}/*.yaml")):
            if target in _targets_in(file):
                return file.stem
    return None


@functools.cache
def _primary() -> dict[str, Any]:
    content = yaml.safe_load((packaged("conf") / "config.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def top_level_keys() -> list[str]:
    """The keys of the primary config that belong to no group."""
    return [key for key in _primary() if key not in ("defaults", "hydra")]


PRESETS = ("mitigation", "experiment", "arm")  # groups that set other groups, and leave no node of their own
LISTS = ("regularizer", "callbacks")  # groups that name any number of parts


def components() -> list[str]:
    """The groups of which every config has a node."""
    chosen = [key for entry in _primary()["defaults"] if isinstance(entry, dict) for key in entry]
    return [key for key in chosen if key not in PRESETS and not key.startswith("override ")]


def _option_keys(group: str, option: str, part: str | None = None) -> list[str]:
    """The settings that an option's file has, or a part of it."""
    for directory in option_directories():
        file = directory / group / f"{option}.yaml"
        if file.exists():
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            content = content[part] if part else content
            return [key for key in content if not key.startswith("_") and key != "defaults"]
    return []


def unknown_key(key: str, overrides: Sequence[str] = ()) -> str:
    """One line for a key that is not there: what the option has, which other option has it, the nearest name."""
    head, _, rest = key.partition(".")
    if head == "arm":
        return f"{key}: an arm belongs to a study; add experiment=NAME"
    if head == "hydra":
        own = yaml.safe_load((packaged("conf") / "hydra" / "sweeper" / "optuna.yaml").read_text(encoding="utf-8"))
        hint = nearest(key, [f"hydra.sweeper.{name}" for name in own])
        return f"{key}: Hydra has no such key; vae-lab train --cfg hydra shows those it has{hint}"
    known_groups = groups()
    top = [*known_groups, *top_level_keys()]
    if head not in top or not rest:
        return f"{key}: no such key or group; groups: {listed(known_groups)}{nearest(head, top)}"
    chosen = next((o.partition("=")[2] for o in overrides if o.partition("=")[0] == head), None)
    where = f"{head}={chosen}" if chosen else f"the chosen {head}"
    part, _, nested = rest.partition(".")
    others = options_with(head, part)
    if nested and chosen and any(option in chosen.strip("[]").split(",") for option in others):
        keys = set(_option_keys(head, others[0], part))
        return f"{key}: no such key; {head}.{part} has {listed(keys)}{nearest(nested, keys)}"
    if others:
        return f"{key}: {where} has no such key; it belongs to {head}={' or '.join(others)}"
    keys = {k for option in known_groups.get(head, []) for k in _option_keys(head, option)}
    return f"{key}: no such key; {head} has {listed(keys) or 'none'}{nearest(rest, keys)}"
