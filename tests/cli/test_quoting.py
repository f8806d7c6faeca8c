"""Odd words of a command line: what can only be a text is taken as one, and the rest is answered with the word to type."""

import json
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from small_runs import TINY, Lab

from vae_lab.arguments import parse_overrides, readable
from vae_lab.options import groups
from vae_lab.quoting import for_the_shell, quoted

TABLE = "a,b,c\n" + "".join(f"{i % 7},{i * 13 % 11},{i * 5 % 17}\n" for i in range(60))
ODD = [
    "a=b",
    "a[1]",
    "a#1",
    "a b",
    "ümlaut",
    "日本",
    "a(1)",
    "a{1}",
    "a;b",
    "a&b",
    "a!b",
    "a~b",
    "a'b",
    'a"b',
    "a\\b",
    "=",
    "a:b",
]
LIKE_TABLE = ("check", "dataset=table", "likelihood=gaussian_shared")


def typed_in_bash(words: str) -> list[str]:
    """The arguments that a program gets where a line of bash ends in these words."""
    program = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
    done = subprocess.run(["bash", "-c", f"{program} {words}"], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.mark.parametrize(
    "name", [*ODD, *(f"x{mark}y" for mark in string.punctuation if mark not in "/,"), "x\\", '\\"', 'a\\\\"b']
)
def test_a_quoted_text_is_read_back(name: str) -> None:
    """By Hydra, and after bash has read the word to type."""
    assert OverridesParser.create().parse_override(f"k={quoted(name)}").value() == name
    (word,) = typed_in_bash(for_the_shell("k", name))
    assert OverridesParser.create().parse_override(word).value() == name


def test_a_path_is_taken_as_it_stands(lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name: every one of these is the same table, and so the same run."""
    (in_tmp / "d").mkdir()
    monkeypatch.setenv("HOME", str(in_tmp))
    for name in [*ODD, "plain"]:
        (in_tmp / "d" / f"{name}.csv").write_text(TABLE)
    expected = lab(*LIKE_TABLE, "dataset.path=d/plain.csv")
    assert expected.code == 0
    for word in [f"d/{name}.csv" for name in ODD] + ["~/d/plain.csv"]:
        assert lab(*LIKE_TABLE, f"dataset.path={word}") == expected, word


def test_lists_of_texts_and_what_is_grammar_stay_what_they_are() -> None:
    read = {word: parse_overrides([readable(word)])[0] for word in ("k=[a b,c=d,ü]", "k=[1,2]", "k=${seed}", "k=1e-3")}
    assert [each.value() for each in read.values()] == [["a b", "c=d", "ü"], [1, 2], "${seed}", 1e-3]
    assert parse_overrides([readable("k=a,b")])[0].is_sweep_override()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dataset.path=d/a,b.csv", "needs -m (a list is written key=[1,2], one text "),
        ("dataset.path=ü,b.csv", "as one text it is typed "),
        ("dataset.path=[1].csv", "as one text it is typed "),
        ("dataset.path=2024", "must be text, not empty; as text it is typed "),
    ],
)
def test_the_word_to_type_works_in_bash(word: str, said: str, lab: Lab, in_tmp: Path) -> None:
    path = Path(word.partition("=")[2])
    path = path if path.suffix else path.with_suffix(".csv")
    path.parent.mkdir(exist_ok=True)
    path.write_text(TABLE)
    refused = lab(*LIKE_TABLE, word)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    advice = refused.err.partition(said)[2].strip().removesuffix(")").partition(", and as several")[0]
    (answer,) = typed_in_bash(advice)
    assert answer.startswith("dataset.path=")
    assert parse_overrides([answer])[0].value() == word.partition("=")[2]
    if path == Path(word.partition("=")[2]):
        assert lab(*LIKE_TABLE, answer).code == 0


REFUSED = {
    "latent_dim=2,,3": "latent_dim=2,,3: a value is missing beside a comma; several values are key=1,2,3, and a list is key=[1,2]",
    "~init_from": "init_from: there is no value to take out; leave out ~init_from",
    "~trainer.max_steps": "trainer.max_steps: there is no value to take out; leave out ~trainer.max_steps",
    "init_from=": "init_from: '' given; must be text, not empty, or null",
    "runs_dir=": "runs_dir: '' given; must be text, not empty",
    "study.name=2024": r"""study.name: 2024 given; must be text, of the form ^\w[\w.-]*$; as text it is typed 'study.name="2024"'""",
    "=3": "=3: no key before =, as in key=value",
    "prior=glob(x*)": "prior=glob(x*): no option fits; there are mixture, normal",
    "seed=glob(*)": "seed=glob(*): glob chooses among the options of a group, and seed is none",
    "üprior=normal": "üprior=normal: üprior is no key, as in key=value: a key has letters from a to z, digits, _, - and dots",
}


@pytest.mark.parametrize("word", REFUSED)
def test_odd_words_are_refused_in_one_line(word: str, lab: Lab, in_tmp: Path) -> None:
    for flags in ((), ("-m",)):
        said = lab("check", *flags, word)
        assert (said.code, said.out) == (2, "")
        assert said.err == f"vae-lab: {REFUSED[word]}\n"


def test_a_glob_is_the_options_that_it_fits(lab: Lab, in_tmp: Path) -> None:
    tiny = [word for word in TINY if not word.startswith("decoder")]
    names = ",".join(groups()["decoder"])
    assert lab("check", "-m", "decoder=glob(*)", *tiny) == lab("check", "-m", f"decoder={names}", *tiny)


def test_a_working_directory_that_is_gone(in_tmp: Path) -> None:
    gone = in_tmp / "gone"
    gone.mkdir()
    line = f"cd {gone}; rmdir {gone}; {sys.executable} -P -m vae_lab ls"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    text = "vae-lab: the working directory is gone; change to one that is there\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", text)
    assert shutil.which("bash")
