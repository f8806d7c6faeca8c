"""`study --dry-run` says what the design could show, before any run."""

import re
from pathlib import Path

import pytest
from small_runs import STUDY, Lab, write_study

from vae_lab.report.power import power_of


def test_a_dry_run_tells_the_power_of_the_design(lab: Lab, in_tmp: Path) -> None:
    write_study(in_tmp, "small", STUDY)
    said = lab("study", "small", "seed=0,1,2", "--dry-run")
    assert said.code == 0
    assert re.search(r"^Power: 3 runs of a setting would show, four times in five, a difference of \d", said.out, re.M)


def test_more_seeds_show_less_and_nats_follow_the_scatter() -> None:
    told = power_of(5, 1, 3)
    sizes = [float(size) for size in re.findall(r"\d+\.\d+", told)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 4
    in_nats = power_of(5, 1, 3, sd=0.5)
    assert float(re.findall(r"\d+\.\d+", in_nats)[0]) == pytest.approx(sizes[0] / 2, abs=0.01)


def test_two_runs_can_show_nothing() -> None:
    assert "no difference can be shown" in power_of(5, 1, 2)
