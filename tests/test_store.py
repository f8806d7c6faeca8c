"""Files that others read, write and take away at the same moment."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vae_lab import progress
from vae_lab.export import export
from vae_lab.grid import stamp
from vae_lab.store import RunDirectory, read_plan, write_atomically

RESULT = '{"signature": "a", "status": "completed", "metrics": {}, "settings": {}, "evaluation": {}, "timing": {}}'


class Fleeting(type(Path())):  # type: ignore[misc]
    """A path whose file another takes away as soon as somebody has looked at it."""

    def stat(self, **how: Any) -> os.stat_result:
        found = super().stat(**how)
        self.unlink()
        return found


LOOKS = {
    "stamp": stamp,
    "result": lambda run: RunDirectory(run).result(),
    "history": lambda run: RunDirectory(run).history(),
    "plan": read_plan,
    "ended": lambda run: progress._ended_since(run / "result.json", 0.0),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_file_that_goes_while_it_is_looked_at_raises_nothing(look: str, tmp_path: Path) -> None:
    for name, content in {
        "result.json": RESULT,
        "plan.json": '{"study": {}}',
        "metrics.csv": "1,0,val/elbo,2.0\n",
    }.items():
        (tmp_path / name).write_text(content)
    assert LOOKS[look](Fleeting(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    assert not LOOKS[look](Fleeting(tmp_path))
    assert not LOOKS[look](Fleeting(__file__))  # nor is there anything in what is no folder


@pytest.mark.parametrize("name", ["table.json", "table.parquet"])
def test_two_with_one_process_id_write_one_file_at_once(name: str, tmp_path: Path) -> None:
    """As in two containers that share a folder: threads share their process id too."""
    file = tmp_path / name

    def write(_: int) -> None:
        if file.suffix == ".json":
            write_atomically(file, "whole")
        else:
            export([], ["seed"], file)

    with ThreadPoolExecutor(4) as others:
        list(others.map(write, range(80)))
    assert [found.name for found in tmp_path.iterdir()] == [name]
