"""The words of a command line, before any config is composed of them: what is parsed, swept, and meant for Hydra itself."""

import argparse
import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep
from hydra.errors import HydraException

from vae_lab.errors import RequestError, first_line, listed, nearest
from vae_lab.options import folders, groups
from vae_lab.quoting import advice, literal


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own command line: `.overrides` (as Hydra reads them: see `quoting`), `.multirun`, `.config_dir`, `.help`, `.cfg`
    and the rest."""
    asked = _parse_flags(argv)
    named = folders(asked.config_dir)
    asked.overrides = [spread(readable(word), groups(named)) for word in asked.overrides]
    return asked


def readable(word: str) -> str:
    """A word as Hydra reads it."""
    return literal(word, _parses)


def _parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    asked = parser.parse_intermixed_args(list(argv))
    if asked.config_dir:
        asked.config_dir = os.path.expanduser(asked.config_dir)
    if asked.config_dir and not Path(asked.config_dir).is_dir():
        raise RequestError(f"--config-dir: {asked.config_dir} is no folder")
    return asked


def flags_first(argv: Sequence[str]) -> list[str]:
    """The same arguments in the order that Hydra needs: it stops at an override between two flags."""
    overrides = _parse_flags(argv).overrides
    return [*(word for word in argv if word not in overrides), *parse(argv).overrides]


def spread(word: str, options: Mapping[str, Sequence[str]]) -> str:
    """`prior=glob(*)` with the options that it stands for, as in `prior=mixture,normal`; any other word as it is."""
    if "glob(" not in word or not _parses(word):
        return word
    override = _parse_override(word)
    pattern, group = override.value(), override.key_or_group
    if not isinstance(pattern, Glob) or group == "arm" not in options:  # a study says later which arms there are
        return word
    if group not in options:
        raise RequestError(f"{word}: glob chooses among the options of a group, and {group} is none")
    names = pattern.filter(list(options[group]))
    if not names:
        raise RequestError(f"{word}: no option fits; there are {listed(options[group])}")
    return f"{override.get_key_element()}={','.join(names)}"


def _refuse_flag(message: str) -> NoReturn:
    flags = [
        "--multirun",
        "--config-dir",
        "--cfg",
        "--info",
        "--help",
        "--hydra-help",
        "--dry-run",
        "--retry-failed",
        "--time",
    ]
    word = message.rpartition(" ")[2]
    if word == "--dry-run":
        raise RequestError("--dry-run: belongs to vae-lab study; vae-lab check, with -m too, runs nothing")
    if word.partition("=")[0] == "--time":
        raise RequestError(f"{word}: --time belongs to vae-lab check, and takes no value")
    hint = nearest(word, flags)
    raise RequestError(f"{message}{hint}; vae-lab --help and vae-lab train --hydra-help list what there is")


_SWEEPER_ADVICE = "how many runs go side by side is the launcher's, and a search is hydra/sweeper=optuna"


def expand(overrides: list[str]) -> list[list[str]]:
    """The points of a grid, each a list of overrides without a sweep, in the order of Hydra's own sweeper."""
    hydra = hydra_words(overrides)
    for word in hydra:
        if word.lstrip("+~").startswith("hydra.sweeper."):
            raise RequestError(f"{word}: the sweeper of a grid has no settings; {_SWEEPER_ADVICE}")
    own = parse_once(own_words(overrides))
    _check_size(own)
    try:
        batches = BasicSweeper.split_arguments(own, None)
    except HydraException as error:
        raise RequestError(f"{first_line(error)}; a list of values is key=1,2,3, a range key=range(1,4)") from error
    points = dict.fromkeys(tuple(point) for batch in batches for point in batch)  # 0.3,0.30 is one point
    return [hydra + list(point) for point in points]


MOST = 100_000
"""Points of a grid: each is composed and checked before the first one starts."""


def _check_size(overrides: list[Override]) -> None:
    """Refuses a grid with more points than could be checked, before they are listed."""
    sizes = [_size(override.value()) for override in overrides]
    if math.prod(sizes) > MOST:
        swept = " times ".join(f"{size:,}" for size in sizes if size > 1)
        raise RequestError(f"a grid of {swept} points given; {MOST:,} points are allowed at most")


def _size(value: Any) -> int:
    """Values of a sweep; 1 for what is none, or names its values only later."""
    if isinstance(value, RangeSweep):
        return len(value.range())  # type: ignore[arg-type]  # a list or a Python range: see `ExactRange`
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def hydra_words(overrides: Sequence[str]) -> list[str]:
    """The words that are for Hydra itself."""
    return [o.input_line or "" for o in parse_overrides(list(overrides)) if o.key_or_group.startswith("hydra")]


def own_words(overrides: Sequence[str]) -> list[str]:
    """The other ones."""
    hydra = hydra_words(overrides)
    return [word for word in overrides if word not in hydra]


def is_search(overrides: list[str]) -> bool:
    """Whether the points of a multirun are chosen as it goes (`hydra/sweeper=...`); Hydra's own sweeper knows them all."""
    return any(o.key_or_group == "hydra/sweeper" and o.value() != "basic" for o in parse_overrides(overrides))


def launcher_chosen(overrides: list[str]) -> list[str]:
    """The words for a study; where they set something of the launcher and choose none, with the one that it takes."""
    told = any(word.lstrip("+~").startswith("hydra.launcher.") for word in overrides)
    chosen = any(word.startswith("hydra/launcher") for word in overrides)
    return ["hydra/launcher=joblib", *overrides] if told and not chosen else overrides


def varying(overrides: Sequence[str]) -> tuple[str, ...]:
    """The keys that a grid sweeps, without those that every line names anyway."""
    swept = [o.key_or_group for o in parse_overrides(list(overrides)) if o.is_sweep_override()]
    return tuple(key for key in swept if key not in ("arm", "seed") and not key.startswith("hydra"))


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
    """What a person has set: keys and values, without what is swept or deleted. Errors: as `parse_once`."""
    parsed = [o for o in parse_once(overrides) if not o.is_sweep_override() and not o.is_delete()]
    return {override.key_or_group: override.value() for override in parsed}


def parse_once(overrides: Sequence[str]) -> list[Override]:
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
    """Keys and values of overrides that each set one value. Errors: as `parse_once`."""
    parsed = parse_once(overrides)
    for override in parsed:
        if override.is_sweep_override() or override.is_delete():
            raise RequestError(f"{override.input_line}: one value is needed here, as in key=value")
    return {override.key_or_group: override.value() for override in parsed}


class ExactRange(RangeSweep):
    """A range of floats that gives the numbers a person would write: start + i * step in decimals. Sums of binary
    fractions miss them, each start in its own way: 0.1 + 2 * 0.1 is 0.30000000000000004."""

    def range(self) -> list[float]:  # type: ignore[override]
        start, step = Decimal(repr(self.start)), Decimal(repr(self.step))
        # to fifteen digits, which every float keeps: `sort` has added to the ends as floats already
        return [float(f"{start + i * step:.15g}") for i in range(_steps(self))]


def _steps(numbers: RangeSweep) -> int:
    """How many numbers a range has: those before its end, by decimals; an end that rounding alone has moved is one."""
    start, stop, step = (Decimal(repr(end)) for end in (numbers.start, numbers.stop, numbers.step))
    return max(0, math.ceil((stop - start) / step - Decimal("1e-9")))


def _exact(word: str, numbers: RangeSweep) -> RangeSweep:
    """The same range, in decimals if it is one of floats. Errors: `RequestError` for one without values, or without end."""
    ends = (numbers.start, numbers.stop, numbers.step)
    if not all(math.isfinite(float(end)) for end in ends) or not numbers.step:  # type: ignore[arg-type]
        raise RequestError(f"{word}: a range has finite ends and a step that is not 0, as in range(0,1,0.1)")
    count = _steps(numbers)
    if not 0 < count <= MOST:
        raise RequestError(f"{word}: {f'more than {MOST:,} values' if count else 'no values'}")
    whole = all(isinstance(end, int) for end in ends)
    return numbers if whole else ExactRange(numbers.tags, *ends, numbers.shuffle)


def _parses(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException as error:
        return "while evaluating" in str(error)  # it was read, and its call makes no sense
    return True


def _parse_override(word: str) -> Override:
    if word.lstrip("+~").startswith("=") or not word.strip("+~"):
        raise RequestError(f"{word}: {advice(word, _parses)}")
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        kind = "no such flag" if word.startswith("-") else advice(word, _parses)
        if match := re.search(r"while evaluating '(.+)': (.+)", str(error)):
            ends = "; an interval has two ends, as in interval(1e-4,1e-2)" if "interval(" in match[1] else ""
            kind = f"{match[2]}{ends}"
        raise RequestError(f"{word}: {kind}") from error
    if isinstance(override._value, RangeSweep):
        override._value = _exact(word, override._value)
    return override
