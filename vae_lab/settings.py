"""The types of settings: a class annotates its arguments with these, and every start checks a config against them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len, MinLen


@dataclass(frozen=True)
class Says:
    """What a number of a type counts, for the texts that are made of its schema. (pydantic looks for this method, and need
    not be imported for it.)"""

    text: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "description": self.text}


Count = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Draws = Annotated[int, Interval(ge=1, le=10_000_000)]  # of each example: ten million take days
Generated = Annotated[int, Interval(ge=1, le=100_000_000)]  # examples, all of which are made at the start
Layers = Annotated[int, Interval(ge=1, le=1000)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Momentum = Annotated[float, Interval(ge=0, lt=1)]
Filled = Annotated[str, MinLen(1)]
Betas = Annotated[list[Momentum], Len(2, 2)]  # of an Adam
ProperFraction = Annotated[float, Interval(ge=0, lt=1)]
Widths = Annotated[list[Count], MinLen(1)]
Activation = Literal["relu", "tanh", "elu", "silu", "gelu", "softplus"]

_Whole = Says("a whole number of updates")
_Part = Says("a fraction of the run")
Updates = Annotated[int, Ge(1), _Whole] | Annotated[float, Interval(gt=0, le=1), _Part]
Span = Annotated[int, Ge(0), _Whole] | Annotated[float, Interval(ge=0, le=1), _Part]  # one that may be empty
"""A span of training: an int counts updates, a float is a fraction of the run, as in Lightning's `limit_train_batches`."""


COSMETIC = frozenset(
    [
        "study",
        "arm",
        "experiment",
        "mitigation",
        "runs_dir",
        "logger",
        "evaluation",
        "rerun",
        "fail_fast",
        "optimized_metric",
        "overrides",
        "spec",
    ]
)
"""Keys that change no number of a trained model."""


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key.

    Example:
        >>> flatten({"rate": {"nats": 0.1}, "seed": 0})
        {'rate.nats': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:  # what JSON and YAML make; asking for a Mapping takes ten times as long
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
