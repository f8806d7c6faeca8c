"""A study runs to its end whatever one run does, does nothing twice, and can be cut at any moment."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_runs import ELSEWHERE, STUDY, Lab, Said, check_alone, finish, results, start, updates, write_study

from vae_lab.report import build as report

SERIAL = "hydra/launcher=basic"


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is tested elsewhere, and takes longer than the runs."""
    monkeypatch.setattr("vae_lab.report.write", lambda path, *_: (path / "report.html", path / "results.csv"))
    monkeypatch.setattr("vae_lab.report.print_table", lambda path, *_: None)


def states(folder: Path) -> dict[str, str]:
    return {result["arm"]: result["status"] for result in results(folder).values()}


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_arm_that_raises_stops_no_other_and_is_all_that_is_tried_again(
    faulty: list[str], lab: Lab, in_tmp: Path
) -> None:
    said = lab(*faulty, SERIAL)
    assert said.code == 1
    assert states(in_tmp) == {"broken": "failed", "plain": "completed", "annealed-0.5": "completed"}
    failed = next(name for name, result in results(in_tmp).items() if result["arm"] == "broken")
    log = f"runs/small/{failed}/run.log"
    title, row, count = said.err.splitlines()
    assert title.split() == ["failed", "error", "log"]
    assert row.split("  ") == ["broken seed=0", "ZeroDivisionError: the prior", log]
    assert count == "1 of 3 runs failed; --retry-failed tries them again"
    assert f"broken seed=0  failed: ZeroDivisionError: the prior (see {log})" in said.out
    assert "ZeroDivisionError: the prior\nbroke" in Path(log).read_text()

    before = results(in_tmp)
    Path("mended").touch()
    left = lab(*faulty, SERIAL)
    assert (left.code, left.err) == (1, said.err)
    assert "3 runs, 2 done already, 1 failed before (--retry-failed tries again)" in left.out
    assert results(in_tmp) == before
    again = lab(*faulty, SERIAL, "--retry-failed")
    assert (again.code, again.err) == (0, "")
    assert "3 runs, 2 done already\n" in again.out
    after = results(in_tmp)
    assert after[failed]["status"] == "completed"
    assert all(after[name] == before[name] for name in before if name != failed)
    assert "plain seed=0  test elbo" not in again.out


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_fail_fast_stops_the_rest(faulty: list[str], lab: Lab, in_tmp: Path) -> None:
    said = lab(*faulty, SERIAL, "fail_fast=true")
    assert said.code == 1
    assert states(in_tmp) == {"broken": "failed"}
    assert "broken seed=0  ZeroDivisionError: the prior" in said.err
    assert said.err.endswith("\n2 of 3 runs did not end; the same command goes on from here\n")


@pytest.mark.slow
def test_a_failed_run_of_a_plain_multirun(faulty: list[str], lab: Lab, in_tmp: Path) -> None:
    words = ["experiment=small", "arm=broken,plain", "--config-dir", "options", "-m"]
    said = lab("train", *words)
    assert said.code == 1
    assert "broken seed=0  ZeroDivisionError: the prior  runs/small/" in said.err
    assert states(in_tmp) == {"broken": "failed", "plain": "completed"}


@pytest.mark.usefixtures("no_report")
def test_a_study_made_wider_runs_only_what_is_new(lab: Lab, small: Path) -> None:
    assert lab("study", "small", "arm=plain", "seed=0", SERIAL).code == 0
    before = results(small)
    said = lab("study", "small", "arm=plain,annealed-0.5", "seed=0", SERIAL)
    assert "2 runs, 1 done already" in said.out
    assert "plain seed=0  test elbo" not in said.out
    assert len(results(small)) == 2
    assert {name: results(small)[name] for name in before} == before


@pytest.mark.usefixtures("no_report")
def test_more_samples_evaluate_again_and_train_nothing(lab: Lab, small: Path) -> None:
    lab("study", "small", "arm=plain", "seed=0", SERIAL)
    before = results(small)
    said = lab("study", "small", "arm=plain", "seed=0", SERIAL, "evaluation.nll_samples=40")
    assert "1 run, 0 done already" in said.out
    for name, after in results(small).items():
        assert after["evaluation"]["settings"]["nll_samples"] == 40
        assert after["metrics"]["test/nll"] != before[name]["metrics"]["test/nll"]
        assert after["timing"]["steps_run"] == before[name]["timing"]["steps_run"] == 12


@pytest.mark.usefixtures("no_report")
def test_rerun_trains_again_to_the_same_numbers(lab: Lab, small: Path) -> None:
    lab("study", "small", "arm=plain", "seed=0", SERIAL)
    (before,) = results(small).values()
    said = lab("study", "small", "arm=plain", "seed=0", SERIAL, "rerun=true")
    assert "1 run, 0 done already" in said.out
    (after,) = results(small).values()
    assert after["metrics"] == before["metrics"]
    assert (after["timing"]["attempts"], after["timing"]["steps_run"]) == (1, 12)
    assert after["timing"]["seconds_fit"] != before["timing"]["seconds_fit"]


@pytest.mark.usefixtures("no_report")
def test_a_plan_that_is_damaged_is_written_again(lab: Lab, small: Path) -> None:
    lab("study", "small", "arm=plain", "seed=0", SERIAL)
    Path("runs/small/plan.json").write_text("{")
    assert lab("train", "experiment=small", "arm=plain", "seed=0", "-m").code == 0
    assert lab("study", "small", "arm=plain", "seed=0", SERIAL).code == 0
    assert len(json.loads(Path("runs/small/plan.json").read_text())["cells"]) == 1


# ---- in processes of their own, with workers


def cut(process: subprocess.Popen[str], folder: Path, after: int, how: signal.Signals, group: bool = False) -> Said:
    """Waits for so many more updates, and sends a signal to the process, or to all that it has started too."""
    deadline, begun = time.monotonic() + 120, updates(folder)
    while updates(folder) < begun + after:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    if group:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    return finish(process)  # the pipes close once every worker has gone


STEPS, EVERY = 400, 50
LONGER = [
    "study",
    "small",
    "arm=plain,annealed-0.5",
    f"trainer.max_steps={STEPS}",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=150",
    f"callbacks.checkpoint.every_n_updates={EVERY}",
]


@pytest.mark.slow
def test_killed_and_then_asked_for_by_two_at_once(
    lab: Lab, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The parent alone is killed, then two ask at once: both end well and say all of it, with the numbers of a study that
    never was cut, every update counted, and nothing done twice."""
    killed = start(small, *LONGER)
    assert cut(killed, small, 120, signal.SIGKILL).code == -signal.SIGKILL
    check_alone(killed)

    pair = [start(small, *LONGER, SERIAL) for _ in range(2)]
    for said in [finish(process) for process in pair]:
        assert (said.code, said.err) == (0, "")
        assert "runs/small/report.html" in said.out
    cut_short = results(small)
    assert len(cut_short) == 4
    assert all(result["status"] == "completed" for result in cut_short.values())
    assert 4 * STEPS <= updates(small) <= 4 * STEPS + 2 * EVERY  # two runs were cut, an interval each at most
    assert updates(small) == sum(result["timing"]["steps_run"] for result in cut_short.values())

    other = tmp_path_factory.mktemp("uncut")
    os.chdir(other)
    write_study(other, "small", STUDY)
    assert lab(*LONGER, SERIAL).code == 0
    uncut = results(other)
    assert {n: r["metrics"] for n, r in uncut.items()} == {n: r["metrics"] for n, r in cut_short.items()}
    assert all(result["timing"]["steps_run"] == STEPS for result in uncut.values())


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_workers_too(how: signal.Signals, code: int, group: bool, small: Path) -> None:
    process = start(small, *LONGER)
    said = cut(process, small, 100, how, group)
    assert said.code == code
    assert said.err == ("interrupted; the same command goes on from here\n" if how == signal.SIGINT else "")
    check_alone(process)
    assert not results(small)


def test_a_signature_that_reads_like_a_number_is_told_as_a_word() -> None:
    from types import SimpleNamespace

    from vae_lab.arguments import parse_overrides
    from vae_lab.grid import Task

    for signature in ("31e5125000", "0123456789", "nan"):
        directory = SimpleNamespace(signature=signature)
        asked = SimpleNamespace(settings={"rerun": False}, directory=directory, varying=())
        (override,) = parse_overrides(Task((), asked).point())  # type: ignore[arg-type]
        assert override.value() == signature


ANOTHER_HOST = pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0,
    reason="another host is a namespace of its own, which root makes",
)


@pytest.mark.slow
@pytest.mark.parametrize("before", [(), pytest.param(ELSEWHERE, marks=ANOTHER_HOST)], ids=["here", "elsewhere"])
def test_two_at_once_share_the_work(before: tuple[str, ...], small: Path) -> None:
    """Each run is made once, and each of the two makes some; the other may be on another host that shares the folder."""
    words = ["study", "small", "seed=0,1,2,3", *LONGER[3:]]
    said = [finish(process) for process in [start(small, *words), start(small, *words, before=before)]]
    assert [(each.code, each.err) for each in said] == [(0, ""), (0, "")]
    made = [each.out.count("  test elbo ") for each in said]
    assert sum(made) == len(results(small)) == 12
    assert min(made) > 0
    assert updates(small) == 12 * STEPS


CHANGING = """\
import os, pathlib
from vae_lab.models.priors import StandardNormalPrior


class Changing(StandardNormalPrior):
    def forward(self):
        if any(pathlib.Path("runs").glob("*/*/config.yaml")):  # a run has begun: this is no check before it
            option = pathlib.Path("options/prior/changing.yaml")
            option.write_text("_target_: changing_prior.Changing\\nscale: 2.0\\n")
        return super().forward()

    def __init__(self, latent_dim: int, scale: float = 1.0) -> None:
        super().__init__(latent_dim)
"""


@pytest.mark.usefixtures("no_report")
def test_options_that_change_under_way_change_no_run_unnoticed(
    lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run rewrites the option that the second is made of."""
    (in_tmp / "options" / "prior").mkdir(parents=True)
    (in_tmp / "options" / "prior" / "changing.yaml").write_text("_target_: changing_prior.Changing\n")
    (in_tmp / "changing_prior.py").write_text(CHANGING)
    monkeypatch.syspath_prepend(str(in_tmp))
    write_study(
        in_tmp,
        "small",
        STUDY.replace("arms:", "arms:\n  changing: {prior: changing}\n  changed: {prior: changing, beta.value: 0.5}"),
    )
    said = lab("study", "small", "--config-dir", f"{in_tmp}/options", "seed=0", "arm=changing,changed", SERIAL)
    assert said.code == 1
    left_out, end = said.err.splitlines()[-2:]
    assert left_out.startswith("changed seed=0: left out: it was run "), said.err
    assert left_out.endswith(" now; options or data have changed meanwhile")
    assert end == "1 of 2 runs did not end; the same command goes on from here"
    assert states(in_tmp) == {"changing": "completed"}


def test_two_launches_with_other_seeds_report_each_on_its_own(small: Path) -> None:
    """In processes of their own, at once: neither plan is lost, each table has its launch's seed, and says of the other."""
    seeds = {seed: start(small, "study", "small", "arm=plain", f"seed={seed}", SERIAL) for seed in (3, 4)}
    said = {seed: finish(process) for seed, process in seeds.items()}
    assert [(each.code, each.err) for each in said.values()] == [(0, ""), (0, "")]
    folder = small / "runs" / "small"
    runs = {result["seed"]: name for name, result in results(small).items()}
    plan = json.loads((folder / "plan.json").read_text())
    plans = [plan, *plan["others"]]
    assert {one["cells"][0]["over"]["seed"]: one["cells"][0]["signature"] for one in plans} == runs
    last, other = (one["cells"][0]["over"]["seed"] for one in plans)
    for launch in plans:
        (cell,) = launch["cells"]
        elbo = results(small)[cell["signature"]]["metrics"]["test/elbo"]
        assert f" {elbo:.2f}" in said[cell["over"]["seed"]].out
    assert f"Not in this report: 1 run of another launch (1 ended): {plans[1]['command']}." in report(folder).notes
    assert [row.over for row in report(folder).study.rows] == [{"seed": last}]
    assert [row.over for row in report(folder, plans[1] | {"study": plan["study"]}).study.rows] == [{"seed": other}]
    both = finish(start(small, "study", "small", "arm=plain", "seed=3,4", SERIAL))
    assert (both.code, both.err) == (0, "")
    assert "2 runs, 2 done already" in both.out
    assert "Not in this report" not in both.out
    assert json.loads((folder / "plan.json").read_text())["others"] == []
