"""Whole searches, with real runs."""

import json
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from small_runs import finish, results, start
from small_searches import Search, Trials, command

from vae_lab.search.study import storage_at
from vae_lab.store import RunDirectory

LR = "optimizer.lr=tag(log,interval(1e-3,1e-1))"


def of(n: int) -> str:
    return f"hydra.sweeper.n_trials={n}"


def test_a_search_goes_on_to_a_total_and_ends_as_an_uncut_one(search: Search, trials: Trials, in_tmp: Path) -> None:
    space = [LR, "prior=normal,mixture", "hydra.sweeper.sampler.n_startup_trials=2"]
    said = search(*space, of(2))
    assert (said.code, said.err) == (0, "")
    assert "search quest: 2 completed of 2 trials" in said.out
    assert len(list(in_tmp.glob("runs/quest/*/result.json"))) == 2
    said = search(*space, of(4), "hydra.sweeper.n_jobs=4")
    live, *lines = said.out.splitlines()
    assert [line[:5] for line in lines[:2]] == ["[3/4]", "[4/4]"]
    assert live == "live: runs/quest/report.html"
    assert lines[2:4] == ["runs/quest/report.html", "runs/quest/results.csv"]
    assert "search quest: 4 completed of 4 trials" in said.out
    for trial in trials():
        metrics = RunDirectory(Path(trial.user_attrs["run"])).result()["metrics"]  # type: ignore[index]
        assert trial.values == [metrics["val/elbo"]]
    assert search(*space, of(4)).out.splitlines() == [live, *lines[2:]]  # nothing more to do
    search(*space, of(3), "study.name=uncut", "hydra.sweeper.n_jobs=4")
    assert [trial.params for trial in trials("uncut")][2:] == [trial.params for trial in trials()][2:3]
    assert not list(in_tmp.glob("runs/*/.workers/*"))

    best = max(trials(), key=lambda trial: trial.value or 0)
    run, line = said.out.splitlines()[-2:]
    assert run == best.user_attrs["run"]
    before = (in_tmp / run / "result.json").read_bytes()
    pasted = search(line=line.split()[1:])
    assert (pasted.code, pasted.out.splitlines()[-1]) == (0, run)
    assert (in_tmp / run / "result.json").read_bytes() == before


def test_several_objectives_have_a_front(search: Search, trials: Trials, in_tmp: Path) -> None:
    words = ["optimized_metric=[val/nll,val/active_units]", "hydra.sweeper.direction=[minimize,maximize]"]
    said = search(*words, "latent_dim=1,2,3", "hydra/sweeper/sampler=brute_force")
    assert (said.code, said.err) == (0, "")
    points = {
        r["settings"]["latent_dim"]: (-r["metrics"]["val/nll"], r["metrics"]["val/active_units"])
        for r in results(in_tmp).values()
    }
    assert len(points) == 3
    front = {k for k, p in points.items() if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points.values())}
    lines = said.out.splitlines()
    title = next(
        i for i, line in enumerate(lines) if line.split() == ["trial", "val/nll", "val/active_units", "latent_dim"]
    )
    table = [line.split() for line in lines[title + 1 : title + 1 + len(front)]]
    assert {int(row[-1]) for row in table} == front
    for row in table:
        nll, active = points[int(row[-1])]
        assert row[1:3] == [f"{-nll:.2f}", f"{active:.2f}"]
    assert sum(line.startswith("  vae-lab train ") for line in lines) == len(front)


def test_a_failed_run_is_a_failed_trial_and_the_search_goes_on(search: Search, trials: Trials, in_tmp: Path) -> None:
    space = ["optimizer.lr=1e38,1e-2", "hydra/sweeper/sampler=brute_force", "hydra.sweeper.seed=3"]
    said = search(*space)
    assert said.code == 1
    assert "search quest: 1 completed, 1 failed of 2 trials" in said.out
    states = {trial.params["optimizer.lr"]: trial for trial in trials()}
    assert states["1e+38"].state == TrialState.FAIL
    assert states["1e+38"].user_attrs["error"].startswith("Diverged: ")
    assert states["0.01"].state == TrialState.COMPLETE
    log = Path(states["1e+38"].user_attrs["run"]) / "run.log"
    for again in (False, True):
        said = search(*space) if again else said
        assert said.code == 1
        assert states["1e+38"].user_attrs["error"] in said.err
        assert str(log) in said.err
        assert said.err.endswith("1 of 2 trials failed; --retry-failed tries them again\n")
    said = search("optimizer.lr=1e38,1e37", "hydra/sweeper/sampler=brute_force", "study.name=fast", "fail_fast=true")
    assert said.code == 1
    assert [trial.state for trial in trials("fast")] == [TrialState.FAIL]
    assert "failed: Diverged: " in said.out


def test_any_storage_url(search: Search, trials: Trials, in_tmp: Path) -> None:
    url = "sqlite:///trials.db"
    name = "hydra.sweeper.study_name=other"
    said = search(LR, of(2), f"hydra.sweeper.storage={url}", "hydra/sweeper/pruner=median", name)
    assert (said.code, said.err) == (0, "")
    assert [trial.state for trial in trials("other", url)] == [TrialState.COMPLETE] * 2
    assert all(len(trial.intermediate_values) == 3 for trial in trials("other", url))
    assert len(list(in_tmp.glob("runs/other/*/result.json"))) == 2
    assert not list(in_tmp.glob("runs/*/search.journal"))
    said = search(LR, "hydra.sweeper.storage=nosuch://x")
    assert said.code == 2
    assert said.err.startswith("vae-lab: hydra.sweeper.storage: ")
    assert said.err.count("\n") == 1


def test_what_a_dead_worker_s_trial_fails_of_is_said(search: Search, in_tmp: Path) -> None:
    """Its run had failed before it could tell; one whose launch died goes on."""
    space = ["latent_dim=1,2,3"]
    assert search(*space, of(1)).code == 0
    (done,) = results(in_tmp).values()
    run = in_tmp / "a-run"
    run.mkdir()
    (run / "result.json").write_text(json.dumps(done | {"status": "failed", "error": "Diverged: at update 3"}))
    study = optuna.load_study(study_name="quest", storage=storage_at(None, in_tmp / "runs" / "quest"))
    for facts in ({"run": str(run)}, {"deaths": 2}):
        trial = study.ask({"latent_dim": CategoricalDistribution(("1", "2", "3"))})
        for key, value in {"worker": "gone", **facts}.items():
            trial.set_user_attr(key, value)
    said = search(*space, of(3))
    assert said.code == 1
    told = [line.partition("  ")[0] for line in said.out.splitlines()[1:]]
    assert sorted(told[:2]) == [
        "[2/3] trial 1: failed: Diverged: at update 3",
        "trial 2: the launch that ran it ended first; it goes on",
    ]
    assert "search quest: 2 completed, 1 failed of 3 trials" in told


def test_failed_trials_are_tried_again_in_their_place(search: Search, trials: Trials, faulty: list[str]) -> None:
    """Of two priors one breaks; mended, it is tried again, and nothing else."""
    space = ["--config-dir", "options", "prior=normal,faulty", "hydra/sweeper/sampler=brute_force"]
    said = search(*space)
    assert (said.code, "ZeroDivisionError: the prior" in said.err) == (1, True)
    Path("mended").touch()
    said = search(*space, "--retry-failed")
    assert (said.code, said.err) == (0, "")
    assert "search quest: 2 completed of 2 trials" in said.out
    assert [trial.params["prior"] for trial in trials()].count("faulty") == 2
    assert search(*space, "--retry-failed").code == 0
    assert len(trials()) == 3


LONG = ["trainer.max_steps=800", "callbacks.checkpoint.every_n_updates=40", "trainer.check_val_every_n_epoch=100"]


def test_a_killed_worker_s_trial_is_tried_again(search: Search, trials: Trials, in_tmp: Path) -> None:
    """And goes on, with `rerun=true` too, which forgets a run before its first trial alone."""
    worker = start(in_tmp, *command(*LONG, LR, of(1), "rerun=true"))
    begun: list[Path] = []
    deadline = time.monotonic() + 300
    while not begun and time.monotonic() < deadline:
        time.sleep(0.05)
        begun = list(in_tmp.glob("runs/quest/*/checkpoints/last.ckpt"))
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()
    (dead,) = trials()
    assert dead.state == TrialState.RUNNING
    assert (in_tmp / dead.user_attrs["run"] / "checkpoints" / "last.ckpt") == begun[0]

    said = search(*LONG, LR, of(1), "rerun=true")
    assert (said.code, said.err) == (0, "")
    assert "search quest: 1 completed of 1 trial" in said.out
    old, again = trials()
    assert (old.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert again.params == old.params == dead.params
    timing = results(in_tmp)[begun[0].parent.parent.name]["timing"]
    assert (timing["attempts"], timing["steps"]) == (2, 800)
    assert 800 <= timing["steps_run"] <= 840
    assert not list(in_tmp.glob("runs/quest/.workers/*"))


@pytest.mark.slow
def test_two_workers_share_a_search(trials: Trials, in_tmp: Path) -> None:
    workers = [start(in_tmp, *command(LR, "trainer.max_steps=300", of(8))) for _ in range(2)]
    said = [finish(worker) for worker in workers]
    assert [one.code for one in said] == [0, 0], said
    done = trials()
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 8
    assert len({trial.params["optimizer.lr"] for trial in done}) == 8
    assert len({trial.user_attrs["worker"] for trial in done}) == 2
    assert {r["timing"]["attempts"] for r in results(in_tmp).values()} == {1}
    assert len(results(in_tmp)) == 8


@pytest.mark.slow
def test_a_batch_goes_side_by_side_and_a_killed_job_is_tried_again(trials: Trials, in_tmp: Path) -> None:
    """Through joblib, one of whose workers is killed while it trains."""
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"]
    process = start(in_tmp, *command(*LONG, "seed=1", LR, *joblib, of(2)))
    killed = None
    while killed is None and process.poll() is None:
        time.sleep(0.05)
        if list(in_tmp.glob("runs/quest/*/checkpoints/last.ckpt")):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            workers = [int(c) for c in children if b"resource_tracker" not in Path(f"/proc/{c}/cmdline").read_bytes()]
            if workers:
                killed = workers[-1]
                os.kill(killed, signal.SIGKILL)
    said = finish(process)
    assert said.code == 0, said
    assert "once more" in said.out
    counted = [trial for trial in trials() if not trial.user_attrs.get("requeued")]
    assert [trial.state for trial in counted] == [TrialState.COMPLETE] * 2
    assert len(results(in_tmp)) == 2
