"""Text that somebody stored reaches a terminal, a spreadsheet and a page as text."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from small_runs import Lab
from synthetic_study import Truth, change, write_study

from vae_lab import report

SEQUENCE, VISIBLE = "\x1b[31mred\x1b[0m\x07\x9b2J\u202eend", r"\x1b[31mred\x1b[0m\x07\x9b2J\u202eend"
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", " =1", "＝1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path / "runs" / "study", {"vanilla": [Truth(1.7)], "good": [Truth(6.0)]}, seeds=2)


def test_a_terminal_is_given_no_control_sequence(folder: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file it is in: an error, the names of a plan, a setting and its key, a metric's name."""
    monkeypatch.chdir(folder.parent.parent)
    run = folder / "goods1" / "result.json"
    change(run, ("status",), "failed")
    change(run, ("error",), f"ValueError: {SEQUENCE}")
    change(folder / "goods0" / "result.json", ("settings", f"key{SEQUENCE}"), SEQUENCE)
    change(folder / "goods0" / "result.json", ("study",), SEQUENCE)
    for place in (("study", "name"), ("cells", 0, "over", "seed"), ("cells", 2, "arm"), ("cells", 2, "strength", "x")):
        change(folder / "plan.json", place, SEQUENCE)
    for words in (["report", "runs/study"], ["ls"], ["ls", "--columns", "error"], ["ls", f"state={SEQUENCE}"]):
        said = lab(*words)
        text = said.out + said.err
        assert not [c for c in text if not (c.isprintable() or c in "\n\xa0")], words
        assert VISIBLE in text.replace("\n", ""), words
        assert said.code in (0, 2)


def test_a_spreadsheet_is_given_no_formula(folder: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    for i, text in enumerate(FORMULAS):
        run = folder / f"f{i}"
        shutil.copytree(folder / "goods0", run)
        change(run / "result.json", ("signature",), run.name)
        change(run / "result.json", ("settings", "note"), text)
        change(run / "result.json", ("metrics", text), -1.5)
        change(run / "result.json", ("seed",), "-3")
        change(run / "result.json", ("settings", "cut"), "a\r=1")
        change(folder / "plan.json", ("cells",), [*cells(folder), {"arm": text, "cell": text, "signature": run.name}])
    lab("ls", "--export", "runs.csv")
    tables = {"ls": Path("runs.csv").read_text(), "report": report.build(folder).csv}
    for name, text in tables.items():
        table = list(csv.reader(io.StringIO(text, newline="")))
        cells_of_it = [cell for row in table for cell in row]
        assert not [
            cell for cell in cells_of_it if cell.strip(" \n")[:1] in set("=+-@\t\r＝") and not is_number(cell)
        ], name
        assert {f"'{formula}" for formula in FORMULAS} <= set(cells_of_it), name
        assert "-1.5" in cells_of_it, name


def cells(folder: Path) -> list[object]:
    return list(json.loads((folder / "plan.json").read_text())["cells"])


def is_number(text: str) -> bool:
    try:
        return isinstance(float(text), float)
    except ValueError:
        return False


def test_control_characters_of_a_plan_are_written_out_on_the_page(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"vanilla": [Truth(1.7)], "good": [Truth(6.0)]}, name="made\x1b[31m\u202eup")
    page = report.build(folder).html
    assert "made\\x1b[31m\\u202eup" in page
    assert not {"\x1b", "\u202e"} & {*page.split("<script")[0]}
