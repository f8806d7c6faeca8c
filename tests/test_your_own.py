"""The page of one's own parts: its files are written as they stand there, and its commands are run."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from small_runs import Lab

from vae_lab.build import FORMS
from vae_lab.catalog import QUESTIONS
from vae_lab.targets import HANDED

PAGE = (Path(__file__).parent.parent / "docs" / "your_own.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
SHORT = [
    "trainer.max_steps=3",
    "evaluation.nll_samples=2",
    "evaluation.figures=false",
    "trainer.enable_progress_bar=false",
]
LEFT = {"mitigation", "trainer", "evaluation"}  # a preset, Lightning's Trainer and the measures: settings, no classes


@pytest.fixture
def here(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All files of the page, in a folder that is on Python's path as `PYTHONPATH=.` puts it there."""
    for name, text in re.findall(r"^`([\w/]+\.(?:py|yaml))`\n\n```(?:python|yaml)\n(.*?)^```$", PAGE, re.S | re.M):
        (in_tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (in_tmp / name).write_text(text)
    for module in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(in_tmp))
    return in_tmp


def command(group: str) -> list[str]:
    (line,) = re.findall(r"^PYTHONPATH=\. vae-lab (.*)$", SECTIONS[group], re.M)
    return shlex.split(line)


def test_every_group_has_a_class_a_yaml_and_a_command() -> None:
    assert SECTIONS.keys() == QUESTIONS.keys() - LEFT
    for group in SECTIONS:
        assert f"`options/{group}/" in SECTIONS[group]
        assert f"`mine/{group}.py`" in SECTIONS[group]


def test_the_table_says_what_constructors_are_handed_and_what_to_derive_from() -> None:
    rows = {
        cells[0].strip("` "): cells
        for cells in (line.strip("|\n ").split(" | ") for line in PAGE.splitlines())
        if len(cells) == 4
    }
    said, same = {}, rows["bound"][1]
    for group in SECTIONS:
        text = same if rows[group][1] == "the same" else rows[group][1]
        said[group] = set(re.findall(r"`(\w+)`", text))
    assert said == {group: set(HANDED.get(group, ())) for group in SECTIONS}
    for group, (base, _) in FORMS.items():
        assert f"`{base.removeprefix('vae_lab.')}" in rows[group][2] or base == "torch.nn.Module"


@pytest.mark.parametrize("group", [group for group in SECTIONS if group != "use"])
def test_its_example_trains(group: str, here: Path, lab: Lab) -> None:
    said = lab(*command(group), *SHORT)
    assert (said.code, said.err) == (0, "")
    run = Path(said.out.split()[-1])
    assert (run / "result.json").exists()
    option = next((here / "options" / group).glob("*.yaml")).stem
    assert option in lab("options", group, "--config-dir=options").out
    beside = {"callbacks": "norms.txt", "logger": "series.jsonl"}
    if group in beside:
        assert (run / beside[group]).read_text().strip()


def test_its_use_answers(here: Path, lab: Lab) -> None:
    run = lab("train", *SHORT).out.split()[-1]
    said = lab(*[run if word == "RUN" else word for word in command("use")])
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("spread ")
