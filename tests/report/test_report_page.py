"""The report of whole studies, written as files: page, table and verdict say what the runs say."""

import csv
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from synthetic_study import SEVEN, Truth, cell, history, write_plan, write_run, write_study

from vae_lab import report
from vae_lab.claim import claim
from vae_lab.errors import RequestError
from vae_lab.metrics import METRICS
from vae_lab.report.embed import embed
from vae_lab.report.live import build_live
from vae_lab.report.reading import NoReport
from vae_lab.report.shown import Shown

VANILLA, BETTER = Truth(1.7, -20.6, 5), Truth(6.0, -20.6, 15)


class Page(HTMLParser):
    """What a browser would fetch, and the numbers of the table of runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.numbers: dict[tuple[str, str], float] = {}
        self.signature = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = {name: value or "" for name, value in attributes}
        self.addresses += [found[name] for name in ("src", "href", "xlink:href", "srcset", "data") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        self.signature = found.get("data-signature", self.signature)
        if "data-metric" in found:
            self.numbers[self.signature, found["data-metric"]] = float(found["value"])


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("seven"), SEVEN, controls=["control"], budget={"runs": 24})
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def page(seven: Path) -> str:
    return (seven / "report.html").read_text(encoding="utf-8")


def words(path: Path) -> str:
    """The verdict as one text."""
    return " ".join(map(str, report.build(path).verdict))


def embedded(page: str) -> dict[str, Any]:
    """The numbers that the page's charts draw."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/result.json"))]


def test_page_and_table_have_the_numbers_of_the_runs(seven: Path, page: str) -> None:
    rows = {row["signature"]: row for row in csv.DictReader((seven / "results.csv").read_text().splitlines())}
    shown = Page(page).numbers
    assert len(rows) == len(results(seven)) == 24
    for run in results(seven):
        for name, value in run["metrics"].items():
            assert float(rows[run["signature"]][name]) == value
        for name in ("test/elbo", "test/nll", "test/rate", "test/active_units"):
            assert shown[run["signature"], name] == run["metrics"][name]


def test_the_table_names_every_run(seven: Path) -> None:
    rows = list(csv.DictReader((seven / "results.csv").read_text().splitlines()))
    assert list(rows[0])[:5] == ["arm", "cell", "seed", "signature", "status"]
    assert {row["cell"] for row in rows if row["arm"] == "free_bits"} == {"free_bits0.1", "free_bits0.5"}


def test_the_page_needs_no_network(page: str) -> None:
    found = Page(page)
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    assert not {"iframe", "link rel=stylesheet"} & set(found.tags)
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert len(found.ids) == len(set(found.ids))
    assert len(page) < 1_500_000


def test_every_part_is_on_the_page(page: str) -> None:
    for part in (
        "Each arm",
        "equal ELBO",
        "Which latents",
        "Training",
        "from another example&#39;s z",
        "How it was made",
    ):
        assert part in page
    views = ["metric", "plane", "front", "latents", "rates", "variances", "curves", "pair"]
    assert re.findall(r'class="chart" data-view="(\w+)" role="img" aria-label="[^"]', page) == views
    pictures = page[page.index("What the models make") : page.index("<script")]
    assert pictures.count("<img ") == pictures.count('alt="') == 28


def test_the_charts_draw_the_numbers_of_the_runs(seven: Path, page: str) -> None:
    drawn = embedded(page)
    columns = {name: sorted(drawn["runs"]["values"][name]) for name in drawn["metrics"]}
    assert columns == {name: sorted(run["metrics"][name] for run in results(seven)) for name in drawn["metrics"]}
    means = {
        cell["label"]: found[0] for cell, found in zip(drawn["cells"], drawn["summaries"]["test/nll"], strict=True)
    }
    vanilla = [run["metrics"]["test/nll"] for run in results(seven) if run["arm"] == "vanilla"]
    assert means["vanilla"] == pytest.approx(sum(vanilla) / 3, abs=1e-12)
    assert f'<data data-mean="test/nll" value="{means["vanilla"]!r}">' in page


def test_a_strength_joins_the_points_of_its_arm(page: str) -> None:
    drawn = embedded(page)
    (tried,) = (arm["tried"] for arm in drawn["arms"] if arm["name"] == "free_bits")
    assert [drawn["cells"][i]["strength"] for i in tried] == [{"rate.nats": 0.1}, {"rate.nats": 0.5}]


def test_two_builds_are_the_same_to_the_byte(seven: Path, page: str) -> None:
    assert report.build(seven).html == page


def test_the_strength_is_chosen_on_validation_and_marked(tmp_path: Path) -> None:
    weak, strong = (Truth(3.0, elbo, 9, strength={"rate.nats": nats}) for nats, elbo in ((0.1, -23.0), (0.5, -21.0)))
    study = report.build(write_study(tmp_path, {"vanilla": [VANILLA], "free_bits": [weak, strong]})).study
    assert study.arms[1].label == "free_bits (rate.nats=0.5)"
    assert study.arms[1].choice(study.select) == "chosen of 2 on val/elbo: rate.nats=0.5"


def test_test_is_never_chosen_by(tmp_path: Path) -> None:
    arms = {
        "vanilla": [VANILLA],
        "free_bits": [Truth(3, -21, 9, strength={"n": 1}), Truth(3, -22, 9, strength={"n": 2})],
    }
    made = report.build(write_study(tmp_path, arms, select="test/rate"))
    assert made.study.select == "val/elbo"
    assert any("never chosen on test" in note for note in made.notes)


def test_what_the_report_offers_is_its_own() -> None:
    assert {getattr(report, name).__module__ for name in report.__all__} == {"vae_lab.report"}
    assert report.live_page.__name__ in report.__all__


def test_a_failed_run_that_is_tried_again_is_under_way_on_the_live_page(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER]})
    failed = write_run(folder, "good", 1, BETTER, status="failed", metrics={}, error="RuntimeError: boom")
    assert "boom" in build_live(folder, {}, 5.0)[0].html
    with claim(failed):
        made = build_live(folder, {}, 5.0)[0]
    assert made.live is not None
    assert [run["name"] for run in made.live["running"]] == ["good seed=1"]
    assert "boom" not in made.html


def test_a_run_under_way_has_the_colour_of_its_arm_whatever_its_strength(tmp_path: Path) -> None:
    weak = dataclasses.replace(BETTER, strength={"beta.value": 0.9}, elbo=BETTER.elbo - 9)
    folder = write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER, weak]})
    under_way = next(tmp_path.glob("good*0.9*s1"), None)
    assert under_way is not None
    (under_way / "result.json").unlink()
    (under_way / "config.yaml").write_text("{}")
    with claim(under_way):
        made = build_live(folder, {}, 5.0)[0]
    (run,) = embed(Shown(made.study, []), made.live)["partial"]
    assert run["arm"] == 1


@pytest.mark.parametrize("name", METRICS)
def test_what_is_chosen_by_a_figure_is_the_better_one(name: str, tmp_path: Path) -> None:
    """Which way is better stands in `METRICS` alone: what has no better way is nothing to choose by."""
    strengths = [Truth(3, -21, 9, strength={"n": n}) for n in (1, 2)]
    folder = write_study(tmp_path, {"vanilla": [VANILLA], "free_bits": strengths}, select=f"val/{name}")
    for seed in range(3):
        for n, truth in enumerate(strengths):
            write_run(folder, "free_bits", seed, truth, metrics={f"val/{name}": float(n)})
    if METRICS[name].better is None:
        with pytest.raises(RequestError, match=f"study.select: val/{name} given, of which neither way is better"):
            report.build(folder)
    else:
        chosen = report.build(folder).study.arms[1].chosen.strength
        assert chosen == {"n": 2 if METRICS[name].better == "max" else 1}


def test_a_large_effect_is_told_with_interval_and_n(tmp_path: Path) -> None:
    verdict = words(write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER], "same": [VANILLA]}))
    assert "The reference vanilla has collapsed by this rule alone, that 50% of its units are inactive: " in verdict
    assert re.search(
        r"Shown to keep more rate than vanilla: good by 4\.\d\d nats \[3\.\d\d, [45]\.\d\d\], .*\(n=3\)\.", verdict
    )
    assert re.search(r"No difference in rate from vanilla shown: same \[-", verdict)


def test_a_reference_in_use_is_told(tmp_path: Path) -> None:
    verdict = words(write_study(tmp_path, {"vanilla": [BETTER], "other": [Truth(6, -20.6, 15)]}))
    assert "has not collapsed" in verdict
    assert "No arm is shown to keep more rate than vanilla." in verdict


def test_one_seed_makes_no_claim(tmp_path: Path) -> None:
    made = report.build(write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER]}, seeds=1))
    assert "No claim, for want of three pairs of runs whose differences vary: good (n=1)." in map(str, made.verdict)
    assert "In brackets" not in made.html


def test_cells_that_share_runs_are_no_winners(tmp_path: Path) -> None:
    cells = [cell("vanilla", s, VANILLA) for s in range(3)]
    for s in range(3):
        write_run(tmp_path, "vanilla", s, VANILLA)
    write_plan(tmp_path, {"name": "shared"}, cells + [c | {"arm": "twin", "cell": "twin"} for c in cells])
    made = report.build(tmp_path)
    assert not made.comparisons[0].is_claim
    assert made.comparisons[0].rate.mean == 0
    assert "vanilla and twin share runs: their settings come to the same." in made.notes
    (tmp_path / "vanillas0" / "result.json").unlink()
    assert "1 run of 3 gave no numbers and are listed as failures." in report.build(tmp_path).notes


def test_one_run_for_every_seed_counts_once(tmp_path: Path) -> None:
    for arm, truth in (("vanilla", VANILLA), ("good", BETTER)):
        write_run(tmp_path, arm, 0, truth)
    cells = [
        cell(arm, 0, truth) | {"over": {"seed": s}}
        for arm, truth in (("vanilla", VANILLA), ("good", BETTER))
        for s in range(3)
    ]
    write_plan(tmp_path, {}, cells)
    made = report.build(tmp_path)
    assert made.comparisons[0].rate.n == 1
    assert not made.comparisons[0].is_claim


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A study with a failed, a damaged, a cut and a missing run."""
    write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER]}, seeds=4)
    failed = {"status": "failed", "error": "\nLossIsNan: <b>the loss</b> is not finite\nTraceback", "metrics": {}}
    write_run(tmp_path, "good", 0, BETTER, **failed)
    (tmp_path / "goods1" / "result.json").write_text('{"signature": ')
    (tmp_path / "vanillas2" / "result.json").unlink()
    for file in sorted((tmp_path / "goods3").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    return tmp_path


def test_failures_are_listed_and_nothing_is_dropped(broken: Path) -> None:
    made = report.build(broken)
    table = made.html[made.html.index('<table id="failures">') :]
    assert "LossIsNan: &lt;b&gt;the loss&lt;/b&gt; is not finite" in table
    for said in (
        "goods0/run.log",
        "goods1/result.json is damaged",
        "begun and cut short",
        "not begun",
        "goods3/run.log (not written)",
    ):
        assert said in table
    statuses = [row["status"] for row in csv.DictReader(made.csv.splitlines())]
    assert sorted(statuses) == ["completed"] * 4 + ["cut", "damaged", "failed", "new"]
    assert made.comparisons[0].rate.n == 0
    assert any("4 runs of 8 gave no numbers" in note for note in made.notes)


def test_a_study_without_any_finished_run_still_has_a_page(tmp_path: Path) -> None:
    write_plan(tmp_path, {"name": "unborn"}, [cell("vanilla", 0, VANILLA), cell("good", 0, BETTER)])
    made = report.build(tmp_path)
    assert "No verdict: the reference vanilla has no completed run." in made.html


def test_all_text_is_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>$x$"
    facts = {
        "name": nasty,
        "question": nasty,
        "published": [{"arm": nasty, "metric": nasty, "value": 1, "source": nasty}],
    }
    write_run(tmp_path, "run", 0, VANILLA, arm=nasty)
    cells = [cell("run", 0, VANILLA) | {"arm": nasty, "cell": nasty, "strength": {nasty: nasty}}]
    write_plan(tmp_path, facts, cells)
    page = report.build(tmp_path).html
    assert nasty not in page
    assert "alert(1)" in page
    assert Page(page).tags.count("script") == 4


def test_runs_by_different_code_or_evaluation_are_flagged(tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER]})
    code = {"vae_lab": "0.2.0", "commit": "fff", "device": "cpu"}
    write_run(tmp_path, "good", 2, BETTER, environment=code, evaluation={"hash": "e2"}, timing={"steps": 9})
    notes = " ".join(report.build(tmp_path).notes)
    assert "different code: vae_lab 0.1.0 at commit abc1234 (5 runs); 0.2.0 at commit fff (1 run: good seed=2)" in notes
    assert "different settings, by their hash: e1 (5 runs); e2 (1 run: good seed=2)" in notes
    assert "Not the same budget: 2000 updates (5 runs); 9 updates (1 run: good seed=2)" in notes


def test_a_run_that_had_not_converged_is_marked(tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": [VANILLA]})
    (tmp_path / "vanillas1" / "metrics.csv").write_text(history(VANILLA, 1, rise=2.0))
    made = report.build(tmp_path)
    assert any(note.startswith("Not converged") and "1 run (vanilla seed=1)" in note for note in made.notes)
    assert made.html.count(">rising<") == 1


def test_a_last_line_cut_by_a_kill_and_a_repeated_step_do_no_harm(tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": [VANILLA]}, seeds=1)
    log = tmp_path / "vanillas0" / "metrics.csv"
    log.write_text(log.read_text() + "2000,40,val/elbo,-1.5\n2050,41,val/el")
    steps, values = report.build(tmp_path).study.rows[0].series["val/elbo"]
    assert (len(steps), steps[-1], values[-1]) == (40, 2000, -1.5)


def test_elbo_ranks_where_nll_still_moves_with_the_samples(tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": [VANILLA], "good": [BETTER]})
    assert report.build(tmp_path).comparisons[0].measure == "NLL"
    for path in tmp_path.glob("good*/result.json"):
        content = json.loads(path.read_text())
        content["metrics"]["test/nll_tenth"] += 9.0
        path.write_text(json.dumps(content))
    made = report.build(tmp_path)
    assert made.comparisons[0].measure == "ELBO"
    assert "Cost is in ELBO" in made.html


def test_predictions_stand_beside_what_was_measured(tmp_path: Path) -> None:
    predicted = [{"arm": "vanilla", "metric": "test/rate", "value": 1.5}, {"cell": "nobody", "metric": "x", "value": 1}]
    made = report.build(write_study(tmp_path, {"vanilla": [VANILLA]}, predicted=predicted))
    rate = made.study.arms[0].chosen.summary("test/rate").mean
    assert rate is not None
    assert f"differ by at most {rate - 1.5:.3f} (vanilla, test/rate: predicted 1.500" in str(made.verdict[0])
    assert 'id="predicted"' in made.html


def test_a_folder_without_a_plan(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / "a", "vanilla", seed, VANILLA)
        write_run(tmp_path / "b", "good", seed, BETTER)
    write_run(tmp_path / "c", "good", 0, Truth(2, strength={"n": 7}))
    write_run(tmp_path / "c", "solo", 0, VANILLA, arm=None)
    arms = [arm.name for arm in report.build(tmp_path).study.arms]
    assert arms == ["good goods0", "good good7s0", "good goods1", "run solos0", "vanilla"]


def test_without_a_plan_nothing_is_compared(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "vanilla", seed, VANILLA)
        write_run(tmp_path, "good", seed, BETTER)
    made = report.build(tmp_path)
    assert made.comparisons == []
    assert str(made.verdict[0]).startswith("No verdict: without a plan")
    assert "rate minus<br>" not in made.html


def test_bounds_that_cross_within_their_error_meet_and_beyond_it_are_told(tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": [VANILLA]}, seeds=1)
    path = tmp_path / "vanillas0" / "result.json"
    content = json.loads(path.read_text())
    rate = content["metrics"]["test/rate"]
    content["metrics"] |= {"test/mutual_information": rate + 0.05, "test/marginal_kl": -0.05}
    path.write_text(json.dumps(content))
    made = report.build(tmp_path)
    assert made.html.count("ends meet, ± 0.02") == 2
    assert not any("exceeds the rate" in note for note in made.notes)
    content["metrics"] |= {"test/mutual_information": rate + 1.0, "test/mutual_information_se": 0.2}
    path.write_text(json.dumps(content))
    made = report.build(tmp_path)
    assert any("exceeds the rate" in note for note in made.notes)
    doubt = "noise took it to the rate, which it cannot exceed"
    assert made.html.count(f"not to be trusted: {doubt}") == 2
    assert f"Mutual information and marginal KL on test cannot be trusted ({doubt}): vanilla seed=0." in made.notes
    assert f"[{rate + 1:.2f}, {rate:.2f}]" not in made.html


def test_a_bound_at_its_cap_is_told(tmp_path: Path) -> None:
    made = report.build(write_study(tmp_path, {"vanilla": [Truth(7.5)]}, seeds=1))  # 0.8 x 7.5 > ln 360 = 5.89
    assert "not to be trusted: at its cap, ln 360" in made.html


def test_a_reference_with_units_in_use_but_little_rate(tmp_path: Path) -> None:
    arms = {"vanilla": [Truth(1.5, -20, 14)], "other": [VANILLA], "control": [Truth(4, -21, 14)]}
    assert "has not collapsed outright, but keeps little" in words(write_study(tmp_path, arms, controls=["control"]))


def test_folders_of_a_tree(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_study(tmp_path / name, {"vanilla": [VANILLA]}, seeds=1)
    assert report.study_folders(tmp_path) == [tmp_path / "one", tmp_path / "two"]
    assert report.study_folders(tmp_path / "one") == [tmp_path / "one"]


def test_what_no_report_can_be_made_of(tmp_path: Path) -> None:
    with pytest.raises(NoReport, match="no such folder"):
        report.build(tmp_path / "nowhere")
    with pytest.raises(NoReport, match="no runs in it"):
        report.build(tmp_path)
    (tmp_path / "plan.json").write_text('{"cells": [{"arm": "a"}]}')
    with pytest.raises(NoReport, match=r"plan\.json is damaged: cells\.0: it has no signature"):
        report.build(tmp_path)


def test_the_table_fits_a_terminal(
    seven: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report.print_table(seven)
    printed = capsys.readouterr().out
    table, verdict = printed.split("The reference vanilla")
    assert max(map(len, table.splitlines())) <= 80
    assert "\x1b" not in printed
    assert "free_bits" in table
    assert "Shown to keep more rate than vanilla" in verdict
