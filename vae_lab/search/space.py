"""The space of a search, as Hydra's own sweep syntax has it: `a,b`, `choice(a,b)`, `range(...)`, `interval(...)`."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import HydraException

from vae_lab.arguments import parse_overrides
from vae_lab.errors import RequestError, first_line, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Dimension:
    """One setting that is left open.

    Attributes:
        key: with its plus sign, if it has one. written: the whole word.
        texts: its values as they are written, of a choice or a range, or the two ends of an interval.
        values: the same as numbers, of a range or an interval; None for a choice.
        continuous: an interval; log: drawn on a logarithmic scale.
    """

    key: str
    written: str
    texts: tuple[str, ...]
    values: tuple[float, ...] | None = None
    continuous: bool = False
    log: bool = False

    def distribution(self) -> "BaseDistribution":
        """As Optuna has it. Both ends of an interval belong to it, as they do there."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values is None:
            return CategoricalDistribution(self.texts)
        low, high = min(self.values), max(self.values)
        steps = 0 if self.continuous else len(self.values) - 1
        step = (high - low) / steps if steps else 1
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, self.log, round(step) if steps else 1)
        if self.continuous:
            return FloatDistribution(low, high, self.log)
        # to twelve digits, since a sum of tenths is none of them, and Optuna leaves out an end that no step comes to
        low, high, step = (float(f"{number:.12g}") for number in (low, high, step))
        return FloatDistribution(low, high, step=step)

    def word(self, value: Any) -> str:
        """The override that sets a value which Optuna chose."""
        if self.values is None or self.continuous:
            return f"{self.key}={value}"
        index = min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))  # type: ignore[index]
        return f"{self.key}={self.texts[index]}"


def split(overrides: Iterable[str]) -> tuple[list[str], list[Dimension]]:
    """The words of a request that set one value, without Hydra's own, and the dimensions that the others leave open.

    Errors: `RequestError` for a sweep that is none.
    """
    own = [o for o in parse_overrides(list(overrides)) if not o.key_or_group.startswith("hydra")]
    fixed = [o.input_line or "" for o in own if not o.is_sweep_override()]
    return fixed, [_dimension(o) for o in own if o.is_sweep_override()]


def corners(overrides: list[str]) -> list[list[str]]:
    """Points by which a space is checked: each choice and each end of every dimension, the others at their first.

    Errors: `RequestError` where there is nothing to choose.
    """
    fixed, space = split(overrides)
    if not space:
        raise RequestError("hydra/sweeper=optuna: a search needs something to choose, as in latent_dim=4,8,16")
    first = {dimension.key: dimension.texts[0] for dimension in space}
    points = [first]
    for dimension in space:
        others = dimension.texts[1:] if dimension.values is None else dimension.texts[-1:]
        points += [first | {dimension.key: text} for text in others if text != dimension.texts[0]]
    return [[*fixed, *(f"{key}={text}" for key, text in point.items())] for point in points]


def _dimension(override: Override) -> Dimension:
    written, sweep = str(override.input_line), override.value()
    key, tags = override.get_key_element(), sweep.tags if isinstance(sweep, Sweep) else set()
    log = "log" in tags
    for tag in tags - {"log"}:
        raise RequestError(f"{written}: {tag}: no such tag; allowed: log{nearest(tag, ['log'])}")
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None
        assert sweep.end is not None
        ends = (sweep.start, sweep.end)
        if ends[0] >= ends[1]:
            raise RequestError(f"{written}: an interval goes from the lesser end to the greater")
        if log and ends[0] <= 0:
            raise RequestError(f"{written}: a logarithmic scale begins above 0")
        return Dimension(key, written, (str(ends[0]), str(ends[1])), ends, continuous=True, log=log)
    if isinstance(sweep, (ChoiceSweep, RangeSweep)):
        sweep.shuffle = False  # the order is the sampler's, and a resumed search must find the same values
    try:
        texts = tuple(dict.fromkeys(override.sweep_string_iterator()))
    except HydraException as error:
        raise RequestError(f"{written}: {first_line(error)}") from error
    if not texts:
        raise RequestError(f"{written}: no values")
    if isinstance(sweep, RangeSweep):
        numbers = tuple(int(text) if text.lstrip("-").isdigit() else float(text) for text in texts)
        if log and (not isinstance(numbers[0], int) or any(abs(b - a) != 1 for a, b in pairwise(numbers))):
            raise RequestError(f"{written}: on a logarithmic scale a range has whole numbers and steps of 1")
        return Dimension(key, written, texts, numbers, log=log)
    if log:
        raise RequestError(f"{written}: log is for an interval or a range; a choice has no scale")
    return Dimension(key, written, texts)
