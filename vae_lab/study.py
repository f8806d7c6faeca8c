"""A study's file: its question, its arms (a union of grids), and the one Hydra multirun that they expand to."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf._utils import get_yaml_loader

from vae_lab.arguments import spread
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.metrics import better
from vae_lab.options import folders, groups
from vae_lab.places import packaged
from vae_lab.quoting import quoted
from vae_lab.records import Facts
from vae_lab.shapes import mistake
from vae_lab.stranger import check_content
from vae_lab.yaml_text import BadYaml, parse_yaml, read_yaml

_KEYS = {"study", "arms", "over"}
_STUDY_KEYS = {"name", "question", "reference", "controls", "published", "predicted", "budget", "select", "primary"}


@dataclass(frozen=True)
class Point:
    """One point of an arm: `free_bits` at `rate.nats=0.1`. Its name is its option in the group `arm`."""

    arm: str
    name: str
    settings: dict[str, Any]
    strength: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A `study.yaml`: a composition, its arms (a union of grids) and what is crossed over all of them."""

    file: Path
    content: dict[str, Any]
    points: list[Point] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.file.parent.name

    @property
    def over(self) -> dict[str, list[Any]]:
        return {key: value if isinstance(value, list) else [value] for key, value in self.content["over"].items()}

    def command(self, overrides: list[str]) -> list[str]:
        """The arguments of `vae-lab train` that this study stands for; what a person overrides replaces `over`."""
        arms = {"arm": [point.name for point in self.points]}
        overrides = [spread(word, arms) if word.startswith("arm=") else word for word in overrides]
        given = {word.partition("=")[0] for word in overrides}
        words = [f"experiment={self.name}"]
        if "arm" not in given:
            words.append("arm=" + ",".join(point.name for point in self.points))
        words += [f"{key}={','.join(map(_word, values))}" for key, values in self.over.items() if key not in given]
        return [*words, *overrides]


def study_directories() -> list[Path]:
    """Where studies are looked for: `experiments/` of the working directory, then those that ship with the lab."""
    here = Path("experiments")
    return [*([here] if here.is_dir() else []), packaged("experiments")]


def find_studies() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for directory in study_directories():
        for file in sorted(directory.glob("*/study.yaml")):
            found.setdefault(file.parent.name, file)
    return found


def read_study(name: str, config_dir: str | None = None) -> Study:
    """The study of that name. Errors: `RequestError` if there is none, or its file is not one."""
    known = find_studies()
    if name not in known:
        raise RequestError(f"{name}: no such study; there are {listed(known) or 'none'}{nearest(name, known)}")
    file = known[name]
    try:
        content = read_yaml(
            file, get_yaml_loader()
        )  # as Hydra's files: 1e-3 is a number, which plain YAML takes for text
    except BadYaml as error:
        raise RequestError(f"{file}: {error}") from error
    known_groups = groups(folders(config_dir))
    _check(file, content)
    check_content(file, content, known_groups)
    points = [point for arm, grid in content["arms"].items() for point in _points(arm, grid or {})]
    _check_names(file, points)
    for point in points:
        _check_point(file, point, known_groups)
    return Study(file, content, points)


def _check_names(file: Path, points: list[Point]) -> None:
    """Refuses two points of one name: the first would be lost."""
    arms: dict[str, str] = {}
    settings: dict[str, dict[str, Any]] = {}
    for point in points:
        if settings.setdefault(point.name, dict(point.settings)) != point.settings:
            both = f"arms {arms[point.name]} and {point.arm}" if arms[point.name] != point.arm else f"arm {point.arm}"
            raise RequestError(f"{file}: {both}: two points have the name {point.name}; name the arm otherwise")
        arms[point.name] = point.arm


def _check(file: Path, content: Any) -> None:
    missing = _KEYS - set(content) if isinstance(content, dict) else _KEYS
    if missing:
        raise RequestError(f"{file}: a study needs the keys {listed(_KEYS)}; it has no {listed(missing)}")
    _check_shape(file, content)
    study = content["study"]
    if study.get("name") != file.parent.name:
        raise RequestError(
            f"{file}: study.name is {study.get('name')!r}, its folder {file.parent.name!r}; they must agree"
        )
    for key in study:
        if key not in _STUDY_KEYS:
            raise RequestError(
                f"{file}: study.{key}: no such key; allowed: {listed(_STUDY_KEYS)}{nearest(str(key), _STUDY_KEYS)}"
            )
    if wrong := mistake(study, Facts, "study"):
        raise RequestError(f"{file}: {wrong}")
    if study.get("select") is not None:
        _check_select(file, study["select"])
    for key in (study.get("reference"), *(study.get("controls") or [])):
        if key is not None and key not in content["arms"]:
            raise RequestError(
                f"{file}: {key} is no arm; arms: {listed(content['arms'])}{nearest(key, content['arms'])}"
            )
    for arm, grid in content["arms"].items():
        for key in (grid or {}).keys() & content["over"].keys():
            raise RequestError(
                f"{file}: arms.{arm}: {key}: not to be set here: it is crossed over all arms (over), which would overrule it"
            )


def _check_select(file: Path, metric: str) -> None:
    if metric.startswith("test/"):
        instead = f"val/{metric.removeprefix('test/')}"
        raise RequestError(
            f"{file}: study.select: {metric} given; an arm's strength is never chosen on test (did you mean {instead!r}?)"
        )
    try:
        better(metric)
    except RequestError as error:
        raise RequestError(f"{file}: study.select: {error}") from error


def _check_shape(file: Path, content: dict[str, Any]) -> None:
    """Refuses what is no grid of named arms."""
    for key in ("study", "arms", "over"):
        if not isinstance(content[key], dict) or (key == "arms" and not content[key]):
            raise RequestError(f"{file}: {key}: {content[key]!r} given; must be keys with values")
    for arm, grid in content["arms"].items():
        if not re.fullmatch(r"\w[\w.-]*", str(arm)):
            raise RequestError(f"{file}: arms.{arm}: an arm is named by letters, digits, _, - and .")
        if not isinstance(parse_yaml(str(arm), get_yaml_loader()), str):
            raise RequestError(f"{file}: arms.{arm}: reads as no name but a value; name it otherwise, as in arm_{arm}")
        if not isinstance(grid, dict | None):
            raise RequestError(f"{file}: arms.{arm}: {grid!r} given; must be keys with values")
    for place, grid in {
        "over": content["over"],
        **{f"arms.{arm}": grid for arm, grid in content["arms"].items()},
    }.items():
        for key, values in (grid or {}).items():
            if values == []:
                raise RequestError(f"{file}: {place}: {key}: an empty list given; it would leave no runs")


def _points(arm: str, grid: Mapping[str, Any]) -> Iterator[Point]:
    """The product of an arm's own lists."""
    lists = {key: value for key, value in grid.items() if isinstance(value, list)}
    for values in itertools.product(*lists.values()):
        strength = dict(zip(lists, values, strict=True))
        name = "-".join([str(arm), *(re.sub(r"[^\w.+-]+", "_", str(value)).strip("_") for value in values)])
        yield Point(arm, name, {**grid, **strength}, strength)


def _word(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./:+-]+", value) else quoted(value)
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    return json.dumps(value, separators=(",", ":"))


def _check_point(file: Path, point: Point, known: dict[str, list[str]]) -> None:
    for key, value in point.settings.items():
        if "." not in key and key in known and value not in known[key]:
            hint = nearest(str(value), known[key])
            raise RequestError(
                f"{file}: arms.{point.arm}: {key}={value}: no such option; allowed: {listed(known[key])}{hint}"
            )


# ---- as options of Hydra


def register_study(study: Study) -> None:
    """Makes a study an option of the group `experiment`, and each of its points one of `arm`: then a union of grids
    is one product, which any sweeper and launcher can run."""
    store = ConfigStore.instance()
    body = {key: value for key, value in study.content.items() if key not in ("arms", "over")}
    body["study"] = {"name": study.name}
    store.store(name=study.name, node=body, group="experiment", package="_global_")
    known = groups()
    for point in study.points:
        store.store(name=point.name, node=_arm_node(point, known), group="arm", package="_global_")


def _arm_node(point: Point, known: dict[str, list[str]]) -> dict[str, Any]:
    node: dict[str, Any] = {"defaults": [], "study": {"arm": point.name}}
    for key, value in point.settings.items():
        if key in known:
            node["defaults"].append({f"override /{key}": value})
        else:
            _put(node, key.split("."), value)
    node["defaults"].append("_self_")
    return node


def _put(node: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value


def register_named(overrides: list[str], config_dir: str | None = None) -> None:
    """Registers the study that `experiment=NAME` among the overrides names, if any."""
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "experiment" and value and "," not in value:
            register_study(read_study(value, config_dir))
