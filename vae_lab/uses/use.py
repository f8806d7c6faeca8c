"""A use of a finished run: what it is told, what it answers, and where that is kept."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from vae_lab.check import check_arguments
from vae_lab.data.dataset import Dataset
from vae_lab.errors import RequestError
from vae_lab.evaluation.panels import COLUMNS, write_panels
from vae_lab.finished import Run, load
from vae_lab.store import to_json, write_atomically

Steps = Annotated[int, Ge(2)]
Drawn = Annotated[int, Interval(ge=1, le=100_000)]  # all of them are kept in memory
USES = "uses"
"""The folder of a run that holds a JSON for each use."""


@dataclass(frozen=True)
class Answer:
    """What a use has found: numbers by name (nested, None where there is none), and pictures (n, channels, height, width)
    in [0, 1] by name, so many a row."""

    numbers: dict[str, Any]
    pictures: dict[str, Tensor] = field(default_factory=dict)
    columns: int = COLUMNS


class Use(Protocol):
    """One use, made of its options."""

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        """Errors: `RequestError` where the run is of a kind that it makes no sense for."""


def use(name: str, kind: type[Use], run_dir: str | Path, options: Mapping[str, Any]) -> tuple[Answer, list[Path]]:
    """Puts a finished run to a use, keeps the answer in the run's directory, and says where: the JSON, then the pictures.

    Arguments:
        options: of the use, and `dataset.root` or `dataset.path` where the data have moved.

    Errors: `RequestError`, one line, with nothing written.
    """
    path = Path(run_dir)
    moved = {key: value for key, value in options.items() if key in ("dataset.root", "dataset.path")}
    own = {key: value for key, value in options.items() if key not in moved}
    check_arguments(name, {"_target_": f"{kind.__module__}.{kind.__qualname__}", **own})
    run = load(path)
    if run.result.get("status") != "completed":
        raise RequestError(f"{path} has not completed; `vae-lab ls` shows its state")
    torch.set_num_threads(run.config["threads"])
    answer = kind(**own)(run, run.dataset(moved))
    told = {"use": name, "options": {**_defaults(kind), **own}, "numbers": answer.numbers}
    (path / USES).mkdir(exist_ok=True)
    write_panels({f"{name}_{picture}": x for picture, x in answer.pictures.items()}, path / "figures", answer.columns)
    write_atomically(path / USES / f"{name}.json", to_json(told))
    return answer, [
        path / USES / f"{name}.json",
        *(path / "figures" / f"{name}_{each}.png" for each in answer.pictures),
    ]


def _defaults(kind: type[Use]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
