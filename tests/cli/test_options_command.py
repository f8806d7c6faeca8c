"""`vae-lab options` says of every option what it is, what it takes and what it is from."""

import re

import pytest
from small_runs import Lab

from vae_lab.catalog import QUESTIONS, allowed, catalog
from vae_lab.options import groups
from vae_lab.settings import Count, Momentum, Positive, Updates, Widths

PAPER = re.compile(r"\b(19|20)\d\d\b")
PLAIN = {"none", "cosine_annealing"}  # of no single paper, or that say it elsewhere


def test_every_option_of_every_group_is_there_with_a_meaning() -> None:
    listed = {(option.group, option.name) for option in catalog()}
    assert listed == {(g, name) for g, names in groups().items() if g not in ("experiment", "arm") for name in names}
    assert [option for option in catalog() if not option.meaning] == []
    assert set(groups()) - {"experiment", "arm"} <= set(QUESTIONS)


def test_every_remedy_names_its_paper() -> None:
    assert [o.name for o in catalog("mitigation") if o.name not in PLAIN and not PAPER.search(o.meaning)] == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Count, "a whole number, at least 1"),
        (Positive, "a number, above 0"),
        (Momentum, "a number, at least 0, below 1"),
        (Updates, "a whole number of updates, at least 1, or a fraction of the run, above 0, at most 1"),
        (Widths, "a list of at least 1, each a whole number, at least 1"),
        (bool, "true or false"),
        (float | None, "a number or null"),
    ],
)
def test_bounds_in_words(annotation: object, words: str) -> None:
    assert allowed(annotation) == words


def test_the_command(lab: Lab) -> None:
    said = lab("options", "rate")
    assert said.code == 0
    assert "\n  free_bits: No pressure on a rate below `nats` (Kingma et al. 2016)\n" in said.out
    assert "\n      rate.granularity=dim   (dim, group, total)\n" in said.out
    assert "mitigation" not in said.out
    wrong = lab("options", "piror")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("vae-lab: piror: no such group; groups: beta, ")
    assert wrong.err.endswith("(did you mean 'prior'?)\n")
    assert lab("options", "a", "b").code == 2
