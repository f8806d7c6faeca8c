"""The report of a search reads as a search: runs by their settings, the best first, with every objective."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE
from synthetic_study import Truth, write_run

from vae_lab import report
from vae_lab.report.embed import embed
from vae_lab.report.shown import Shown

RATES = [0.1, 0.001, 0.00123456, 0.01]


def drawn_of(made: report.Report) -> dict[str, Any]:
    """The parallel coordinates of a page."""
    drawn: dict[str, Any] = embed(Shown(made.study, []))["search"]
    return drawn


def searched(folder: Path, objectives: dict[str, str] | None = None, **more: list[Any]) -> Path:
    """Trials over a learning rate, and what else was chosen, whose ELBO falls with their number."""
    columns = {"optimizer.lr": RATES, **more}
    for n in range(len(RATES)):
        words = ["dataset=digits", "seed=3", "study.name=quest", *(f"{key}={of[n]}" for key, of in columns.items())]
        settings = {"seed": 3, "overrides": words, "optimizer": {"lr": RATES[n]}}
        metrics = {"val/elbo": -20.0 - n, "val/nll": 19.0 + n, "val/active_units": float(n), "test/elbo": -21.0}
        write_run(folder, "", 3, Truth(2, strength={"n": n}), arm=None, settings=settings, metrics=metrics)
    if objectives:
        (folder / "search.json").write_text(json.dumps({"objectives": objectives, "trials": 4, "storage": "x"}))
    return folder


def test_trials_are_named_by_what_varies_and_the_best_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = report.build(searched(tmp_path))
    names = ["optimizer.lr=0.1", "optimizer.lr=0.001", "optimizer.lr=0.001235", "optimizer.lr=0.01"]
    assert [arm.name for arm in made.study.arms] == names
    rows = list(csv.DictReader(made.csv.splitlines()))
    assert [(float(row["optimizer.lr"]), row["seed"]) for row in rows] == [(rate, "3") for rate in RATES]
    report.print_table(tmp_path, made)
    told = capsys.readouterr().out
    assert all(name in told.replace("\n", "") for name in names[:1])
    assert "val/" in told
    assert [axis["name"] for axis in drawn_of(made)["axes"]] == ["optimizer.lr", "val/elbo"]
    assert 'id="search-view"' in made.html


def test_the_order_and_the_axes_are_those_of_the_objectives(tmp_path: Path) -> None:
    objectives = {"val/active_units": "max", "val/nll": "min"}
    made = report.build(searched(tmp_path, objectives, prior=["normal", "mixture", "normal", "normal"]))
    assert made.study.arms[0].name == "optimizer.lr=0.01, prior=normal"
    drawn = drawn_of(made)
    assert [axis["name"] for axis in drawn["axes"]] == ["optimizer.lr", "prior", *objectives]
    assert drawn["axes"][2]["text"] == ["3", "2", "1", "0"]
    cells = made.html[made.html.index('<table id="cells">') :]
    assert all(f"{name}<small>chosen by" in cells for name in objectives)


def test_a_reader_meets_two_arms_and_the_best_in_dark(tmp_path: Path, chromium: Any) -> None:
    """The pairwise view compares two, the best of the search are as many as there are, the very best the darkest."""
    report.write(searched(tmp_path))
    page = chromium.new_page(viewport={"width": 1000, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto((tmp_path / "report.html").as_uri(), timeout=PATIENCE)
    assert page.input_value("#pair-a") == "1"
    assert page.input_value("#pair-b") == "0"
    assert page.inner_text("#best-text") == "the best 4 of 4 drawn"
    page.locator("#search-view").scroll_into_view_if_needed()
    page.wait_for_selector(".chart[data-view=search][data-drawn]")
    lines = page.locator(".chart[data-view=search] path[stroke-width='1.6']")
    light = [sum(map(int, re.findall(r"\d+", lines.nth(i).get_attribute("stroke")))) for i in range(4)]
    page.close()
    assert light == sorted(light)


def test_the_same_settings_under_two_seeds_are_two_runs_of_one_arm(tmp_path: Path) -> None:
    for rate in (0.1, 0.2):
        for seed in (0, 1):
            settings = {"seed": seed, "overrides": [f"seed={seed}", f"optimizer.lr={rate}"]}
            write_run(tmp_path, "", seed, Truth(2, strength={"lr": rate}), arm=None, settings=settings)
    arms = report.build(tmp_path).study.arms
    assert sorted((arm.name, len(arm.chosen.rows)) for arm in arms) == [
        ("optimizer.lr=0.1", 2),
        ("optimizer.lr=0.2", 2),
    ]


def test_words_that_change_no_number_make_no_arm(tmp_path: Path) -> None:
    typed = [[], ["logger=wandb"], ["fail_fast=true"], ["evaluation=long", "optimized_metric=val/nll", "experiment=x"]]
    for seed, words in enumerate(typed):
        settings = {"seed": seed, "overrides": [f"seed={seed}", "latent_dim=4", *words], "fail_fast": seed == 2}
        write_run(tmp_path, "", seed, Truth(2, strength={"n": 1}), arm=None, settings=settings)
    made = report.build(tmp_path)
    assert [len(arm.chosen.completed) for arm in made.study.arms] == [4]
    assert drawn_of(made)["axes"] == []


def test_a_run_that_was_typed_without_a_word_has_its_default(tmp_path: Path) -> None:
    for n, words in enumerate([["latent_dim=16"], [], ["latent_dim=4"]]):
        settings = {"seed": 0, "overrides": words, "latent_dim": [16, 16, 4][n]}
        write_run(tmp_path, "", 0, Truth(2, strength={"n": n}), arm=None, settings=settings)
    names = [arm.name.split()[0] for arm in report.build(tmp_path).study.arms]
    assert sorted(names) == ["latent_dim=16", "latent_dim=16", "latent_dim=4"]


def test_two_digits_that_tell_no_difference_are_given_whole(tmp_path: Path) -> None:
    for n, rate in enumerate([0.1234561, 0.1234562]):
        settings = {"seed": 0, "overrides": [f"optimizer.lr={rate}"]}
        write_run(tmp_path, "", 0, Truth(2, strength={"n": n}), arm=None, settings=settings)
    assert {arm.name for arm in report.build(tmp_path).study.arms} == {f"optimizer.lr=0.123456{n}" for n in (1, 2)}
