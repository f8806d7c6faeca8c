"""`vae-lab options` says of every option what it is, what it takes and what it is from."""

import re

import pytest
import torch
from small_runs import Lab

from vae_lab.catalog import QUESTIONS, Option, allowed, catalog
from vae_lab.options import groups
from vae_lab.places import USE, uses
from vae_lab.settings import Count, Momentum, Positive, Updates, Widths

PAPER = re.compile(r"\b(19|20)\d\d\b")
METHODS = ("mitigation", "bound", "beta", "rate", "regularizer", "inference", "parametrization", "corruption")
PLAIN = {"identity", "plain", "fixed_scale", "autoencoder"}  # and `none`: what is done where nothing is
OTHERS = {("likelihood", "gaussian"), ("likelihood", "gaussian_optimal"), ("decoder", "pixelcnn"), ("prior", "mixture")}


def of_preset(name: str) -> Option:
    (option,) = [option for option in catalog("mitigation") if option.name == name]
    return option


def test_every_option_of_every_group_is_there_with_a_meaning() -> None:
    listed = {(option.group, option.name) for option in catalog() if option.group != USE}
    assert {option.name for option in catalog(USE)} == set(uses())
    assert listed == {(g, name) for g, names in groups().items() if g not in ("experiment", "arm") for name in names}
    assert [option for option in catalog() if not option.meaning] == []
    assert set(groups()) - {"experiment", "arm"} <= set(QUESTIONS)


def test_every_method_names_its_paper() -> None:
    methods = [
        option
        for option in catalog()
        if (option.group in METHODS and option.name not in PLAIN) or (option.group, option.name) in OTHERS
    ]
    assert {o.name for o in methods if not PAPER.search(o.meaning)} <= {"none"}


def test_no_setting_is_without_bounds_or_type() -> None:
    assert [(o.name, s.name) for o in catalog() for s in o.settings if s.allowed in ("", "any value")] == []


def test_a_preset_shows_every_setting_of_what_it_chooses_at_its_own_values() -> None:
    found = {s.name: (s.default, s.allowed, s.comment) for s in of_preset("free_bits_total").settings}
    assert list(found) == ["rate", "rate.nats", "rate.granularity", "rate.reduction", "rate.group_size"]
    assert found["rate.nats"] == (4.0, "a number, at least 0", "0.25 for each of 16 latents")
    assert found["rate.granularity"][0] == "total"
    assert found["rate.reduction"] == (
        "batch",
        "batch, example",
        "batch (the paper's), example (with dim: FBP of Li et al. 2019)",
    )


def test_a_preset_that_chooses_no_option_still_shows_bounds() -> None:
    (setting,) = of_preset("skip").settings
    assert (setting.name, setting.default, setting.allowed) == ("decoder.skip", True, "true or false")


def test_a_part_of_a_list_keeps_its_comments() -> None:
    found = {s.name: s for s in of_preset("wae").settings}
    assert found["regularizer.mmd.alpha"].default == 1.0
    assert found["regularizer.mmd.width"].comment == "the prior's standard deviation that the kernel is made for"


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
        (torch.Generator, "torch._C.Generator"),  # what no config can hold is at least named
    ],
)
def test_bounds_in_words(annotation: object, words: str) -> None:
    assert allowed(annotation) == words


def test_the_command(lab: Lab) -> None:
    said = lab("options", "rate")
    assert said.code == 0
    assert "\n  free_bits: No pressure on a rate below `nats` (Kingma et al. 2016)\n" in said.out
    assert "\n      rate.granularity=dim   (dim, group, total)   # dim, group, total\n" in said.out
    assert "mitigation" not in said.out
    wrong = lab("options", "piror")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("vae-lab: piror: no such group; groups: beta, ")
    assert wrong.err.endswith("(did you mean 'prior'?)\n")
    assert lab("options", "a", "b").code == 2


def test_the_command_prints_equation_and_evidence(lab: Lab) -> None:
    said = lab("options", "mitigation").out
    assert "\n      Equation: D + max(lambda, E_batch R)\n" in said
    assert (
        "\n      Evidence: ends at the reverse water-filling law of the linear VAE: tests/test_linear_vae.py::" in said
    )
    assert (
        "\n      beta.delay=${inference.pretrain}   (a whole number of updates, at least 0, or a fraction of the run, at least 0, at most 1)"
        in said
    )
