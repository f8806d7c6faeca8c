"""The types of settings: a class annotates its arguments with these, and every start checks a config against them."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MinLen

Count = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Momentum = Annotated[float, Interval(ge=0, lt=1)]
ProperFraction = Annotated[float, Interval(ge=0, lt=1)]
Widths = Annotated[list[Count], MinLen(1)]
Activation = Literal["relu", "tanh", "elu", "silu", "gelu", "softplus"]

Updates = Annotated[int, Ge(1)] | Annotated[float, Interval(gt=0, le=1)]
Span = Annotated[int, Ge(0)] | Annotated[float, Interval(ge=0, le=1)]  # one that may be empty
"""A span of training: an int counts updates, a float is a fraction of the run, as in Lightning's `limit_train_batches`."""
