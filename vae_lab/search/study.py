"""The trials of a search: an Optuna study that several processes may share, and that outlives each of them."""

import contextlib
import itertools
import math
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.samplers import RandomSampler
from optuna.storages.journal import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from vae_lab.claim import claim, is_claimed
from vae_lab.distributions import stream_seed
from vae_lab.errors import RequestError, RunFailed, first_line
from vae_lab.grid import stamp
from vae_lab.search.draw import MEMORY, draw
from vae_lab.search.journal import MendedJournal
from vae_lab.search.settings import Direction, Settings, pruner_of, sampler_of
from vae_lab.search.space import Dimension
from vae_lab.store import PLAN, SEARCH, Damaged, RunDirectory, read_search, to_json, write_atomically
from vae_lab.study import find_studies

JOURNAL, WORKERS, LOCK = "search.journal", ".workers", ".search.lock"
DEATHS = 3
"""A trial whose job was lost so often, while its launch went on, is held for the cause, and fails."""
PLACE = "place"
"""The attribute of a trial that says which of the `n_trials` it is, whatever number it has after kills and retries."""

SOLO = "solo"
"""The study of runs that are in none."""

Outcome = float | list[float] | None | Exception
"""What became of a trial: the value of its objective (or of each), None if it was pruned, or why it failed."""


def storage_at(url: str | None, folder: Path) -> optuna.storages.BaseStorage:
    """The storage of that URL, or the journal in a search's folder. Errors: `RequestError`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search says itself what is to be said
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(MendedJournal(folder / JOURNAL))
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:  # each database's driver has its own
        raise RequestError(f"hydra.sweeper.storage: {first_line(error)}") from error


@contextlib.contextmanager
def working(folder: Path) -> Iterator[Path]:
    """A claim on being at work on a search, held until this process ends, however it ends."""
    me = folder / WORKERS / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with claim(me):
            yield me
    finally:
        _forget(me)


def _forget(worker: Path) -> None:
    with contextlib.suppress(OSError):
        for file in worker.iterdir():
            file.unlink()
        worker.rmdir()


@dataclass
class Search:
    """The trials of one search, as one of its workers sees them."""

    settings: Settings
    space: list[Dimension]
    folder: Path
    study: optuna.Study
    me: Path

    def __post_init__(self) -> None:
        self.study.sampler = RandomSampler(seed=0)  # never draws: see `_draw`
        self.total = total(self.settings, self.space)

    def ask(self) -> list[Trial]:
        """The next trials, at most `n_jobs`; none once there are `n_trials` in all. One worker at a time asks, so that
        the total is exact. What is in the queue comes first; a batch ends at a place that `n_jobs` divides."""
        batch: list[Trial] = []
        with FileLock(self.folder / LOCK):
            while len(batch) < self.settings.n_jobs and self.asked() < self.total:
                if not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                    place = self._free_place()
                    if batch and place % self.settings.n_jobs == 0:
                        break
                    self._draw(place)
                batch.append(self._ask())
        return batch

    def _ask(self) -> Trial:
        """The first trial in the queue, whose parameters are there already."""
        trial = self.study.ask({d.key: d.distribution() for d in self.space})
        trial.set_user_attr("worker", self.me.name)
        return trial

    def _draw(self, place: int) -> None:
        """Queues the point of a place. Its sampler is made for it, with a seed of its own, and sees how the batches before
        have ended, and of its own batch only the points: so a search that was cut draws what an uncut one does."""
        first = place - place % self.settings.n_jobs
        before = [_undecided(trial) if at >= first else trial for at, trial in self._places() if at < place]
        sampler = sampler_of(self.settings, stream_seed(self.settings.seed, "search", place) % 2**32)
        params, memory = draw(sampler, self.study, {d.key: d.distribution() for d in self.space}, before)
        self.study.enqueue_trial(params, {PLACE: place, MEMORY: memory})

    def _places(self) -> list[tuple[int, FrozenTrial]]:
        """The trials of the `n_trials` by their places, in order; one of before there were places has its rank."""
        counted = enumerate(self.counted())
        placed = [(trial.user_attrs.get(PLACE, rank), trial) for rank, trial in counted if self.is_whole(trial)]
        return sorted(placed, key=lambda pair: (pair[0], pair[1].number))

    def _free_place(self) -> int:
        """The first place that no trial has."""
        taken = {place for place, _ in self._places()}
        return next(place for place in itertools.count() if place not in taken)

    def retry_failed(self) -> None:
        """Queues every trial that has failed once more; the new one counts in its place."""
        with FileLock(self.folder / LOCK):
            for trial in self.counted():
                if trial.state == TrialState.FAIL and self.is_whole(trial):
                    self.study.enqueue_trial(trial.params, {**_kept(trial), "instead_of": trial.number})

    def counted(self) -> list[FrozenTrial]:
        """The trials that are of the `n_trials`: all but those in the queue, those that were put back there, and those that
        failed and are tried again."""
        trials = self.study.get_trials(deepcopy=False)
        left = {trial.user_attrs.get("instead_of") for trial in trials}
        left |= {trial.number for trial in trials if trial.user_attrs.get("requeued")}
        return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in left]

    def asked(self) -> int:
        """How many they are."""
        return len(self.counted())

    def ended(self) -> int:
        """How many of them have an outcome."""
        return sum(trial.state.is_finished() for trial in self.counted())

    def is_whole(self, trial: FrozenTrial) -> bool:
        """Whether it has all its parameters; else it died as it was asked for."""
        return set(trial.params) == {dimension.key for dimension in self.space}

    def words(self, params: dict[str, Any]) -> list[str]:
        """The overrides that stand for a trial's parameters."""
        return [dimension.word(params[dimension.key]) for dimension in self.space]

    def tell(self, trial: Trial, outcome: Outcome) -> FrozenTrial:
        """Records what became of a trial."""
        if outcome is None:
            return self.study.tell(trial, state=TrialState.PRUNED)
        if isinstance(outcome, Exception):
            trial.set_user_attr("error", str(outcome))
            return self.study.tell(trial, state=TrialState.FAIL)
        values = outcome if isinstance(outcome, list) else [outcome]
        if not all(map(math.isfinite, values)):
            return self.tell(trial, RunFailed(_error_of(trial) or f"{values} is no result"))
        return self.study.tell(trial, values)

    def give_back(self, batch: list[Trial], lost: bool) -> list[FrozenTrial]:
        """Puts what a worker leaves without an outcome back into the queue, but what has failed, which it returns.

        Arguments:
            lost: whether the jobs were lost while the launch goes on, which is held against the trials.
        """
        numbers = {trial.number for trial in batch}
        with FileLock(self.folder / LOCK):
            return [done for t in self._running() if t.number in numbers and (done := self._requeue(t, lost))]

    def requeue_the_dead(self) -> tuple[list[int], list[FrozenTrial]]:
        """Does the same with what a worker has left that is alive no more: the numbers of what goes on, and what has failed.
        A launch may end for any reason, so that nothing is held against its trials."""
        left, failed = [], []
        with FileLock(self.folder / LOCK):
            for trial in self._running():
                worker = self.folder / WORKERS / str(trial.user_attrs.get("worker"))
                if not is_claimed(worker):
                    done = self._requeue(trial, lost=False)
                    failed += [done] if done else []
                    left += [] if done or not self.is_whole(trial) else [trial.number]
                    _forget(worker)
        return left, failed

    def _running(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _requeue(self, left: FrozenTrial, lost: bool) -> FrozenTrial | None:
        """A trial without an outcome ends, and a new one with its parameters is queued, which finds the old one's run:
        done, or cut with a checkpoint. One that has failed, or was lost too often, is returned."""
        trial, deaths = Trial(self.study, left._trial_id), left.user_attrs.get("deaths", 0) + lost
        error = _error_of(left) or (f"its job was lost {deaths} times" if lost and deaths >= DEATHS else None)
        if error:
            return self.tell(trial, RunFailed(error))
        trial.set_user_attr("requeued", True)
        self.study.tell(trial, state=TrialState.FAIL)
        if self.is_whole(left):
            self.study.enqueue_trial(left.params, {**_kept(left), "deaths": deaths})
        return None


def _kept(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial hands on to the one that takes its place."""
    return {key: trial.user_attrs[key] for key in (PLACE, MEMORY) if key in trial.user_attrs}


def _undecided(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was before it had an outcome."""
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
    )


def total(settings: Settings, space: list[Dimension]) -> int:
    """How many trials there will be: `n_trials`, or fewer where every point of a finite space is tried once."""
    if not isinstance(sampler_of(settings, 0), optuna.samplers.BruteForceSampler):
        return settings.n_trials
    for dimension in space:
        if dimension.continuous:
            raise RequestError(
                f"{dimension.written}: brute_force tries every point; an interval has too many (use a range)"
            )
    return min(settings.n_trials, math.prod(len(dimension.texts) for dimension in space))


def _error_of(trial: Trial | FrozenTrial) -> str | None:
    """Why the run of a trial failed, if it did; what an earlier trial left there does not tell."""
    run = RunDirectory(Path(trial.user_attrs.get("run", os.devnull)))
    with contextlib.suppress(Damaged, OSError):
        return (run.result() or {}).get("error") if stamp(run.path) != trial.user_attrs.get("before") else None
    return None


def requeued(trial: Trial) -> bool:
    """Whether a trial takes the place of one whose worker died."""
    return "deaths" in trial.user_attrs


def open_study(settings: Settings, directions: list[Direction], folder: Path, identity: dict[str, Any]) -> optuna.Study:
    """The study of that name, made if there is none. Errors: `RequestError` if it is one of another search."""
    check_folder(settings, folder)
    storage = storage_at(settings.storage, folder)
    names = optuna.get_all_study_names(storage)
    if settings.study_name in names:
        known = optuna.load_study(study_name=settings.study_name, storage=storage).user_attrs.get("search", {})
        for key, value in identity.items():
            if known.get(key, value) != value:
                raise RequestError(
                    f"hydra.sweeper.study_name: {settings.study_name} is a search already, with {_text(known[key])} for its {key}, "
                    f"not {_text(value)}; give this one a name of its own (study.name={settings.study_name}_2)"
                )
    study = optuna.create_study(
        study_name=settings.study_name,
        storage=storage,
        directions=list(directions),
        pruner=pruner_of(settings),
        load_if_exists=True,
    )
    study.set_user_attr("search", identity)
    return study


def note(settings: Settings, objectives: Mapping[str, Direction], folder: Path, trials: int, command: str) -> None:
    """Writes down, beside the runs, what their report is to know, and where the trials are."""
    better = {name: direction[:3] for name, direction in objectives.items()}
    content = {"objectives": better, "trials": trials, "storage": _kept_in(settings), "command": command}
    write_atomically(folder / SEARCH, to_json(content))


def note_importance(folder: Path, found: Mapping[str, Any]) -> None:
    """Writes down, for the report, how much each setting had to do with the objectives."""
    write_atomically(folder / SEARCH, to_json({**(read_search(folder) or {}), "importance": dict(found)}))


def check_folder(settings: Settings, folder: Path) -> None:
    """Errors: `RequestError` if the folder is that of a study, or of a search that keeps its trials elsewhere."""
    if settings.study_name in find_studies() or (folder / PLAN).exists():
        raise RequestError(
            f"hydra.sweeper.study_name: {settings.study_name} is a study, and {folder} its folder; give the search a name of "
            "its own (study.name=NAME)"
        )
    if settings.study_name == SOLO and not (folder / JOURNAL).exists() and not read_search(folder):
        raise RequestError(f"a search needs a name of its own: study.name=NAME ({SOLO} is where single runs are)")
    kept, by_default = _kept_in(settings), {"storage": JOURNAL} if (folder / JOURNAL).exists() else {}
    noted = (read_search(folder) or by_default).get("storage", kept)
    if noted != kept:
        raise RequestError(
            f"hydra.sweeper.storage: {kept} asked for, and the search in {folder} keeps its trials in {noted}; ask for that, or "
            "give this search a name of its own (study.name=NAME)"
        )


def _kept_in(settings: Settings) -> str:
    return JOURNAL if settings.storage is None else shown_url(settings.storage)


def shown_url(url: str) -> str:
    """The URL of a storage without a password. Errors: `RequestError` for what is no URL."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError) as error:
        raise RequestError(f"hydra.sweeper.storage: {' '.join(str(error).split())}") from error


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def trial_of(settings: Settings, folder: Path) -> Trial:
    """The trial that a job is, in whatever process it runs."""
    study = optuna.load_study(
        study_name=settings.study_name, storage=storage_at(settings.storage, folder), pruner=pruner_of(settings)
    )
    assert settings.trial is not None
    return Trial(study, study.get_trials(deepcopy=False)[settings.trial]._trial_id)
