"""A use of a finished run: what it is told, what it answers, and where that is kept."""

import functools
import inspect
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from annotated_types import Ge, Interval
from PIL import Image
from torch import Tensor

from vae_lab.build import build
from vae_lab.csv_text import csv_text
from vae_lab.data.dataset import DataError, Dataset
from vae_lab.errors import RequestError, first_line, left_out
from vae_lab.evaluation.panels import COLUMNS, panel
from vae_lab.finished import Run, load
from vae_lab.lookup import find_run
from vae_lab.options import folders
from vae_lab.store import MISSING, USES, Damaged, read_json, replacing, to_json, write_atomically
from vae_lab.use_options import MOVED, use_node

COLOURS = 128
Steps = Annotated[int, Ge(2)]
Drawn = Annotated[int, Interval(ge=1, le=100_000)]  # all of them are kept in memory


@dataclass(frozen=True)
class Answer:
    """What a use has found.

    Attributes:
        numbers: by name, nested, None where there is none. pictures: (n, channels, height, width) in [0, 1] by name, so many
            columns a row. charts: Vega-Lite specifications by name. tables: rows by name, the titles first.
        arrays: of numbers or texts by name, for one .npz each.
    """

    numbers: dict[str, Any]
    pictures: dict[str, Tensor] = field(default_factory=dict)
    columns: int = COLUMNS
    charts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: dict[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    arrays: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)


def as_rows(dataset: Dataset, examples: Mapping[str, Tensor]) -> dict[str, Sequence[Sequence[Any]]]:
    """Examples by name, (n, *shape), as tables with the columns of the file that the data are from, where they are from one."""
    tables = {name: dataset.table(x) for name, x in examples.items()}
    return {name: rows for name, rows in tables.items() if rows is not None}


class Use(Protocol):
    """One use, made of its options: a class, and a file of the group `use` that names it. One that can tell a model labels
    has `takes_labelled`; the others are refused for models that are told any."""

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        """Errors: `RequestError` where the run is of a kind that it makes no sense for."""


def use(
    name: str, run_dir: str | Path, options: Mapping[str, Any] = MappingProxyType({}), config_dir: str | None = None
) -> tuple[Answer, list[Path]]:
    """Puts a finished run to a use, keeps the answer in the run's directory, in place of an earlier one, and says where: the
    JSON, then tables, pictures and charts.

    Arguments:
        name: of the use, as `vae-lab options use` lists them. run_dir: of the run.
        options: of the use, and `dataset.root` or `dataset.path` where the data have moved.
        config_dir: a folder of options of your own, if the run was made with one.

    Errors: `RequestError`, one line, with nothing written.
    """
    path, named = find_run(run_dir), folders(config_dir)
    moved = {key: value for key, value in options.items() if key in MOVED}
    node = use_node(name, options, named)
    asked: Use = build(node)
    run = load(path, config_dir)
    if run.result.get("status") != "completed":
        raise RequestError(f"{path} has not completed; `vae-lab ls` shows its state")
    if run.model.labelled and not getattr(asked, "takes_labelled", False):
        raise RequestError(f"{name}: this run's model is told labels (labels=given), and this use has none to tell it")
    torch.set_num_threads(run.config["threads"])
    _check_form(name, asked)
    try:
        answer = asked(run, run.dataset(moved))
    except DataError as error:  # what the data have not shown before they were read
        raise RequestError(f"{name}: {error}") from error
    told = {key: value for key, value in node.items() if key != "_target_"}
    return answer, _keep(path, name, {"use": name, "options": told, "numbers": answer.numbers}, answer)


def _check_form(name: str, asked: Use) -> None:
    """Refuses a class of one's own that is not called as a use is."""
    try:
        inspect.signature(asked).bind(None, None)
    except (TypeError, ValueError) as error:
        form = "__call__(self, run, dataset) that returns a vae_lab.uses.Answer"
        raise RequestError(
            f"{name}: {type(asked).__name__} is no use, which has {form}: {first_line(error)}"
        ) from error


def _keep(path: Path, name: str, told: dict[str, Any], answer: Answer) -> list[Path]:
    """Writes an answer, all of it made before anything is written: the numbers last, which name the other files, so that
    those of an earlier answer which this one has not are known and removed."""
    json, figures = path / USES / f"{name}.json", path / "figures"
    files = {
        path / USES / f"{name}_{table}.csv": csv_text(rows).encode(errors="surrogateescape")
        for table, rows in answer.tables.items()
    }
    files |= {path / USES / f"{name}_{key}.npz": _npz(arrays) for key, arrays in answer.arrays.items()}
    files |= {figures / f"{name}_{key}.png": image for key, image in _images(name, answer)}
    text = to_json({**told, "files": [file.relative_to(path).as_posix() for file in files]})
    earlier = _files(path, name)
    for file, content in files.items():
        with replacing(file) as temporary:
            temporary.write_bytes(content)
    for file in earlier - files.keys():
        file.unlink(missing_ok=True)
    write_atomically(json, text)
    return [json, *files]


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    kept = io.BytesIO()
    np.savez(kept, **arrays)  # type: ignore[arg-type]
    return kept.getvalue()


def _images(name: str, answer: Answer) -> Iterator[tuple[str, bytes]]:
    """The pictures and the charts of an answer as PNG, by name. One that cannot be drawn is left out, and said to be."""
    ways = {key: functools.partial(panel, x, answer.columns) for key, x in answer.pictures.items()}
    ways |= {key: functools.partial(_drawn, spec) for key, spec in answer.charts.items()}
    for key, draw in ways.items():
        with left_out(f"{name}: picture {key}", functools.partial(print, file=sys.stderr)):
            yield key, draw()


def _files(path: Path, name: str) -> set[Path]:
    """What the last answer of a use wrote beside its JSON, by what that says: nothing else is taken for it, whoever wrote
    the JSON."""
    try:
        told = read_json(path / USES / f"{name}.json").get("files")
    except (*MISSING, Damaged):
        return set()
    own = re.compile(rf"({USES}|figures)/{re.escape(name)}_[^/\\]+\.(csv|npz|png)")
    files = told if isinstance(told, list) else []
    return {path / file for file in files if isinstance(file, str) and own.fullmatch(file)}


def _drawn(spec: Mapping[str, Any]) -> bytes:
    """A chart as a PNG, without the network, in as few colours as charts have: a third of the bytes, for the report."""
    import vl_convert  # seconds to load, and most uses draw none

    picture = Image.open(io.BytesIO(vl_convert.vegalite_to_png(dict(spec), scale=2))).convert("RGB")
    kept = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(kept, "png", optimize=True)
    return kept.getvalue()
