"""No run is looked at before its own warm-up has ended, and what is cut goes on to the numbers of an uncut run."""

import csv
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import optuna
import pytest
from small_runs import TINY, results
from small_searches import Search, Trials

from vae_lab import compose, index
from vae_lab.errors import Pruned
from vae_lab.request import Request, request
from vae_lab.run import execute
from vae_lab.store import PRUNED, RunDirectory
from vae_lab.training.pruning import Pruning

ANNEALED = ["beta=linear", "beta.warmup=8"]  # of 12 updates; a validation after every fourth


def asked(folder: Path, *words: str) -> Request:
    return request(compose(*TINY, "optimizer.lr=0.02", f"runs_dir={folder}", *words))


def seen(run: RunDirectory) -> dict[int, float]:
    """`val/elbo` by the update at which it was measured."""
    return {step: value for step, _, name, value in run.history() if name == "val/elbo"}


def judge(pruner: optuna.pruners.BasePruner, direction: str = "maximize") -> optuna.Trial:
    return optuna.create_study(direction=direction, pruner=pruner).ask()


def run(wanted: Request, trial: optuna.Trial, sign: float = 1.0) -> bool:
    """Runs under a judge; whether it came to its end."""
    watched = dataclasses.replace(wanted, callbacks=(Pruning(trial, wanted.directory.history, sign),))
    try:
        execute(watched, progress=False)
    except Pruned:
        return False
    return True


def test_an_annealed_run_is_judged_by_what_follows_its_annealing(tmp_path: Path) -> None:
    """Both arms are equally bad at update 4, and good later. A judge who asks for more than they have at update 4 cuts
    the one that had settled by then, and has not looked at the other."""
    for name, words in {"plain": [], "annealed": ANNEALED}.items():
        execute(asked(tmp_path / "uncut", f"study.name={name}", *words), progress=False)
    plain, annealed = (
        seen(RunDirectory(next((tmp_path / "uncut" / name).glob("*/result.json")).parent))
        for name in ("plain", "annealed")
    )
    bad, good = max(plain[4], annealed[4]), min(annealed[8], annealed[12])
    assert bad < good
    demand = (bad + good) / 2

    trial = judge(optuna.pruners.ThresholdPruner(lower=demand))
    assert not run(asked(tmp_path / "cut"), trial)
    assert trial.study.trials[0].intermediate_values == {0: plain[4]}

    trial = judge(optuna.pruners.ThresholdPruner(lower=demand))
    assert run(asked(tmp_path / "cut", *ANNEALED), trial)
    assert trial.study.trials[0].intermediate_values == {0: annealed[8], 1: annealed[12]}

    hopeless = asked(tmp_path / "hopeless", *ANNEALED)
    trial = judge(optuna.pruners.ThresholdPruner(lower=good + 100))
    assert not run(hopeless, trial)
    assert trial.study.trials[0].intermediate_values == {0: annealed[8]}
    assert set(seen(hopeless.directory)) == {4, 8}


@pytest.mark.parametrize("words", [["beta=geco"], ["beta=pi"], ["beta=target_rate"], ["inference=aggressive"]])
def test_a_run_that_follows_what_it_measures_is_never_looked_at(words: list[str], tmp_path: Path) -> None:
    """Of such a warm-up nobody knows when it ends."""
    trial = judge(optuna.pruners.ThresholdPruner(lower=1e9))
    assert run(asked(tmp_path, *words), trial)
    assert trial.study.trials[0].intermediate_values == {}
    assert not run(asked(tmp_path), judge(optuna.pruners.ThresholdPruner(lower=1e9)))


def test_arms_are_compared_at_the_same_step_after_they_have_settled(tmp_path: Path) -> None:
    """Of five trials before it, each was worse at step 0 than an annealed run at its update 8, and better than it was at
    update 4: at its own age it would have been cut."""
    uncut = asked(tmp_path / "uncut", *ANNEALED)
    execute(uncut, progress=False)
    values = seen(uncut.directory)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
    for _ in range(5):
        other = study.ask()
        other.report((values[4] + values[8]) / 2, 0)
        study.tell(other, 0.0)
    assert run(asked(tmp_path / "judged", *ANNEALED), study.ask())


class Stern:
    """Cuts at a step; remembers what it was told."""

    def __init__(self, step: int | None = None) -> None:
        self.step, self.told = step, {}  # type: ignore[var-annotated]

    def report(self, value: float, step: int) -> None:
        self.told[step] = value

    def should_prune(self) -> bool:
        return self.step in self.told


def test_a_cut_run_is_resumable_and_ends_as_an_uncut_one(tmp_path: Path) -> None:
    whole = asked(tmp_path / "whole")
    uncut = execute(whole, progress=False)
    wanted, first, second = asked(tmp_path / "cut"), Stern(1), Stern()
    assert not run(wanted, first)  # type: ignore[arg-type]
    assert wanted.directory.state() == index.rows(tmp_path / "cut")[0]["state"] == "pruned"
    assert "pruned at update 8" in (wanted.directory.path / "run.log").read_text()
    assert run(wanted, second)  # type: ignore[arg-type]
    result = wanted.directory.result()
    assert result is not None
    assert wanted.directory.state() == "completed"
    assert not (wanted.directory.path / PRUNED).exists()
    assert result["metrics"] == uncut["metrics"]
    assert result["timing"]["steps_run"] == 12  # nothing was repeated
    assert second.told == dict(enumerate(seen(whole.directory).values()))  # what came before the cut, too
    assert wanted.directory.history() == whole.directory.history()


def test_the_history_is_read_once(tmp_path: Path) -> None:
    """It grows with every validation: to read all of it at each would cost more and more."""
    wanted, reads = asked(tmp_path, "trainer.max_steps=40"), 0

    def history() -> Iterable[tuple[int, int, str, float]]:
        nonlocal reads
        reads += 1
        return wanted.directory.history()

    told = Stern()
    execute(dataclasses.replace(wanted, callbacks=(Pruning(told, history),)), progress=False)
    assert told.told == dict(enumerate(seen(wanted.directory).values()))
    assert (len(told.told), reads) == (10, 1)


def test_a_search_that_minimises_is_told_minus_the_elbo(tmp_path: Path) -> None:
    wanted = asked(tmp_path)
    trial = judge(optuna.pruners.ThresholdPruner(upper=0.0), "minimize")
    assert not run(wanted, trial, sign=-1.0)
    assert trial.study.trials[0].intermediate_values == {0: -seen(wanted.directory)[4]}


def test_a_search_prunes(search: Search, trials: Trials, in_tmp: Path) -> None:
    pruner = [
        "hydra/sweeper/pruner=threshold",
        "hydra/sweeper/sampler=brute_force",
        "callbacks.checkpoint.every_n_updates=5",
    ]
    space = ["beta.warmup=8,12", "beta=linear", "optimizer.lr=0.02"]
    said = search(*pruner, *space, "hydra.sweeper.pruner.lower=1e9")
    assert (said.code, said.err) == (0, "")
    assert "search quest: 2 pruned of 2 trials" in said.out
    assert {t.params["beta.warmup"]: list(t.intermediate_values) for t in trials()} == {"8": [0], "12": [0]}
    assert results(in_tmp) == {}
    runs = [Path(t.user_attrs["run"]) for t in trials()]
    assert {RunDirectory(path).state() for path in runs} == {"pruned"}
    listed = search(line=["ls", "runs/quest", "state=pruned", "--columns", "signature,seed"])
    assert [line.split() for line in listed.out.splitlines()[1:]] == sorted([path.name, "0"] for path in runs)
    told = search(line=["report", "runs/quest"])
    assert "Note: 2 runs of 2 pruned by the search before the end" in told.out
    assert "fail" not in told.out.replace("no failures", "")
    with open("runs/quest/results.csv", newline="") as file:
        assert {(row["status"], row["seed"]) for row in csv.DictReader(file)} == {("pruned", "0")}
    said = search(line=["train", "study.name=quest", *TINY, "optimizer.lr=0.02", "beta=linear", "beta.warmup=8"])
    assert said.code == 0
    assert set(results(in_tmp)) <= {path.name for path in runs}
