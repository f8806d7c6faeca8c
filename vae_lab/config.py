"""Composing a config. What depends on Hydra's version is in this file and in `arguments`."""

import contextlib
import copy
import functools
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra import main as hydra_main
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from vae_lab.arguments import flags_first, given, parse, parse_once, parse_overrides
from vae_lab.choices import check_choices, has_key, no_such_option, unknown_key
from vae_lab.errors import RequestError, first_line
from vae_lab.options import check_readable, folders, groups, top_level_keys
from vae_lab.places import option_directories, packaged, plugin_directories
from vae_lab.quoting import for_the_shell

_COMPOSING = (HydraException, OmegaConfBaseException, ValueError, YAMLError)


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
    parse_once(overrides)
    path = [f"hydra.searchpath=[{','.join(f'file://{Path(folder).absolute()}' for folder in named)}]"] if named else []
    try:
        return hydra_compose("config", [*overrides, *path], **how)
    except (*_COMPOSING, TypeError, IndexError) as error:  # some of Hydra's are ValueErrors
        _refuse_items(overrides, error)
        check_readable(given(overrides), named)
        raise RequestError(_explain(error, overrides, named)) from error


def _refuse_items(overrides: list[str], error: Exception) -> None:
    """Refuses a word for one item of a list, where Hydra could do nothing with it. Errors: `RequestError`."""
    said = f"{error} {error.__cause__} {error.__context__}"
    into_list = isinstance(error, TypeError) or re.search(r"list index|list indices|literal for int\(\)", said)
    for word in overrides if into_list else ():
        key = word.lstrip("+~").partition("=")[0]
        parent, _, item = key.rpartition(".")
        if parent and (re.fullmatch(r"-?\d+", item) or f"10: '{item}'" in said):
            raise RequestError(f"{key}: a list is set as a whole, as in {parent}=[1,2]") from error


def sweeper_settings(overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """What the sweeper will be told at these overrides."""
    with _hydra():
        composed = _compose(overrides, folders(config_dir), return_hydra_config=True)
    return _of_plugin(composed.hydra.sweeper)


def launcher_settings(overrides: list[str], config_dir: str | None) -> tuple[str, dict[str, Any]]:
    """The class of the launcher at these overrides, and what it will be told, which it has looked at itself.

    Errors: `RequestError`, one line.
    """
    with _hydra():
        composed = _compose(overrides, folders(config_dir), return_hydra_config=True)
        context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks())
        try:
            Plugins.instance().instantiate_launcher(context, lambda _: None, composed)
        except RequestError:
            raise
        except Exception as error:  # each launcher has its own
            raise RequestError(f"hydra/launcher: {' '.join(str(error).split())}") from error
        return str(composed.hydra.launcher._target_), _of_plugin(composed.hydra.launcher)


def _of_plugin(node: Any) -> dict[str, Any]:
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


# ---- many points


@contextlib.contextmanager
def composer(config_dir: str | None = None) -> Iterator[Any]:
    """`compose_here` with Hydra initialised once, for many points. Composing takes Hydra a third of a second; points that
    differ in the settings that belong to no group alone, such as the seed, share it."""
    named = folders(config_dir)

    @functools.lru_cache(maxsize=_KEPT)
    def composed(*shared: str) -> DictConfig:
        return compose_here(list(shared), named)

    def compose(overrides: list[str]) -> DictConfig:
        values = {o.key_or_group: o.value() for o in parse_once(overrides) if _is_plain_value(o)}
        cfg = copy.deepcopy(composed(*(word for word in overrides if word.partition("=")[0] not in values)))
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


_EXPECTED, _VARYING = "study.signature", "study.varying"
_KEPT = 64  # composed configs: the points of a search share none, and thousands would be a gigabyte
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
            if len(_composed) >= _KEPT:
                _composed.clear()
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
    sys.argv = ["vae-lab train", *flags_first(argv)]
    try:
        with _raising():
            application()
    except RequestError:
        raise
    except _COMPOSING as error:
        asked = parse(argv)
        raise RequestError(_explain(error, asked.overrides, folders(asked.config_dir))) from error
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
    return _of_plugin(HydraConfig.get().sweeper)


def take_expected(cfg: DictConfig, overrides: list[str]) -> tuple[str | None, tuple[str, ...]]:
    """Notes a job's overrides in its config, and takes out what a grid has added: the signature that it expects of the job,
    and the keys that differ within it."""
    expected, varying = cfg.study.signature, cfg.study.get("varying") or ()
    with _unlocked(cfg):
        cfg.study.signature = None
        cfg.study.pop("varying", None)
    note_overrides(cfg, [word for word in overrides if not word.startswith((f"{_EXPECTED}=", f"+{_VARYING}="))])
    return None if expected is None else str(expected), tuple(varying)


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
    if match := re.search(r"Error merging override \+*(\S+)", text):
        return _mistyped(match[1], error.__cause__ or error)
    unknown = r"Could not override '([^']+)'|Could not delete from config. '([^']+)'|Key '([^']+)' is not in struct"
    if match := re.search(unknown, text):
        if match[2] and has_key(match[2], given(overrides), named):  # whose value is null
            return f"{match[2]}: there is no value to take out; leave out ~{match[2]}"
        return unknown_key(match[match.lastindex or 1], given(overrides), named)
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match.group(1)}: it is there already, and is set without a plus sign, as in {match.group(1)}=VALUE"
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match.group(1)}: several values make a grid, which needs -m (a list is written key=[1,2]{_one_text(match.group(1))})"
    if match := re.search(r"Multiple values for (\S+)\.|config groups is not supported: '\++([^=]+)", text):
        group = match.group(1) or match.group(2)
        return f"{group}: choose an option without a plus sign, as in {group}=OPTION"
    return first_line(error)


def _one_text(word: str) -> str:
    """How a text with a comma is typed, which nobody means in a number."""
    key, _, value = word.partition("=")
    return f", one text {for_the_shell(key, value)}" if re.search("[./ ]", value) else ""


_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def _mistyped(word: str, cause: BaseException) -> str:
    """One line for a value of another type than Hydra's own config declares."""
    key, _, value = word.partition("=")
    kind = re.search(r"could not be converted to (\w+)", str(cause))
    return f"{key}: {value!r} given; must be {_KINDS.get(kind[1], kind[1])}" if kind else f"{word}: {first_line(cause)}"


def _known_options(group: str, text: str, named: Sequence[str]) -> list[str]:
    """The options of a group; those of one of Hydra's own from its error."""
    match = re.search(r"Available options in '[^']+':\n((?:\t.*\n)*)", text)
    return groups(named).get(group) or (match.group(1).split() if match else [])
