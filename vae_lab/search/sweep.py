"""A search from its first trial to its last: asks, launches, tells, and says what was found."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vae_lab.amounts import counted, visible
from vae_lab.config import composer
from vae_lab.errors import RequestError
from vae_lab.grid import forget_before, handed_out, stamp
from vae_lab.identity import evaluation_hash
from vae_lab.options import folders
from vae_lab.request import Request, request
from vae_lab.search.importance import described, importance
from vae_lab.search.settings import Settings, checked, objectives_of
from vae_lab.search.space import corners, split
from vae_lab.search.study import (
    Outcome,
    Search,
    note,
    note_importance,
    open_study,
    requeued,
    shown_url,
    total,
    trial_of,
    working,
)
from vae_lab.store import LOG
from vae_lab.training.pruning import Pruning

Launch = Callable[[list[list[str]], int], Sequence[Outcome]]
"""Runs a batch of jobs, each given by its overrides, the first of them number so-and-so."""

Watched = Callable[[Path], AbstractContextManager[None]]
"""What is done with the folder of a search while it runs: a page is kept up to date."""


def sweep(
    overrides: list[str],
    told: list[str],
    node: Mapping[str, Any],
    config_dir: str | None,
    launch: Launch,
    watched: Watched,
) -> None:
    """Runs a search until it has its total number of trials, and prints the best.

    Arguments:
        told: the words that were for Hydra, `node` what its sweeper made of them.

    Errors: `RequestError` before the first run, if the request makes no sense; `SystemExit(1)` at the end if a run
    failed.
    """
    base = _request(corners(overrides)[0], config_dir)
    objectives = objectives_of(base.settings)
    settings, directions = checked(node, objectives)
    fixed, space = split(overrides)
    folder = Path(base.settings["runs_dir"]) / settings.study_name
    identity = {
        "space": sorted(dimension.written for dimension in space),
        "objectives": [f"{name} ({direction})" for name, direction in zip(objectives, directions, strict=True)],
        "fixed settings": f"{base.directory.signature}-{evaluation_hash(base.evaluation.identity())}",
    }
    trials = total(settings, space)
    study = open_study(settings, directions, folder, identity)
    flags = ["--config-dir", config_dir] if config_dir else []
    command = ["vae-lab", "train", "-m", *flags, *map(_without_password, told), *overrides]
    note(settings, dict(zip(objectives, directions, strict=True)), folder, trials, shlex.join(command))
    with working(folder) as me:
        found = Told(Search(settings, space, folder, study, me), fixed, objectives, config_dir)
        if settings.retry_failed:
            found.search.retry_failed()
        with watched(folder):
            while batch := found.ask():
                found.run(batch, launch)
            note_importance(folder, importance(study, objectives))
        found.conclude()


def _without_password(word: str) -> str:
    key, _, url = word.partition("=")
    quotes = "'\""  # of Hydra's grammar
    is_url = key.endswith("hydra.sweeper.storage") and url != "null"
    return f"{key}={shown_url(url.strip(quotes))}" if is_url else word


def _request(overrides: list[str], config_dir: str | None) -> Request:
    with composer(config_dir) as compose:
        return request(compose(overrides), folders(config_dir))


class Told:
    """A search, and how it is told to the person who asked for it."""

    def __init__(self, search: Search, fixed: list[str], objectives: list[str], config_dir: str | None) -> None:
        self.search, self.fixed, self.objectives, self.config_dir = search, fixed, objectives, config_dir
        self.lost = False

    def words(self, params: dict[str, Any]) -> list[str]:
        name = f"study.name={self.search.settings.study_name}"
        return [*(word for word in self.fixed if not word.startswith("study.name=")), name, *self.search.words(params)]

    def ask(self) -> list[Trial]:
        """The next trials, after those that other workers left behind."""
        left, failed = self.search.requeue_the_dead()
        for number in left:
            print(f"trial {number}: the launch that ran it ended first; it goes on", flush=True)
        for trial in failed:
            self._say(trial)
        return self.search.ask()

    def run(self, batch: list[Trial], launch: Launch) -> None:
        """Launches a batch and tells what became of each. Whatever stops it, no trial is left behind: one whose job was
        lost goes back into the queue. Where the loss of a worker loses the answers of the whole batch and not its runs, it
        is gone through again; a second one in a row is raised."""
        lost = False
        try:
            noted = [(trial, asked) for trial in batch if (asked := self._noted(trial))]
            jobs = [trial for trial, _ in noted]
            words = [
                [*handed_out(self.words(trial.params), asked), f"hydra.sweeper.trial={trial.number}"]
                for trial, asked in noted
            ]
            outcomes, lost = (launch(words, jobs[0].number) if jobs else []), True
            for trial, outcome in zip(jobs, outcomes, strict=True):
                if not isinstance(outcome, BrokenExecutor):
                    self._say(self.search.tell(trial, outcome))
            self.lost = False
        except BrokenExecutor as error:
            lost = True
            if self.lost:
                raise
            self.lost = True
            print(f"a batch was lost ({type(error).__name__}: {' '.join(str(error).split())}); once more", flush=True)
        finally:
            for failed in self.search.give_back(batch, lost):
                self._say(failed)

    def _noted(self, trial: Trial) -> Request | None:
        """Notes the run that a trial is; None if its settings make no sense together, which fails it."""
        try:
            asked = _request(self.words(trial.params), self.config_dir)
        except RequestError as error:
            self._say(self.search.tell(trial, error))
            return None
        if not requeued(trial):  # else it goes on with what it did before
            forget_before(asked)
        trial.set_user_attr("before", stamp(asked.directory.path))
        trial.set_user_attr("run", str(asked.directory.path))
        return asked

    def _say(self, done: FrozenTrial) -> None:
        """A line on a trial that has ended."""
        said = {
            TrialState.COMPLETE: lambda: self._figures(done),
            TrialState.PRUNED: lambda: f"pruned at validation {len(done.intermediate_values)} after it had settled",
            TrialState.FAIL: lambda: f"failed: {done.user_attrs.get('error')}",
        }[done.state]()
        head = f"[{self.search.ended():{len(str(self.search.total))}}/{self.search.total}] trial {done.number}"
        print(f"{head}: {said}  {' '.join(self.search.words(done.params))}", flush=True)

    def _figures(self, trial: FrozenTrial) -> str:
        return "  ".join(f"{name} {value:.2f}" for name, value in zip(self.objectives, trial.values, strict=True))

    def conclude(self) -> None:
        """Prints what there is, the best of it, and what failed. Errors: `SystemExit(1)` if anything did."""
        search, trials = self.search, self.search.counted()
        states = [trial.state for trial in trials]
        names = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running elsewhere"}
        numbers = [
            f"{states.count(TrialState[state])} {word}" for state, word in names.items() if TrialState[state] in states
        ]
        print(
            f"search {search.settings.study_name}: {', '.join(numbers)} of {counted(search.total, 'trial')}", flush=True
        )
        for line in described(importance(search.study, self.objectives)):
            print(line, flush=True)
        if TrialState.COMPLETE in states:
            self._show_best(search.study.best_trials)
        if failed := [trial for trial in trials if trial.state == TrialState.FAIL]:
            Console(file=sys.stderr, width=500).print(self._failures(failed))
            told = f"{len(failed)} of {search.total} trials failed; --retry-failed tries them again"
            print(told, file=sys.stderr, flush=True)
            raise SystemExit(1)

    def _failures(self, failed: list[FrozenTrial]) -> Table:
        table = Table("failed", "settings", "error", "log", box=None, pad_edge=False)
        for trial in failed:
            run, error = trial.user_attrs.get("run"), str(trial.user_attrs.get("error")).strip().partition("\n")[0]
            words = " ".join(self.search.words(trial.params)) if self.search.is_whole(trial) else ""
            log = str(Path(run) / LOG) if run else "not begun"
            table.add_row(*map(escape, (f"trial {trial.number}", words, visible(error), log)))
        return table

    def _show_best(self, best: list[FrozenTrial]) -> None:
        flags = ["--config-dir", self.config_dir] if self.config_dir else []
        if len(self.objectives) == 1:
            best = best[:1]
            print(f"best: trial {best[0].number}, {self._figures(best[0])}")
        else:
            best = sorted(best, key=lambda trial: trial.values)
            print("best: the Pareto front")
            Console(width=500).print(self._front(best))
        for trial in best:
            print(
                f"{trial.user_attrs.get('run', '')}\n  {shlex.join(['vae-lab', 'train', *flags, *self.words(trial.params)])}"
            )

    def _front(self, best: list[FrozenTrial]) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("trial", *self.objectives):
            table.add_column(title, justify="right")
        for dimension in self.search.space:
            table.add_column(dimension.key)
        for trial in best:
            words = (word.partition("=")[2] for word in self.search.words(trial.params))
            table.add_row(str(trial.number), *(f"{value:.2f}" for value in trial.values), *words)
        return table


def judged(asked: Request, node: Mapping[str, Any]) -> Request:
    """The request of a job; if the job is a trial of a search that prunes, with the callback that does it."""
    if node.get("trial") is None or str(node["pruner"].get("_target_")).endswith(".NopPruner"):
        return asked
    settings = Settings.model_validate(dict(node))
    trial = trial_of(settings, asked.directory.path.parent)
    sign = 1.0 if trial.study.direction.name == "MAXIMIZE" else -1.0
    return dataclasses.replace(asked, callbacks=(Pruning(trial, asked.directory.history, sign),))
