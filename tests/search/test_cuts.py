"""A search that is killed at any write, torn ones too, ends with the points of an uncut one."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, Trial, TrialState
from small_runs import results
from small_searches import Search as Command
from small_searches import Trials

from vae_lab.search.journal import TORN, MendedJournal
from vae_lab.search.settings import Settings
from vae_lab.search.space import split
from vae_lab.search.study import JOURNAL, Search, open_study, working

SPACE = ["a=interval(-2,2)", "b=range(0,1,0.1)", "c=x,y,z", "d=tag(log,interval(1e-3,1))"]


class Killed(BaseException):
    """The process is gone."""


def settings(sampler: str, n_jobs: int, **further: Any) -> Settings:
    node = {"_target_": f"optuna.samplers.{sampler}", **further}
    return Settings(
        n_trials=16, n_jobs=n_jobs, study_name="quest", direction=None, storage=None, seed=3, sampler=node,
        pruner={"_target_": "optuna.pruners.NopPruner"}, retry_failed=False, trial=None,
    )  # fmt: skip


def objective(trial: Trial, space: int) -> float | Exception:
    a, b, c, d = (trial.params[key] for key in "abcd")
    value = (a - 0.7) ** 2 + b + {"x": 0.3, "y": 0.0, "z": 0.5}[c] + math.log10(d) ** 2 / 9
    return ValueError("no such point") if c == "z" and a > 1 else value


def launched(told: Settings, folder: Path, words: list[str]) -> None:
    """One launch of a search, to its end."""
    space = split(words)[1]
    study = open_study(told, ["minimize"], folder, {})
    with working(folder) as me:
        search = Search(told, space, folder, study, me)
        search.requeue_the_dead()
        while batch := search.ask():
            for trial in batch:
                search.tell(trial, objective(trial, len(space)))
            search.requeue_the_dead()


def points(told: Settings, folder: Path, words: list[str]) -> list[Any]:
    """What a search has tried, in the order of the places."""
    study = open_study(told, ["minimize"], folder, {})
    search = Search(told, split(words)[1], folder, study, folder)
    return [(trial.params, trial.state, trial.values) for _, trial in search._places()]


SAMPLERS: list[tuple[str, int, dict[str, Any]]] = [
    ("TPESampler", 1, {"n_startup_trials": 4}),
    ("TPESampler", 3, {"n_startup_trials": 4, "multivariate": True}),
    ("NSGAIISampler", 1, {"population_size": 4}),
    ("QMCSampler", 2, {}),
    ("RandomSampler", 3, {}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("sampler", "n_jobs", "further"), SAMPLERS)
def test_a_killed_search_has_the_points_of_an_uncut_one(
    sampler: str, n_jobs: int, further: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, chance = settings(sampler, n_jobs, **further), random.Random(5)
    launched(told, tmp_path / "uncut", SPACE)
    uncut = points(told, tmp_path / "uncut", SPACE)
    assert len({json.dumps(params) for params, *_ in uncut}) > 10
    append, deaths, left = MendedJournal.append_logs, 0, 0

    def dies(self: MendedJournal, logs: list[dict[str, Any]]) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            return append(self, logs)
        text = "".join(json.dumps(log) + "\n" for log in logs)
        with open(self.file, "a") as file:  # a part of it, at times all of it
            file.write(text[: chance.randint(0, len(text))])
        raise Killed

    monkeypatch.setattr(MendedJournal, "append_logs", dies)
    while True:
        left = chance.randint(6, 20)
        try:
            launched(told, tmp_path / "cut", SPACE)
        except Killed:
            deaths += 1
        else:
            break
    assert deaths > 5
    left = 10**6
    assert points(told, tmp_path / "cut", SPACE) == uncut


def test_a_launch_that_died_is_not_held_against_its_points(tmp_path: Path) -> None:
    """However often; a job that was lost three times while its launch went on has failed."""
    told, space = settings("RandomSampler", 1), split(SPACE)[1]

    def asked(lost: bool | None) -> tuple[Trial | None, list[FrozenTrial]]:
        study = open_study(told, ["minimize"], tmp_path, {})
        with working(tmp_path) as me:
            search = Search(told, space, tmp_path, study, me)
            search.requeue_the_dead()
            (trial,) = search.ask()
            return trial, [] if lost is None else search.give_back([trial], lost)

    first, _ = asked(None)
    for lost in (None, False, None, False, None, True, True):
        trial, failed = asked(lost)
        assert trial is not None
        assert first is not None
        assert (trial.params, failed) == (first.params, [])
    trial, (failure,) = asked(True)
    assert failure.state == TrialState.FAIL
    assert failure.user_attrs["error"] == "its job was lost 3 times"


# ---- the journal


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    launched(settings("RandomSampler", 1), folder, SPACE)
    return (folder / JOURNAL).read_bytes()


@pytest.mark.parametrize("kind", ["cut", "glued", "zeros"])
def test_a_torn_journal_is_mended_in_one_line(
    kind: str, whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A last line that was cut off, alone or with a record glued to it as Optuna does, or that a disk filled with zeros."""
    *lines, last = whole.splitlines(keepends=True)
    torn = {"cut": last[:-20], "glued": last[:-20], "zeros": b"\0" * 100}[kind]
    file = tmp_path / JOURNAL
    file.write_bytes(b"".join([*lines, torn, lines[-1] if kind == "glued" else b""]))
    backend = MendedJournal(file)
    kept = [*lines, *([lines[-1]] if kind == "glued" else [])]
    assert file.read_bytes() == b"".join(kept)
    assert (tmp_path / f"{JOURNAL}{TORN}").read_bytes() == torn + b"\n"
    said = capsys.readouterr().out
    assert said == (
        f"{file}: a write was cut off: {len(torn)} bytes that are no record are now in {file}{TORN}; the rest is kept\n"
    )
    with open(file, "ab") as other:  # another process is killed as it writes, while this one has it open
        other.write(last[:5])
    backend.append_logs([json.loads(last)])
    assert [json.dumps(log) for log in backend.read_logs(0)] == [json.dumps(json.loads(line)) for line in [*kept, last]]
    assert (tmp_path / f"{JOURNAL}{TORN}").read_bytes() == torn + b"\n" + last[:5] + b"\n"


def test_a_search_goes_on_after_its_journal_was_torn(search: Command, trials: Trials, in_tmp: Path) -> None:
    words = ["latent_dim=1,2,3", "hydra/sweeper/sampler=brute_force"]
    assert search(*words, "hydra.sweeper.n_trials=1").code == 0
    (journal,) = in_tmp.glob(f"runs/quest/{JOURNAL}")
    journal.write_bytes(journal.read_bytes()[:-20])
    said = search(*words)
    assert (said.code, said.err) == (0, "")
    assert said.out.count("a write was cut off") == 1
    assert "search quest: 3 completed of 3 trials" in said.out
    assert len(results(in_tmp)) == 3
    assert isinstance(trials(), list)
