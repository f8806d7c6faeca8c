"""Runs without a plan, such as the trials of a search: named by the settings in which they differ, the best first."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vae_lab.report import words
from vae_lab.report.cells import Row
from vae_lab.settings import COSMETIC

_OF_THE_RUN = COSMETIC - {"mitigation"} | {"seed", "hydra"}


def is_of_the_run(key: str) -> bool:
    """Whether a setting, or a group, says nothing of the model."""
    return key.partition(".")[0] in _OF_THE_RUN or key == "dataset.root"


def named(rows: Sequence[Row], objectives: Mapping[str, str]) -> list[Row]:
    """The same rows with an arm, a seed and the settings that vary, sorted by the first of the objectives (by name where
    no setting varies). Runs of one arm are a cell; where a seed comes twice in it, each run is an arm of its own.

    Arguments:
        objectives: a metric to `max` or `min`, whichever is better.
    """
    varied = _varied(rows)
    texts = _texts(varied)
    arms = [
        str(row.result.get("arm") or _at(row.settings, "study.arm") or text)
        for row, text in zip(rows, texts, strict=True)
    ]
    unnamed, found = arms.count(""), []
    for row, settings, arm in zip(rows, varied, arms, strict=True):
        alone = not row.settings or unnamed == 1
        name = arm or (f"run {row.signature[:8]}" if alone else "same settings")
        found.append(replace(row, arm=name, over={"seed": row.settings.get("seed")}, varied=settings))
    count = Counter((row.arm, row.key) for row in found)
    twice = {arm for (arm, _), times in count.items() if times > 1}
    found = [replace(row, arm=f"{row.arm} {row.signature[:8]}") if row.arm in twice else row for row in found]
    by_name = sorted(
        (replace(row, cell=row.arm) for row in found), key=lambda row: (row.arm.partition(" ")[0], row.key)
    )
    return _best_first(by_name, *next(iter(objectives.items()))) if any(varied) else by_name


def _best_first(rows: Sequence[Row], metric: str, better: str) -> list[Row]:
    sign = -1.0 if better == "max" else 1.0
    return sorted(rows, key=lambda row: float("inf") if (value := row.value(metric)) is None else sign * value)


def _varied(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each row the settings that somebody typed and that are not the same in all of them."""
    typed = [dict(_typed(row)) for row in rows]
    found: list[dict[str, Any]] = [{} for _ in rows]
    for key in dict.fromkeys(key for one in typed for key in one):
        given = [one.get(key) for one in typed]
        if None in given:  # in that run it has its default
            given = [_setting(row, key) for row in rows]
        if len({json.dumps(value, default=str) for value in given}) > 1:
            for one, value in zip(found, given, strict=True):
                one[key] = value
    return found


def _typed(row: Row) -> Iterator[tuple[str, Any]]:
    for word in row.settings.get("overrides") or []:
        key, sign, text = str(word).lstrip("+").partition("=")
        if sign and not is_of_the_run(key):
            yield key, _number(text)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _setting(row: Row, key: str) -> Any:
    """A setting as the run has it; a group by the name of its class."""
    found = _at(row.settings, key)
    return str(found.get("_target_", "")).rpartition(".")[2] or None if isinstance(found, Mapping) else found


def _at(settings: Any, key: str) -> Any:
    """The setting of a dotted key, or None."""
    for name in key.split("."):
        settings = settings.get(name) if isinstance(settings, Mapping) else None
    return settings


def _texts(varied: Sequence[Mapping[str, Any]]) -> list[str]:
    """`optimizer.lr=0.001, prior=mixture`, with as many digits as tell one from another."""
    whole = [words.strength(one) for one in varied]
    short = [
        words.strength({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in one.items()})
        for one in varied
    ]
    return short if len(set(short)) == len(set(whole)) else whole
