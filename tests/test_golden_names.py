"""Names of runs that exist on people's disks: a change of the lab renames none of them.

`golden_names.json` was written by commit 2c9623a. A name in it changes only where a number was wrong; the commit that
changes it says which number.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from vae_lab import compose
from vae_lab.plan import plan
from vae_lab.request import request
from vae_lab.study import read_study
from vae_lab.training.trainer import trainer

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden_names.json").read_text())


def test_requests_keep_their_names(in_tmp: Path) -> None:
    words = list(GOLDEN["requests"])
    names = {line: request(compose(*line.split())).directory.signature for line in words}
    assert names == GOLDEN["requests"]


def names_of(study: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for cell in plan(read_study(study), []):
        names.setdefault(cell.point.name, []).append(cell.directory.signature)
    return names


@pytest.mark.parametrize("study", list(GOLDEN["studies"]))
def test_studies_keep_the_names_of_their_runs(study: str, in_tmp: Path) -> None:
    assert names_of(study) == GOLDEN["studies"][study]


def test_a_stored_run_without_an_end_trained_twenty_epochs() -> None:
    """Its config says null for both, and the name is made of that: null can mean nothing else later."""
    assert trainer(max_epochs=None, max_steps=None, enable_progress_bar=False).max_epochs == 20
