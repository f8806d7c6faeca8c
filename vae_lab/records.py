"""The shapes of the files of runs and studies: what a reader may count on. Keys beyond them are free, and what an older
version did not write may be missing."""

import json
import re
from typing import Annotated, Any, Literal, Required, TypedDict

from vae_lab.shapes import LARGEST, Bound

Number = float | None
"""A figure; null where there is none."""

Count = Annotated[int, Bound("a whole number, at least 0", lambda count: count >= 0)]
Name = Annotated[str, Bound("the name of a folder", re.compile(r"(?!\.)[\w.+-]+").fullmatch)]
"""The name of a run: no way out of the folder that holds it."""


class Details(TypedDict, total=False):
    """A split's lists."""

    rate_per_dimension: list[Number] | None  # none where the rate does not split over latents
    variances: list[Number]
    examples: Count | None


class Evaluation(TypedDict, total=False):
    """The evaluation that made the metrics."""

    hash: str | None
    settings: dict[str, Any] | None


class Result(TypedDict, total=False):
    """`result.json` of a run."""

    signature: Required[str]
    status: Required[Literal["completed", "failed"]]
    study: str | None
    arm: str | None
    error: str | None
    metrics: Required[dict[str, Number]]
    details: dict[str, Details] | None
    evaluation: Required[Evaluation]
    settings: Required[dict[str, Any]]
    environment: dict[str, Any] | None
    timing: Required[dict[str, Number]]


class Used(TypedDict, total=False):
    """`uses/NAME.json` of a run."""

    options: dict[str, Any] | None
    numbers: Required[dict[str, Any]]
    files: list[str] | None


class Figure(TypedDict, total=False):
    """A figure that somebody published or predicted, beside which the study's own is shown."""

    arm: str | None
    cell: str | None
    metric: Required[str]
    value: Required[Number]
    spread: Number
    unit: str | None
    source: str | None
    note: str | None


class Facts(TypedDict, total=False):
    """The block `study` of a `study.yaml`."""

    name: str | None
    question: str | None
    reference: str | None
    controls: list[str] | None
    published: list[Figure] | None
    predicted: list[Figure] | None
    budget: dict[str, Any] | None
    select: str | None
    primary: Literal["rate", "likelihood"] | None


class Cell(TypedDict, total=False):
    """One cell of a plan, and its run."""

    arm: Required[str]
    cell: str | None
    strength: dict[str, Any] | None
    over: dict[str, Any] | None
    signature: Required[Name]


class Launch(TypedDict, total=False):
    """What one launch of a study asked for."""

    command: str | list[str] | None
    cells: list[Cell]


class Plan(Launch, total=False):
    """`plan.json` of a study: its last launch, and those before it that asked for something else."""

    study: Facts | None
    others: list[Launch] | None


class Search(TypedDict, total=False):
    """`search.json` of a search."""

    name: str | None
    objectives: dict[str, Literal["max", "min"]] | None
    trials: Count | None
    command: str | list[str] | None
    storage: str | None


def loads(text: str) -> Any:
    """Returns the content of a JSON text, with null for a number that is none. Errors: `ValueError`, also for a whole number
    of more digits than a float has."""
    return json.loads(text, parse_int=_whole, parse_constant=lambda _: None)


def _whole(text: str) -> int:
    if len(text) > LARGEST:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)
