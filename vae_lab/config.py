"""Composing a config. Everything that depends on Hydra's version is in this file."""

import argparse
import contextlib
import copy
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra import main as hydra_main
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from vae_lab.choices import check_choices, no_such_option, unknown_key
from vae_lab.errors import RequestError, first_line, nearest
from vae_lab.options import groups, option_directories, packaged, plugin_directories, top_level_keys


class VaeLabSearchPath(SearchPathPlugin):
    """Puts the options of other packages on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for directory in plugin_directories():
            search_path.append("vae_lab.conf", f"file://{directory}")


def register() -> None:
    """Makes our search path plugin known; harmless when repeated."""
    plugins = Plugins.instance()
    if VaeLabSearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(VaeLabSearchPath)


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Hydra initialised on our config folder, and as it was before afterwards."""
    register()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(packaged("conf")), version_base="1.3", job_name="vae-lab"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def compose_here(overrides: list[str], named: Sequence[str] = ()) -> DictConfig:
    """A config, where Hydra is initialised already: many points of a grid share one initialisation. Its options are
    looked for in the `named` folders too."""
    check_choices(given(overrides), named)
    cfg = _compose(overrides, named)
    note_overrides(cfg, [word for word in overrides if not word.startswith("hydra")])
    return cfg


def _compose(overrides: list[str], named: Sequence[str], **how: Any) -> DictConfig:
    path = [f"hydra.searchpath=[{','.join(f'file://{Path(folder).absolute()}' for folder in named)}]"] if named else []
    try:
        return hydra_compose("config", [*overrides, *path], **how)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # some of Hydra's are ValueErrors
        raise RequestError(_explain(error, overrides, named)) from error


def sweeper_settings(overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """What the sweeper will be told at these overrides."""
    with _hydra():
        composed = _compose(overrides, (config_dir,) if config_dir else (), return_hydra_config=True)
    return _of_sweeper(composed.hydra.sweeper)


def _of_sweeper(node: Any) -> dict[str, Any]:
    facts = OmegaConf.to_container(node, resolve=True)
    assert isinstance(facts, dict)
    return {str(key): value for key, value in facts.items() if not str(key).startswith("_")}


@contextlib.contextmanager
def _unlocked(cfg: DictConfig) -> Iterator[None]:
    OmegaConf.set_struct(cfg, False)
    yield
    OmegaConf.set_struct(cfg, True)


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Plain nested dicts, lists and values. Errors: `RequestError` for an interpolation that has no value."""
    try:
        settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise RequestError(f"{error.full_key}: a value is needed (set {error.full_key}=...)") from error
    except OmegaConfBaseException as error:
        raise RequestError(f"{error.full_key}: {first_line(error)}") from error
    assert isinstance(settings, dict)
    settings.pop("hydra", None)
    return {str(key): value for key, value in settings.items()}


# ---- grids


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own command line: `.overrides`, `.multirun`, `.config_dir`, `.help`, `.cfg` and the rest."""
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    asked = parser.parse_intermixed_args(list(argv))
    if asked.config_dir and not Path(asked.config_dir).is_dir():
        raise RequestError(f"--config-dir: {asked.config_dir} is no folder")
    return asked


def _flags_first(argv: Sequence[str]) -> list[str]:
    """The same arguments in the order that Hydra needs: it stops at an override between two flags."""
    overrides = parse_arguments(argv).overrides
    return [*(word for word in argv if word not in overrides), *overrides]


def _refuse_flag(message: str) -> NoReturn:
    flags = ["--multirun", "--config-dir", "--cfg", "--info", "--help", "--hydra-help", "--dry-run", "--retry-failed"]
    word = message.rpartition(" ")[2]
    if word == "--dry-run":
        raise RequestError("--dry-run: belongs to vae-lab study; vae-lab check, with -m too, runs nothing")
    hint = nearest(word, flags)
    raise RequestError(f"{message}{hint}; vae-lab --help and vae-lab train --hydra-help list what there is")


_SWEEPER_ADVICE = "how many runs go side by side is the launcher's, and a search is hydra/sweeper=optuna"


def expand(overrides: list[str]) -> list[list[str]]:
    """The points of a grid, each a list of overrides without a sweep, in the order of Hydra's own sweeper."""
    parsed = parse_overrides(overrides)
    hydra = [o.input_line or "" for o in parsed if o.key_or_group.startswith("hydra")]
    for word in hydra:
        if word.lstrip("+~").startswith("hydra.sweeper."):
            raise RequestError(f"{word}: the sweeper of a grid has no settings; {_SWEEPER_ADVICE}")
    try:
        batches = BasicSweeper.split_arguments([o for o in parsed if not o.key_or_group.startswith("hydra")], None)
    except HydraException as error:
        raise RequestError(f"{first_line(error)}; a list of values is key=1,2,3, a range key=range(1,4)") from error
    return [hydra + list(point) for batch in batches for point in batch]


def is_search(overrides: list[str]) -> bool:
    """Whether the points of a multirun are chosen as it goes (`hydra/sweeper=...`); Hydra's own sweeper knows them all."""
    return any(o.key_or_group == "hydra/sweeper" and o.value() != "basic" for o in parse_overrides(overrides))


@contextlib.contextmanager
def at_point(point: Sequence[str], overrides: Sequence[str]) -> Iterator[None]:
    """Says of a refusal at which point of a grid it was met: the words that are swept, but for those it begins with."""
    try:
        yield
    except RequestError as error:
        swept = {o.key_or_group for o in parse_overrides(list(overrides)) if o.is_sweep_override()}
        words = [
            w for w in point if w.lstrip("+").partition("=")[0] in swept and not str(error).startswith((w, "hydra"))
        ]
        raise RequestError(": ".join([*filter(None, [" ".join(words)]), str(error)])) from error


def parse_overrides(overrides: list[str]) -> list[Override]:
    return [_parse_override(word) for word in overrides]


def given(overrides: Sequence[str]) -> dict[str, Any]:
    """What a person has set: keys and values, without what is swept or deleted. Errors: as `_parse_once`."""
    parsed = [o for o in _parse_once(overrides) if not o.is_sweep_override() and not o.is_delete()]
    return {override.key_or_group: override.value() for override in parsed}


def _parse_once(overrides: Sequence[str]) -> list[Override]:
    """Errors: `RequestError` for a word that does not parse, and for a key that is there twice: one would be lost."""
    words: dict[str, str] = {}
    parsed = parse_overrides(list(overrides))
    for override in parsed:
        key, word = override.key_or_group, override.input_line or ""
        if key in words:
            raise RequestError(f"{key} is there twice: {words[key]} and {word}")
        words[key] = word
    return parsed


def plain_values(overrides: list[str]) -> dict[str, Any]:
    """Keys and values of overrides that each set one value."""
    parsed = parse_overrides(overrides)
    for override in parsed:
        if override.is_sweep_override() or override.is_delete():
            raise RequestError(f"{override.input_line}: one value is needed here, as in key=value")
    return {override.key_or_group: override.value() for override in parsed}


def _parse_override(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        kind = "no such flag" if word.startswith("-") else "no override; write key=value, +key=value or ~key"
        raise RequestError(f"{word}: {kind}") from error


@contextlib.contextmanager
def composer(config_dir: str | None = None) -> Iterator[Any]:
    """`compose_here` with Hydra initialised once, for many points. Composing takes Hydra a third of a second; points that
    differ in the settings that belong to no group alone, such as the seed, share it."""
    named = (config_dir,) if config_dir else ()
    composed: dict[tuple[str, ...], DictConfig] = {}

    def compose(overrides: list[str]) -> DictConfig:
        values = {o.key_or_group: o.value() for o in _parse_once(overrides) if _is_plain_value(o)}
        shared = tuple(word for word in overrides if word.partition("=")[0] not in values)
        if shared not in composed:
            composed[shared] = compose_here(list(shared), named)
        cfg = copy.deepcopy(composed[shared])
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        note_overrides(cfg, overrides)
        return cfg

    with _hydra():
        yield compose


def _is_plain_value(override: Override) -> bool:
    """Whether an override sets one value of a key that belongs to no group."""
    plain = override.type == OverrideType.CHANGE and isinstance(override.value(), (int, float, str, bool, type(None)))
    known = override.key_or_group in top_level_keys() or override.key_or_group == _EXPECTED
    return plain and not override.is_sweep_override() and known


_EXPECTED = "study.signature"
_composed: dict[tuple[str, ...], DictConfig] = {}


class SharingLoader:
    """Hydra's loader of the configs of a sweep's jobs, for points that differ in plain settings alone: each process composes
    them once, as `composer` does."""

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader, self.sweep = loader, uuid.uuid4().hex

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        values = {o.key_or_group: o.value() for o in parse_overrides(sweep_overrides) if _is_plain_value(o)}
        shared = [word for word in sweep_overrides if word.partition("=")[0] not in values]
        key = (self.sweep, *shared)
        if key not in _composed:
            _composed[key] = self.loader.load_sweep_config(master_config, shared)
        cfg = copy.deepcopy(_composed[key])
        with _unlocked(cfg), flag_override(cfg, "readonly", False):
            for name, value in values.items():
                OmegaConf.update(cfg, name, value)
            cfg.hydra.overrides.task = list(sweep_overrides)
        return cfg


# ---- Hydra's own application


def run_hydra(argv: Sequence[str], job: Callable[[DictConfig], Any]) -> None:
    """Hands the command line to Hydra: one job, or a multirun with its sweeper and launcher. Errors: `RequestError` for
    a config that Hydra cannot compose; whatever a job or a launcher raised."""
    register()
    application = hydra_main(config_path=str(packaged("conf")), config_name="config", version_base="1.3")(job)
    before = sys.argv
    sys.argv = ["vae-lab train", *_flags_first(argv)]
    try:
        with _raising():
            application()
    except RequestError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        asked = parse_arguments(argv)
        raise RequestError(_explain(error, asked.overrides, (asked.config_dir,) if asked.config_dir else ())) from error
    finally:
        sys.argv = before


@contextlib.contextmanager
def _raising() -> Iterator[None]:
    """Makes Hydra raise its errors, which it otherwise prints with a traceback before it exits."""
    name, before = "HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR")
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def job_facts() -> tuple[list[str], bool, tuple[str, ...]]:
    """Of the running job: its overrides, whether it is one of several, the folders of options the person named."""
    conf = HydraConfig.get()
    return list(conf.overrides.task), conf.mode == RunMode.MULTIRUN, named_directories(conf)


def named_directories(conf: Any) -> tuple[str, ...]:
    """Of Hydra's own config, the folders of options that the person named."""
    known = {str(directory.absolute()) for directory in option_directories()}
    return tuple(s.path for s in conf.runtime.config_sources if s.schema == "file" and s.path not in known)


def sweeper_facts() -> dict[str, Any]:
    """Of the running job: what its sweeper was told."""
    return _of_sweeper(HydraConfig.get().sweeper)


def take_expected(cfg: DictConfig, overrides: list[str]) -> str | None:
    """Notes a job's overrides in its config, and takes out the signature that a grid expects of it, if it has one."""
    expected = cfg.study.signature
    with _unlocked(cfg):
        cfg.study.signature = None
    note_overrides(cfg, [word for word in overrides if not word.startswith(f"{_EXPECTED}=")])
    return None if expected is None else str(expected)


def chosen_option(group: str, overrides: Sequence[str]) -> str | None:
    """The option of a group that the running job of these overrides chose, also by way of an arm; outside it what they
    say."""
    config = HydraConfig.instance().cfg
    if config is not None and set(overrides) <= set(HydraConfig.get().overrides.task):
        return str(HydraConfig.get().runtime.choices[group])
    return next((word.partition("=")[2] for word in overrides if word.partition("=")[0] == group), None)


def note_overrides(cfg: DictConfig, overrides: list[str]) -> None:
    with _unlocked(cfg):
        cfg.overrides = overrides


# ---- error text


def _explain(error: BaseException, overrides: list[str], named: Sequence[str] = ()) -> str:
    """One line for what Hydra said in several."""
    text = str(error)
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)?'", text):
        group, option = match.group(1), match.group(2) or ""
        return no_such_option(group, option, _known_options(group, text, named))
    unknown = r"Could not override '([^']+)'|Could not delete from config. '([^']+)'|Key '([^']+)' is not in struct"
    if match := re.search(unknown, text):
        return unknown_key(match[match.lastindex or 1], given(overrides), named)
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match.group(1)}: it is there already, and is set without a plus sign, as in {match.group(1)}=VALUE"
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match.group(1)}: several values make a grid, which needs -m (a list is written key=[1,2])"
    if match := re.search(r"Multiple values for (\S+)\.|config groups is not supported: '\++([^=]+)", text):
        group = match.group(1) or match.group(2)
        return f"{group}: choose an option without a plus sign, as in {group}=OPTION"
    return first_line(error)


def _known_options(group: str, text: str, named: Sequence[str]) -> list[str]:
    """The options of a group; those of one of Hydra's own from its error."""
    match = re.search(r"Available options in '[^']+':\n((?:\t.*\n)*)", text)
    return groups(named).get(group) or (match.group(1).split() if match else [])
