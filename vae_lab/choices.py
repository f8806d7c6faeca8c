"""What a request chooses: the option of every group, and what set it: the person, a preset, or the primary config."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from vae_lab.errors import RequestError, closest, did_you_mean, listed, nearest
from vae_lab.options import (
    LISTS,
    PRESETS,
    defaults,
    groups,
    keys_of,
    option_content,
    options_saying,
    options_with,
    top_level_keys,
)
from vae_lab.places import option_directories

SEVERAL = (*LISTS, "mitigation")  # groups that take a list of options

Values = Mapping[str, Any]
"""What the words of a request set: keys and values."""


@dataclass(frozen=True)
class Choice:
    """The options of a group that a request has, and the preset that set them, if one did."""

    group: str
    options: tuple[str, ...]
    by: str = ""

    def __str__(self) -> str:
        return written(self.group, self.options) + (f" (set by {self.by})" if self.by else "")


def written(group: str, options: Sequence[str]) -> str:
    """`rate=free_bits`, `regularizer=[mmd,dip]`: as a person types it."""
    return f"{group}={options[0] if len(options) == 1 else '[' + ','.join(options) + ']'}"


def choices(values: Values, named: Sequence[str] = ()) -> dict[str, Choice]:
    """The choice of every group. A person's wins over a preset's, and a later preset's over an earlier one's."""
    primary = {group: Choice(group, _names(option)) for group, option in defaults().items()}
    made = {key: Choice(key, _names(value)) for key, value in values.items() if key in primary}
    for preset in reversed(PRESETS):
        for option in reversed(made.get(preset, primary[preset]).options):
            for choice in _sets(preset, option, named):
                made.setdefault(choice.group, choice)
    return primary | made


def _names(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    return tuple(str(name) for name in names if name is not None)


def _sets(preset: str, option: str, named: Sequence[str]) -> Iterator[Choice]:
    """The groups that a preset sets."""
    for entry in option_content(preset, option, named).get("defaults", []):
        for key, value in entry.items() if isinstance(entry, dict) else ():
            yield Choice(key.removeprefix("override /"), _names(value), f"{preset}={option}")


def setter(key: str, values: Values, named: Sequence[str] = ()) -> str:
    """` (set by mitigation=skip)` for a key that the person did not type and a preset has, or nothing."""
    made = choices(values, named)
    for preset in () if key in values else PRESETS:
        for option in made[preset].options:
            if key in keys_of(option_content(preset, option, named)):
                return f" (set by {preset}={option})"
    return ""


def displaced(values: Values, named: Sequence[str] = ()) -> list[str]:
    """One line for each group that a preset sets and the person sets otherwise."""
    made = choices(values, named)
    set_by_presets = [
        choice
        for preset in ("mitigation", "arm")  # an experiment is there to be changed
        for option in made[preset].options
        for choice in _sets(preset, option, named)
    ]
    return [
        f"{choice.by} sets {written(choice.group, choice.options)}; {made[choice.group]} takes its place"
        for choice in set_by_presets
        if choice.group in values and made[choice.group].options != choice.options
    ]


# ---- what is refused before Hydra sees it


def check_choices(values: Values, named: Sequence[str] = ()) -> None:
    """Refuses what no group takes as a choice of option. (An option that there is not is found by Hydra.)

    Errors: `RequestError`, one line.
    """
    if "arm" in values and not values.get("experiment"):
        raise RequestError(unknown_key("arm", values, named))
    for group in values.keys() & set(groups(named)):
        if isinstance(values[group], list):
            _check_list(group, values[group])
        elif not isinstance(values[group], str) and not (values[group] is None and defaults()[group] is None):
            raise RequestError(_no_name(group, values[group], values, named))
    _check_presets(choices(values, named)["mitigation"], named)


def _check_list(group: str, names: list[Any]) -> None:
    text = written(group, [str(name) for name in names]) if names else f"{group}=[]"
    if group not in SEVERAL:
        raise RequestError(f"{text}: {group} takes one option, not a list")
    if not names:
        nothing = f" ({group}=none for no extra term)" if "none" in groups()[group] else ""
        raise RequestError(f"{text}: choose one of {listed(groups()[group])}{nothing}")
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"{text}: {name} is there twice")
    if len(names) > 1 and "none" in names:
        raise RequestError(f"{text}: none goes with no other option")


def _no_name(group: str, value: Any, values: Values, named: Sequence[str]) -> str:
    """One line for `beta=0.5`, where the name of an option belongs."""
    without = {key: other for key, other in values.items() if key != group}
    option = choices(without, named)[group].options[0]
    keys = list(keys_of(option_content(group, option, named)))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    way = f"; a value is written {group}.{keys[0]}={value}" if number and len(keys) == 1 else ""
    return no_such_option(group, json.dumps(value), groups(named)[group], way)


def _check_presets(chosen: Choice, named: Sequence[str]) -> None:
    """Refuses two presets that set the same group, of which one would be lost."""
    first: dict[str, Choice] = {}
    for choice in (choice for option in chosen.options for choice in _sets(chosen.group, option, named)):
        other = first.setdefault(choice.group, choice)
        if other is not choice:
            both = f"{other.by} and {choice.by} both set {choice.group}"
            raise RequestError(f"{written(chosen.group, chosen.options)}: {both}; choose one of them")


# ---- names that there are not


def no_such_option(group: str, option: str, known: Sequence[str], further: str = "") -> str:
    """One line for an option that there is not; it is looked for in what the options say of themselves too."""
    if option == "null" and "none" in known:
        hint = did_you_mean(["none"])
    else:
        same = [name for name in known if name.lower() == option.lower()]
        hint = did_you_mean(same or options_saying(group, option)) or nearest(option, known)
    return f"{group}={option}: no such option; allowed: {listed(known)}{further}{hint}"


def has_key(key: str, values: Values, named: Sequence[str] = ()) -> bool:
    """Whether a key is there: a setting that belongs to no group, or one of a chosen option."""
    head, _, rest = key.partition(".")
    options = choices(values, named)[head].options if head in choices(values, named) else ()
    return key in top_level_keys() or any(rest in keys_of(option_content(head, name, named)) for name in options)


def unknown_key(key: str, values: Values, named: Sequence[str] = ()) -> str:
    """One line for a key that is not there: what the chosen option has, which other option has it, the nearest name."""
    head, _, rest = key.partition(".")
    if head == "arm":
        return f"{key}: an arm belongs to a study; add experiment=NAME"
    if head == "hydra":
        return _unknown_to_hydra(key, values, named)
    made, known = choices(values, named), groups(named)
    if head in PRESETS and rest:
        return f"{key}: a preset has no keys of its own{did_you_mean(_places(rest, made, named))}"
    if head not in [*known, *top_level_keys()] or not rest:
        hint = _nearest_key(head, [*known, *top_level_keys()], made, named)
        named_ones = [group for group in known if group not in ("arm", "experiment")]  # those a study would add
        return f"{key}: no such key or group; groups: {listed(named_ones)}{hint}"
    if head not in made:
        return f"{key}: no such key"
    return _unknown_setting(made[head], rest, named)


_PLUGINS = {  # the nodes that are options, the deeper first, and what there is of each where none was typed
    "hydra/sweeper/sampler": "tpe",
    "hydra/sweeper/pruner": "none",
    "hydra/sweeper": "basic",
    "hydra/launcher": "basic",
}


def _unknown_to_hydra(key: str, values: Values, named: Sequence[str]) -> str:
    """One line for a key of Hydra's own: which launcher or sweeper has it, or the nearest that the chosen one has."""
    hint = ""
    for group, usual in _PLUGINS.items():
        place = group.replace("/", ".") + "."
        if not key.startswith(place):
            continue
        chosen, rest = str(values.get(group, usual)), key.removeprefix(place)
        known = {option: list(keys_of(option_content(group, option, named))) for option in _stored(group, named)}
        having = [option for option, keys in known.items() if rest in keys]
        if chosen in having:  # its sampler or pruner is there, and the sweeper is not
            return f"{key}: no such key; it belongs to hydra/sweeper=optuna"
        if having:
            return f"{key}: {group}={chosen} has no such key; it belongs to {group}={' or '.join(having)}"
        found = closest(rest, known.get(chosen) or [name for keys in known.values() for name in keys])
        hint = did_you_mean([f"{place}{found}"] if found else [])
        break
    return f"{key}: Hydra has no such key; vae-lab train --cfg hydra shows those it has{hint}"


def _stored(group: str, named: Sequence[str]) -> list[str]:
    """The options of one of Hydra's own groups: ours, and those that its plugins have stored."""
    files = [file.stem for directory in option_directories(named) for file in directory.glob(f"{group}/*.yaml")]
    with contextlib.suppress(OSError):
        files += [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group) if name.endswith(".yaml")]
    return sorted(set(files))


def _unknown_setting(chosen: Choice, rest: str, named: Sequence[str]) -> str:
    group, (part, _, nested) = chosen.group, rest.partition(".")
    keys = [key for option in chosen.options for key in keys_of(option_content(group, option, named))]
    of_part = [key.removeprefix(f"{part}.") for key in keys if key.startswith(f"{part}.")]
    if nested and of_part:
        return no_such_key(f"{group}.{rest}", f"{group}.{part}", of_part, nested)
    others = [option for option in options_with(group, part) if option not in chosen.options]
    if others:
        return f"{group}.{rest}: {chosen} has no such key; it belongs to {group}={' or '.join(others)}"
    return no_such_key(f"{group}.{rest}", str(chosen), keys, rest)


def no_such_key(key: str, where: str, known: Sequence[str], name: str) -> str:
    """One line that says what there is instead."""
    shown = listed(known) if len(known) < 15 else f"{len(known)} keys"
    return f"{key}: no such key; {where} has {shown or 'none'}{nearest(name, known)}"


def _nearest_key(word: str, top: Sequence[str], made: Mapping[str, Choice], named: Sequence[str]) -> str:
    """The nearest of the names at the top and of the last parts of all keys below."""
    below = {key.rpartition(".")[2] for key in _all_keys(_every(named), named)}
    found = closest(word, [*top, *sorted(below)], 0.7) or closest(word, top)
    return did_you_mean([found] if found in top else _places(found, made, named)) if found else ""


def _places(word: str, made: Mapping[str, Choice], named: Sequence[str]) -> list[str]:
    """The keys that end in a word: of the chosen options or, where these have none, of all."""
    for chosen in ({group: choice.options for group, choice in made.items()}, _every(named)):
        found = [key for key in _all_keys(chosen, named) if key.rpartition(".")[2].lower() == word.lower()]
        if found:
            return list(dict.fromkeys(found))
    return []


def _every(named: Sequence[str]) -> dict[str, list[str]]:
    return {group: options for group, options in groups(named).items() if group in defaults()}


def _all_keys(chosen: Mapping[str, Sequence[str]], named: Sequence[str]) -> Iterator[str]:
    for group, options in chosen.items():
        for option in () if group in PRESETS else options:
            yield from (f"{group}.{key}" for key in keys_of(option_content(group, option, named)))
