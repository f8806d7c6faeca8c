"""A use of a finished run: what it is told, what it answers, and where that is kept."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from vae_lab.build import build
from vae_lab.check import check_arguments, check_targets
from vae_lab.data.dataset import Dataset
from vae_lab.errors import RequestError
from vae_lab.evaluation.panels import COLUMNS, write_panels
from vae_lab.finished import Run, load
from vae_lab.options import folders, option_content
from vae_lab.places import USE
from vae_lab.store import USES, to_json, write_atomically

Steps = Annotated[int, Ge(2)]
Drawn = Annotated[int, Interval(ge=1, le=100_000)]  # all of them are kept in memory


@dataclass(frozen=True)
class Answer:
    """What a use has found.

    Attributes:
        numbers: by name, nested, None where there is none. pictures: (n, channels, height, width) in [0, 1] by name, so many
            columns a row. charts: Vega-Lite specifications by name. tables: rows by name, the titles first.
    """

    numbers: dict[str, Any]
    pictures: dict[str, Tensor] = field(default_factory=dict)
    columns: int = COLUMNS
    charts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: dict[str, Sequence[Sequence[Any]]] = field(default_factory=dict)


class Use(Protocol):
    """One use, made of its options: a class, and a file of the group `use` that names it."""

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        """Errors: `RequestError` where the run is of a kind that it makes no sense for."""


def use(
    name: str, run_dir: str | Path, options: Mapping[str, Any], config_dir: str | None = None
) -> tuple[Answer, list[Path]]:
    """Puts a finished run to a use, keeps the answer in the run's directory, and says where: the JSON, then tables,
    pictures and charts.

    Arguments:
        options: of the use, and `dataset.root` or `dataset.path` where the data have moved.
        config_dir: a folder of options of your own, if the run was made with one.

    Errors: `RequestError`, one line, with nothing written.
    """
    path, named = Path(run_dir), folders(config_dir)
    moved = {key: value for key, value in options.items() if key in ("dataset.root", "dataset.path")}
    own = {key: value for key, value in options.items() if key not in moved}
    node = {**option_content(USE, name, named), **own}
    check_targets({USE: node}, named)
    check_arguments(name, node)
    asked: Use = build(node)
    run = load(path, config_dir)
    if run.result.get("status") != "completed":
        raise RequestError(f"{path} has not completed; `vae-lab ls` shows its state")
    torch.set_num_threads(run.config["threads"])
    answer = asked(run, run.dataset(moved))
    told = {key: value for key, value in node.items() if key != "_target_"}
    return answer, _keep(path, name, {"use": name, "options": told, "numbers": answer.numbers}, answer)


def _keep(path: Path, name: str, told: dict[str, Any], answer: Answer) -> list[Path]:
    """Writes an answer: the numbers last, which say that the rest is there."""
    for folder in (USES, "figures"):
        (path / folder).mkdir(exist_ok=True)
    write_panels({f"{name}_{picture}": x for picture, x in answer.pictures.items()}, path / "figures", answer.columns)
    tables = {path / USES / f"{name}_{table}.csv": _csv(rows) for table, rows in answer.tables.items()}
    for file, text in tables.items():
        write_atomically(file, text)
    charts = {path / "figures" / f"{name}_{chart}.png": spec for chart, spec in answer.charts.items()}
    for file, spec in charts.items():
        file.write_bytes(_drawn(spec))
    write_atomically(path / USES / f"{name}.json", to_json(told))
    pictures = [path / "figures" / f"{name}_{picture}.png" for picture in answer.pictures]
    return [path / USES / f"{name}.json", *tables, *pictures, *charts]


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _drawn(spec: Mapping[str, Any]) -> bytes:
    """A chart as a PNG, without the network."""
    import vl_convert  # seconds to load, and most uses draw none

    picture: bytes = vl_convert.vegalite_to_png(dict(spec), scale=2)
    return picture
