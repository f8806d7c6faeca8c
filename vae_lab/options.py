"""What options there are: the YAML files of every group, ours and other packages'."""

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from vae_lab.errors import RequestError
from vae_lab.places import USE, option_directories, packaged
from vae_lab.yaml_text import BadYaml, read_yaml

_TARGET = re.compile(r"(?:^|[\s{,])_target_\s*:\s*['\"]?([\w.]+)", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#.*")


def folders(config_dir: str | None) -> tuple[str, ...]:
    """The folders of options that `--config-dir` names: one, or none."""
    return (config_dir,) if config_dir else ()


def groups(named: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every group of a run's config and its options."""
    found: dict[str, list[str]] = {}
    for directory in option_directories(named):
        for file in sorted(directory.glob("*/*.yaml")):
            if file.parent.name != USE:
                found.setdefault(file.parent.name, []).append(file.stem)
    for group in ("experiment", "arm"):
        with contextlib.suppress(OSError):
            found[group] = [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
    return found


def named_targets(group: str, named: tuple[str, ...] = ()) -> frozenset[str]:
    """Every `_target_` that an option file of a group names, or a preset over several groups: the only things that a
    config may build in that place."""
    return _targets_of(group, tuple(directory.absolute() for directory in option_directories(named)))


@functools.cache
def _targets_of(group: str, directories: tuple[Path, ...]) -> frozenset[str]:
    places = [directory / place for directory in directories for place in (group, "mitigation")]
    files = [file for place in places for file in place.glob("**/*.yaml")]
    return frozenset(target for file in files for target in _targets_in(file))


def _targets_in(file: Path) -> list[str]:
    return _TARGET.findall(_COMMENT.sub("", _text_of(file.absolute(), file.stat().st_mtime_ns)))


@functools.cache
def _text_of(file: Path, written: int) -> str:
    """The text of a file as it stood at that time."""
    return file.read_text(encoding="utf-8", errors="replace")


def options_with(group: str, key: str) -> list[str]:
    """The options of a group whose file has a key."""
    found = []
    for directory in option_directories():
        for file in sorted(directory.glob(f"{group}/*.yaml")):
            if key in content_of(file):
                found.append(file.stem)
    return found


def option_of(group: str, node: Mapping[str, Any]) -> str | None:
    """The option of a group that a node was made from: of those whose file names its target (the trainers share one),
    the first that agrees with most of its settings."""
    files = [file for directory in option_directories() for file in sorted(directory.glob(f"{group}/*.yaml"))]
    named = [file for file in files if str(node["_target_"]) in _targets_in(file)]
    if len(named) > 1:
        named.sort(key=lambda file: len(_items(content_of(file)) & _items(node)), reverse=True)
    return named[0].stem if named else None


def option_name(key: str, node: Mapping[str, Any]) -> str:
    """The option of a group whose file names the chosen target: what the person typed."""
    return option_of(key.partition(".")[0], node) or str(node["_target_"]).rpartition(".")[2]


def _items(settings: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(key, repr(value)) for key, value in settings.items()}


def _primary() -> dict[str, Any]:
    return content_of(packaged("conf") / "config.yaml")


def top_level_keys() -> list[str]:
    """The keys of the primary config that belong to no group."""
    return [key for key in _primary() if key not in ("defaults", "hydra")]


PRESETS = ("mitigation", "experiment", "arm")  # groups that set other groups, and leave no node of their own
LISTS = ("regularizer", "callbacks", "logger")  # groups that name any number of parts


def components() -> list[str]:
    """The groups of which every config has a node."""
    return [group for group in defaults() if group not in PRESETS]


def defaults() -> dict[str, Any]:
    """The option of every group that the primary config chooses; None for none."""
    entries = [entry for entry in _primary()["defaults"] if isinstance(entry, dict)]
    return {key: value for entry in entries for key, value in entry.items() if not key.startswith("override ")}


def option_content(group: str, option: str, named: Sequence[str] = ()) -> dict[str, Any]:
    """What an option's file says, or the part of a study that stands for one; empty for an option that there is not.
    Errors: `RequestError` for a file that holds no settings."""
    for directory in option_directories(named):
        if (file := directory / group / f"{option}.yaml").exists():
            return content_of(file)
    with contextlib.suppress(OSError):
        node = ConfigStore.instance().load(f"{group}/{option}.yaml").node
        return dict(OmegaConf.to_container(node))  # type: ignore[arg-type]
    return {}


def check_readable(chosen: Mapping[str, Any], named: Sequence[str]) -> None:
    """Refuses an option's file that cannot be read, first of all a chosen one: that is why Hydra composes nothing of it."""
    for group, option in chosen.items():
        if isinstance(option, str):
            option_content(group, option, named)
    for directory in named:
        for file in sorted(Path(directory).glob("*/*.yaml")):
            content_of(file)


def check_named(group: str, option: str, named: Sequence[str] = ()) -> None:
    """Refuses an option whose file names no class. Errors: `RequestError`."""
    for directory in reversed(option_directories(named)):
        file = directory / group / f"{option}.yaml"
        if not file.exists():
            continue
        for key, node in content_of(file).items() if group in LISTS else [("", content_of(file))]:
            if key != "defaults" and not (isinstance(node, Mapping) and "_target_" in node):
                where = f"the part {key} of {file}" if key else str(file)
                form = (
                    f"{key or 'name'}:, and below it _target_: module.Class"
                    if group in LISTS
                    else "_target_: module.Class"
                )
                raise RequestError(f"{where} has no _target_: an option of {group} names its class, as in {form}")
        return


def content_of(file: Path) -> dict[str, Any]:
    """The settings of an option's file, read again if it has changed. Errors: `RequestError` where it has none."""
    return _content_of(file, file.absolute(), file.stat().st_mtime_ns)


@functools.cache
def _content_of(file: Path, place: Path, written: int) -> dict[str, Any]:
    try:
        content = read_yaml(file) or {}
    except BadYaml as error:
        raise RequestError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise RequestError(f"{file}: {content!r} given; an option's file holds keys with values")
    return content


def keys_of(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of the settings in an option's file."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{key}.")
        elif not key.startswith("_") and key != "defaults":
            yield f"{prefix}{key}"


def options_saying(group: str, name: str) -> list[str]:
    """The options of a group whose file has a name in its comments, such as that of a published method."""
    files = [file for directory in option_directories() for file in sorted(directory.glob(f"{group}/*.yaml"))]
    words = _plain(name)
    return [file.stem for file in files if re.search("[a-z]", words) and words in _comments(file)]


def _comments(file: Path) -> str:
    return _plain(" ".join(_COMMENT.findall(_text_of(file.absolute(), file.stat().st_mtime_ns))))


def _plain(text: str) -> str:
    """Words alone, in lower case: `delta_vae` and `delta-VAE` are the same."""
    return f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "
