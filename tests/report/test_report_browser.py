"""The report of a real study in a real browser, as its readers see it."""

import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE
from small_runs import write_study
from synthetic_study import Truth, cell, write_plan, write_run

from vae_lab import report

STUDY = """\
# @package _global_
defaults:
  - override /dataset: digits
  - override /encoder: mlp
  - override /decoder: mlp
latent_dim: 3
encoder: {hidden: [8]}
decoder: {hidden: [8]}
trainer: {max_steps: 24, log_every_n_steps: 8, check_val_every_n_epoch: 1}
evaluation: {nll_samples: 4}
study:
  name: seen
  question: Can it be read?
  reference: plain
  controls: [wide]
arms:
  plain: {mitigation: none}
  beta: {mitigation: beta_below_one, beta.value: [0.1, 0.5]}
  wide: {mitigation: none, decoder.hidden: [[16]]}
over: {seed: [0, 1]}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight small runs, really trained."""
    from vae_lab import cli

    folder = tmp_path_factory.mktemp("seen")
    write_study(folder, "seen", STUDY)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.chdir(folder)
        cli.main(["study", "seen", "hydra/launcher=basic"])
    assert end.value.code == 0
    return folder / "runs" / "seen"


Open = Callable[..., Any]


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """Opens a page at a width; at the end of the test nothing may have been said on its console, or asked of a network."""
    said: list[str] = []
    pages = []

    def open_page(file: Path, width: int = 1280, **context: Any) -> Any:
        page = chromium.new_page(viewport={"width": width, "height": 900}, **context)
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("data:", file.as_uri())) else None)
        page.goto(file.as_uri(), timeout=PATIENCE)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def draw_all(page: Any) -> None:
    """Scrolls through the page until every chart is drawn."""
    for chart in page.query_selector_all(".chart"):
        chart.scroll_into_view_if_needed()
        page.wait_for_function("chart => chart.dataset.drawn || chart.querySelector('p.none')", arg=chart)


@pytest.mark.parametrize("width", [390, 1280])
def test_it_draws_and_fits_a_phone_and_a_desk(study: Path, opened: Open, width: int) -> None:
    page = opened(study / "report.html", width)
    draw_all(page)
    views = page.eval_on_selector_all(".chart", "nodes => nodes.map(n => [n.dataset.view, n.dataset.drawn])")
    assert dict(views) == dict.fromkeys(
        ("metric", "plane", "front", "latents", "rates", "variances", "curves", "pair"), "yes"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    marks = page.eval_on_selector_all(
        ".chart svg", "nodes => nodes.map(n => n.querySelectorAll('path[aria-roledescription], path').length)"
    )
    assert all(count > 3 for count in marks)


def test_every_picture_is_there_and_has_its_words(study: Path, opened: Open) -> None:
    page = opened(study / "report.html")
    pictures = page.eval_on_selector_all("img", "nodes => nodes.map(n => [n.naturalWidth > 0, n.alt])")
    assert len(pictures) == 12  # originals, reconstructions, from another example's z, samples; of three arms
    assert all(is_loaded and words for is_loaded, words in pictures)


def test_the_numbers_seen_are_those_of_results_csv_and_of_the_runs(study: Path, opened: Open) -> None:
    page = opened(study / "report.html")
    rows = {row["signature"]: row for row in csv.DictReader((study / "results.csv").read_text().splitlines())}
    results = {file.parent.name: json.loads(file.read_text())["metrics"] for file in study.glob("*/result.json")}
    assert {name: {key: float(row[key]) for key in results[name]} for name, row in rows.items()} == results
    seen = page.eval_on_selector_all(
        "#runs data", "nodes => nodes.map(n => [n.closest('tr').dataset.signature, n.dataset.metric, +n.value])"
    )
    assert len(seen) == 8 * len(rows)
    assert all(results[signature][name] == value for signature, name, value in seen)


def test_the_keyboard_reaches_and_changes_every_control(study: Path, opened: Open) -> None:
    page = opened(study / "report.html")
    wanted = {
        "metric",
        "sorted",
        "curve",
        "whole",
        "rates-arm",
        "strength-arm",
        "strength",
        "fit",
        "pair-a",
        "pair-b",
        "pair-metric",
    }
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert wanted <= set(reached)

    draw_all(page)
    title = "[...document.querySelectorAll('[data-view=metric] svg text')].map(n => n.textContent).join(' ')"
    page.focus("#metric")
    page.keyboard.type("test/r")
    page.wait_for_function(f"({title}).includes('test/rate, nats')")
    page.focus("#strength")
    assert "chosen on validation" in page.inner_text("#strength-text")
    page.keyboard.press("ArrowLeft" if page.input_value("#strength") == "1" else "ArrowRight")
    assert "(not the one chosen)" in page.inner_text("#strength-text")
    page.focus("#chooser summary")
    page.keyboard.press("Enter")
    page.focus("#arm-1")
    page.keyboard.press("Space")
    assert page.locator("#legend").text_content().split() == ["plain", "wide"]


def test_two_arms_are_told_with_test_n_and_correction(study: Path, opened: Open) -> None:
    page = opened(study / "report.html")
    told = page.inner_text("#pair-told")
    for part in ("n=2 pairs", "paired t", "holds over all", "independent and normal"):
        assert part in told
    page.select_option("#pair-metric", "test/nll")
    forth = page.inner_text("#pair-told dd")
    page.select_option("#pair-a", "0")
    page.select_option("#pair-b", "1")
    back = page.inner_text("#pair-told dd")
    assert forth.lstrip("−") == back.lstrip("−")
    assert forth != back
    page.select_option("#pair-b", "0")
    assert page.inner_text("#pair-told") == "Choose two different arms."


def test_a_screen_reader_finds_its_way(study: Path, opened: Open) -> None:
    """What axe, the usual checker of accessibility, finds wrong: nothing."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(study / "report.html")
    draw_all(page)
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()
    assert len(found.response["passes"]) > 20


def test_without_script_the_tables_are_read(study: Path, opened: Open) -> None:
    page = opened(study / "report.html", java_script_enabled=False)
    assert "The charts below need JavaScript" in page.inner_text("noscript")
    assert page.locator("#arms tbody tr").count() == 3


def test_a_page_left_open_follows_the_study(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from vae_lab.report import live

    monkeypatch.setattr(live, "PAUSE", 0.5)
    monkeypatch.setattr(live, "SHARE", 1.0)
    truths = {"vanilla": Truth(1.7), "good": Truth(6.0)}
    write_plan(
        tmp_path,
        {"name": "growing", "reference": "vanilla"},
        [cell(arm, s, t) for arm, t in truths.items() for s in range(2)],
    )
    with report.live_page(tmp_path):
        wait_for(lambda: (tmp_path / "report.html").exists())
        page = opened(tmp_path / "report.html")
        assert "0 of 4 runs done" in page.inner_text("#live-heading")
        write_run(tmp_path, "vanilla", 0, truths["vanilla"])
        page.wait_for_function("document.title.startsWith('1 of 4')")
        page.wait_for_selector("#metric")
        page.select_option("#metric", "test/rate")
        page.check("#fit")
        page.evaluate("scrollTo(0, 700)")
        write_run(tmp_path, "good", 0, truths["good"])
        page.wait_for_function("document.title.startsWith('2 of 4')")
        page.wait_for_function(  # the title is there before the script has put back what was chosen
            "document.querySelector('#metric').value === 'test/rate' && document.querySelector('#fit').checked "
            "&& Math.abs(scrollY - 700) < 5"
        )
        assert page.locator(".verdict").count() == 0
    report.write(tmp_path)
    page.wait_for_selector(".verdict")


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)
