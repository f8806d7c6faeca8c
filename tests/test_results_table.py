"""Rows for a person's own analysis, and the README's example where one has followed the README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import TINY, Lab
from test_docs import ROOT

from vae_lab import compose, results, train
from vae_lab.index import rows
from vae_lab.metrics import reported
from vae_lab.request import request


def test_every_row_has_every_column(lab: Lab, in_tmp: Path) -> None:
    assert lab("train", *TINY).code == 0
    assert lab("train", *TINY, "mitigation=free_bits", "rate.nats=0.3").code == 0
    (in_tmp / "runs" / "solo" / "cut").mkdir()
    (in_tmp / "runs" / "solo" / "cut" / "config.yaml").write_text("seed: 3\n")
    (in_tmp / "runs" / "solo" / "cut" / ".ledger").touch()
    table = results("runs")
    assert len(table) == 3
    assert {frozenset(row) for row in table} == {frozenset(table[0])}
    assert set(table[0]) >= {*reported(), "rate.nats", "timing.steps", "error", "commit"}
    assert sorted(row["rate.nats"] or 0 for row in table) == [0, 0, 0.3]
    for whole, row in zip(table, rows(in_tmp / "runs"), strict=True):
        assert {key: whole[key] for key in row if key != "path"} == {key: row[key] for key in row if key != "path"}
        assert all(value is None for key, value in whole.items() if key not in row)


def test_the_readmes_example_runs_beside_other_runs(in_tmp: Path) -> None:
    """It prints what the README says, but for what another machine rounds, and a line for each of the other runs."""
    train(compose(*TINY))
    text = (ROOT / "README.md").read_text()
    code, printed = re.findall(r"### In Python\n\n```python\n(.*?)```.*?```\n(.*?)```", text, re.DOTALL)[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [line.split() for line in done.stdout.splitlines() if ": trains " not in line]
    wanted = [line.split() for line in printed.splitlines() if ": trains " not in line]
    shapes = [line for line in said if line[0] == "torch.Size([4,"]
    assert shapes == [line for line in wanted if line[0] == "torch.Size([4,"]
    first, last = said[0], [line for line in said if line[0] == wanted[-1][0]][-1]
    assert (first[0], last[:2], last[3]) == (wanted[0][0], wanted[-1][:2], wanted[-1][3])
    assert [float(first[1]), float(last[2])] == pytest.approx([float(wanted[0][1]), float(wanted[-1][2])], abs=0.05)
    assert [line[3] for line in said if line[1] == "completed"].count("None") == 1


COSMETIC = (
    "+trainer.profiler=simple",
    "+trainer.detect_anomaly=true",
    "+trainer.limit_test_batches=3",
    "trainer.log_every_n_steps=3",
)


@pytest.mark.parametrize("word", COSMETIC)
def test_what_changes_no_number_renames_no_run(word: str, in_tmp: Path) -> None:
    words = [each for each in TINY if not each.startswith(word.lstrip("+").partition("=")[0])]
    plain, other = (request(compose(*words, *more)) for more in ([], [word]))
    assert plain.directory == other.directory


def test_nor_does_it_change_one(in_tmp: Path) -> None:
    plain, looked = (train(compose(*TINY, *more)) for more in ([], ["rerun=true", *COSMETIC[:2]]))
    assert plain["signature"] == looked["signature"]
    assert plain["metrics"] == looked["metrics"]
