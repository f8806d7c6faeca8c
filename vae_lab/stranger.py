"""What the file of a study may set, whoever wrote it: parts of a run, and how many runs go side by side. Hydra would take
from it what it takes from the person: classes to build, folders to work in, variables, lines of shell."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_lab.errors import RequestError, listed, nearest

LAUNCHERS = ("basic", "joblib", "ray", "submitit_slurm")
LAUNCHER_KEYS = frozenset(
    f"hydra.launcher.{name}"
    for name in (
        *("n_jobs", "batch_size"),  # of joblib
        "runs_per_job",
        *("remote.num_cpus", "remote.num_gpus", "remote.max_retries"),  # of Ray
        *("timeout_min", "cpus_per_task", "mem_gb", "gpus_per_node", "array_parallelism"),  # of SLURM
        *("partition", "account", "qos", "constraint", "max_num_timeout", "signal_delay_s"),
    )
)
"""The settings of launchers that can neither run code nor reach another machine."""

_KEY = re.compile(r"\+{0,2}[A-Za-z_][\w-]*(\.[\w-]+)*|hydra/launcher")
_NAME = re.compile(r"[\w.-]+")
_WORD = re.compile(r"[\w.,:&|*-]*")  # of SLURM's: nothing that ends a line of its script
_PLAIN = re.compile(r"\$\{\.*[A-Za-z_]\w*(\.\w+)*\}")
_ANYWHERE = "; on the command line you may set it yourself"


def check_content(file: Path, content: Mapping[str, Any], groups: Mapping[str, Any]) -> None:
    """Refuses what a study must not set: its body, its list of defaults, its arms, what it crosses.

    Errors: `RequestError`, one line.
    """
    for place, text in _texts(content):
        if "${" in _PLAIN.sub("", text):
            allowed = "a study refers to its own settings only, as in ${latent_dim}"
            raise RequestError(f"{file}: {place}: {text!r} given; {allowed}")
    body = {key: value for key, value in content.items() if key not in ("defaults", "study", "arms", "over")}
    _check_settings(file, "", body)
    _check_defaults(file, content.get("defaults", []), groups)
    for arm, grid in content["arms"].items():
        _check_settings(file, f"arms.{arm}: ", grid or {})
    _check_settings(file, "over: ", content["over"])


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a study, keys included, with where it stands."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield place or "the file", str(key)
            yield from _texts(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _texts(item, place)
    else:
        yield place, str(value)


def _check_settings(file: Path, place: str, settings: Mapping[Any, Any]) -> None:
    for key, value in settings.items():
        name = str(key)
        if not isinstance(key, str) or not _KEY.fullmatch(name):
            raise RequestError(f"{file}: {place}{name!r}: no key; a key is written as in optimizer.lr")
        bare = name.lstrip("+")
        if bare in ("study", "arm", "experiment", "defaults", "overrides", "spec") or bare.startswith("study."):
            raise RequestError(f"{file}: {place}{name}: not to be set here; it is the study's own")
        for full, item in _flat(bare, value):
            _check_setting(file, place, full, item)


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A setting and all below it, by their dotted keys; the values of a list are each a value of its key."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(f"{key}.{name}", item)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _flat(key, item)
    else:
        yield key, value


def _check_setting(file: Path, place: str, key: str, value: Any) -> None:
    if key == "hydra/launcher":
        _check_launcher(f"{file}: {place}{key}", value)
    elif re.match(r"hydra\b", key):
        if key not in LAUNCHER_KEYS:
            allowed = f"a study sets of Hydra only {listed(LAUNCHER_KEYS)}{nearest(key, LAUNCHER_KEYS, 0.8)}"
            raise RequestError(f"{file}: {place}{key}: not to be set by a study{_ANYWHERE}; {allowed}")
        if not isinstance(value, int | float | None) and not (isinstance(value, str) and _WORD.fullmatch(value)):
            raise RequestError(f"{file}: {place}{key}: {value!r} given; must be a number or one word")
    elif key == "runs_dir":
        path = Path(str(value))
        if path.is_absolute() or ".." in path.parts or "$" in str(value):
            raise RequestError(f"{file}: {place}{key}: {value!r} given; must be a folder below the working directory")
    elif re.fullmatch(r"logger\.(\w+\.)?tracking_uri", key):
        raise RequestError(f"{file}: {place}{key}: a study does not say where figures are sent{_ANYWHERE}")


def _check_launcher(where: str, name: Any) -> None:
    if name not in LAUNCHERS:
        raise RequestError(f"{where}: {name} given; allowed: {listed(LAUNCHERS)}{nearest(str(name), LAUNCHERS)}")


def _check_defaults(file: Path, entries: Any, groups: Mapping[str, Any]) -> None:
    """Refuses all but the choice of an option of a group: Hydra's own groups, files anywhere, other packages."""
    if not isinstance(entries, list):
        raise RequestError(f"{file}: defaults: {entries!r} given; must be a list, as in [override /dataset: digits]")
    allowed = {f"override /{group}" for group in groups if group not in ("arm", "experiment")}
    for entry in entries:
        if entry == "_self_":
            continue
        (key, value), *more = entry.items() if isinstance(entry, Mapping) and entry else [(entry, None)]
        if more:
            raise RequestError(
                f"{file}: defaults: {entry!r} given; one group an entry, as in override /dataset: digits"
            )
        if not isinstance(key, str):
            raise RequestError(
                f"{file}: defaults: {key!r} given; a study chooses options, as in override /dataset: digits"
            )
        if key in ("override /hydra/launcher", "override hydra/launcher"):
            _check_launcher(f"{file}: defaults: {key}", value)
        elif key not in allowed:
            hint = nearest(str(key), allowed)
            raise RequestError(
                f"{file}: defaults: {key} given; a study chooses options of its groups, as in override /dataset: digits{hint}"
            )
        elif not all(isinstance(name, str) and _NAME.fullmatch(name) for name in _several(value)):
            raise RequestError(f"{file}: defaults: {key}: {value!r} given; must be the name of an option")


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
