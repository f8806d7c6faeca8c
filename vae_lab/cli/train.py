"""`vae-lab train` and `vae-lab check`: one run or a grid, each point checked before the first one starts."""

import dataclasses
import functools
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vae_lab.amounts import counted, visible
from vae_lab.cli.words import figures_of, only_shows, print_table, say_error, warn, without_flag

MOST_TRIED = 10**8
"""Parameters of a model of ours that `check` still builds in memory."""
RETRY, TIME = "--retry-failed", "--time"
_PARENT = "VAE_LAB_PARENT"
"""Tells a worker's process, which inherits it, whose worker it is."""


def train(argv: list[str]) -> int:
    from vae_lab import arguments

    argv, retry_failed = without_flag(argv, RETRY)
    asked = arguments.parse(argv)
    if retry_failed and asked.multirun and arguments.is_search(asked.overrides):  # its sweeper knows what has failed
        argv = [*argv, "hydra.sweeper.retry_failed=true"]
        asked = arguments.parse(argv)
    if only_shows(asked):
        _hand_to_hydra(argv)
        return 0
    tasks = _tasks(asked)
    if asked.multirun:
        ended = multirun(argv, tasks, retry_failed)
        return int(summarise(tasks) or not ended)
    _single(argv)
    return 0


def check(argv: list[str]) -> int:
    from vae_lab import arguments

    argv, time_it = without_flag(argv, TIME)
    asked = arguments.parse(argv)
    if only_shows(asked):
        _hand_to_hydra(argv)
        return 0
    tasks = _tasks(asked)
    _try(tasks)
    for task in tasks:
        print(f"{task.path}  {task.request.directory.state()}")
    what = counted(len(tasks), "run") if tasks else "the search, every choice and both ends of every interval"
    print(f"{what}: no mistake found")
    if time_it:
        _time(tasks, asked.multirun)
    return 0


def _try(tasks: list[Any]) -> None:
    """Sends a batch through the parts of every run that differs in more than its seed; those with a class from outside the
    lab were tried when they were asked for, and of a large model of our own only the shapes are checked."""
    from vae_lab import arguments
    from vae_lab.trial import has_foreign, try_parts

    distinct = {tuple(w for w in task.words if not w.startswith("seed=")): task for task in tasks}
    for words, task in distinct.items():
        with arguments.at_point(list(words), list(words)):
            if task.request.parameters < MOST_TRIED and not has_foreign(task.request.settings):
                try_parts(task.request.settings, task.request.dataset)


def _time(tasks: list[Any], multirun: bool) -> None:
    """Trains the longest of the runs for some seconds, and says how fast it would be."""
    import joblib

    from vae_lab import timing
    from vae_lab.errors import RequestError

    if not tasks:
        raise RequestError(f"check: {TIME} times a run, and a search has none before it begins; leave out -m")
    request = max(tasks, key=lambda task: task.request.work).request
    timing.check_alone(request)
    cores = joblib.cpu_count()
    threads = timing.candidates(request.settings, cores)
    seconds, load = len(threads) * (timing.ROUNDS + 1) * timing.SECONDS, timing.load(cores)
    which = f"{request.label}{f', the longest of {len(tasks)}' if len(tasks) > 1 else ''}"
    print(f"{which}: timed for about {seconds:.0f} s, of which nothing is kept", flush=True)
    (titles, *rows), advice = timing.told(request, timing.timed(request, threads), multirun and len(tasks) > 1)
    print_table(titles, rows, sys.stdout)
    print(advice)
    print("validations and the evaluation at the end take more: they are not in these figures")
    if load:
        print(load)
    if timing.is_of_a_stage(request):
        print("what was timed is the beginning: this inference takes other steps later, and the whole may take less")


def _tasks(asked: Any) -> list[Any]:
    """Every point of the request, composed, checked and built before the first one starts. Where a sweeper chooses them
    as it goes, the corners of its space are checked now, and each point before its job begins: then there are none."""
    from vae_lab import arguments, study
    from vae_lab.points import composed
    from vae_lab.search.space import corners

    study.register_named(asked.overrides, asked.config_dir)
    search = asked.multirun and arguments.is_search(asked.overrides)
    points = (corners if search else arguments.expand)(asked.overrides) if asked.multirun else [asked.overrides]
    configs = composed(points, lambda point: arguments.at_point(point, asked.overrides), asked.config_dir)

    from vae_lab.check import check_alone
    from vae_lab.fitting import built  # Lightning takes seconds to import: what is wrong is said before that
    from vae_lab.grid import Task
    from vae_lab.launching import check_launcher
    from vae_lab.options import folders
    from vae_lab.request import Requests

    varying = arguments.varying(asked.overrides)
    checked, requests = Requests(folders(asked.config_dir), then=built), []
    for point, cfg in zip(points, configs, strict=True):
        with arguments.at_point(point, asked.overrides):
            requests.append(dataclasses.replace(checked(cfg), varying=varying))
    if asked.multirun:
        check_alone(requests)
        check_launcher([*arguments.hydra_words(asked.overrides), *arguments.own_words(points[0])], asked.config_dir)
    if search:
        _check_search(asked, points[0], requests[0])
    warn(requests)
    return [] if search else [Task(tuple(words), r) for words, r in zip(points, requests, strict=True)]


def _check_search(asked: Any, point: list[str], first: Any) -> None:
    """What the sweeper is told, as far as it is ours: another package's is told what is wrong by itself."""
    from vae_lab import arguments, config
    from vae_lab.search.settings import Settings, checked, objectives_of

    told = config.sweeper_settings([*arguments.hydra_words(asked.overrides), *point], asked.config_dir)
    if told.keys() >= Settings.model_fields.keys():
        settings, _ = checked(told, objectives_of(first.settings))

        from vae_lab.search.study import check_folder

        check_folder(settings, Path(first.settings["runs_dir"]) / settings.study_name)


def _hand_to_hydra(argv: list[str]) -> None:
    from vae_lab import arguments, config, study

    asked = arguments.parse(argv)
    study.register_named(asked.overrides, asked.config_dir)
    config.run_hydra(argv, job)


def _single(argv: list[str]) -> None:
    """Runs one job. Errors: what the job raised."""
    failure = None
    try:
        _hand_to_hydra(argv)
    except SystemExit as stop:
        if stop.__cause__ is None:
            raise
        failure = stop.__cause__
    if failure is not None:
        raise failure


def multirun(argv: list[str], tasks: list[Any], retry_failed: bool = False) -> bool:
    """Runs every job that is not done; False if that was stopped before its end: by a run that failed under `fail_fast`,
    or by the loss of workers. Where there are no tasks, the sweeper that the person chose finds them."""
    from vae_lab.errors import RequestError, RunFailed
    from vae_lab.grid import SWEEPER, handed_over, to_do

    os.environ[_PARENT] = str(os.getpid())
    try:
        if not tasks:
            _hand_to_hydra(argv)
        elif pending := to_do(tasks, retry_failed):
            with handed_over(pending):
                _hand_to_hydra([*argv, f"hydra/sweeper={SWEEPER}"])
        else:
            print(f"{counted(len(tasks), 'run')}: nothing left to do; they are in {tasks[0].path.parent}", flush=True)
    except (RequestError, OSError):
        raise
    except SystemExit as stop:
        if stop.code != 1:
            raise
        return False
    except Exception as error:
        stopped = RunFailed(f"stopped: {_reason(error)}")
        stopped.__cause__ = error  # whose traceback HYDRA_FULL_ERROR=1 shows
        say_error(stopped, 1)
        return False
    return True


def _reason(error: Exception) -> str:
    """Why a multirun was stopped, in one line."""
    if isinstance(error, MemoryError):
        return "out of memory outside the runs; fewer side by side need less (hydra.launcher.n_jobs=1)"
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))


def job(cfg: Any) -> float | list[float] | None:
    """One job of Hydra, in this process or a launcher's worker: what it returns is the metric that sweepers optimise (a
    list, if `optimized_metric` is one), not a number where the run failed, None where a search has pruned it.

    A failure ends the process of a single run or stops the others under `fail_fast`: by `SystemExit`, since Hydra keeps
    an exception for the end, and prints its traceback.
    """
    from vae_lab import config
    from vae_lab.claim import Held
    from vae_lab.errors import Pruned, RequestError, RunFailed
    from vae_lab.run import execute, is_done

    _end_with_parent()
    overrides, multirun, named = config.job_facts()
    expected, varying = config.take_expected(cfg, overrides)
    asked = dataclasses.replace(_asked(cfg, multirun, named), varying=varying)
    if expected not in (None, asked.directory.signature):
        text = f"it was run {expected} at the launch, and is {asked.directory.signature} now"
        print(f"{asked.label}: left out: {text}; options or data have changed meanwhile", file=sys.stderr, flush=True)
        return float("nan")
    before, done = asked.directory.state(), not multirun and is_done(asked)
    try:
        result = execute(asked, progress=not multirun, wait=expected is None)
    except Held:  # by another launch; the sweeper comes back to it
        return float("nan")
    except Pruned:
        return None
    except (RunFailed, RequestError) as failure:
        if multirun:
            _job_line(asked, "failed: " + str(failure).removeprefix(f"{asked.label}: "), multirun)
        if cfg.fail_fast or not multirun:
            raise SystemExit(1) from failure
        return float("nan")
    there = "  (was there already: nothing is trained again; rerun=true does)" if done else ""
    _job_line(asked, figures_of(result) + there, multirun, before == "completed")
    metrics, wanted = result["metrics"], cfg.optimized_metric
    values = [float("nan") if (value := metrics.get(name)) is None else float(value) for name in _listed(wanted)]
    return values[0] if isinstance(wanted, str) else values


def _asked(cfg: Any, multirun: bool, named: tuple[str, ...]) -> Any:
    """The job's request."""
    from vae_lab import config
    from vae_lab.check import check_alone

    asked = _requests(named)(cfg)
    if multirun:
        check_alone([asked])  # here too, since a sweeper may have chosen it
    if config.sweeper_facts().get("trial") is not None:  # of a search
        from vae_lab.search.sweep import judged

        return judged(asked, config.sweeper_facts())
    return asked


@functools.cache
def _requests(named: tuple[str, ...]) -> Any:
    """The requests of the jobs of this process, which share their checks."""
    from vae_lab.request import Requests

    return Requests(named)


def _listed(wanted: Any) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


@functools.cache
def _end_with_parent() -> None:
    """In a launcher's worker: ends this process, as `kill -9` does, when the one that started it is gone. A joblib
    worker by itself would go on, and then wait for ever."""
    if multiprocessing.current_process().name == "MainProcess":
        return
    parent = os.environ.get(_PARENT, str(os.getppid()))  # it may have gone before this worker came to its first job

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _job_line(asked: Any, text: str, multirun: bool, done_before: bool = False) -> None:
    """One line a run; in a study with its number and the time left, and only for what is new; none in a search, which
    has its own, without the figures of test."""
    from vae_lab import config, progress

    if config.sweeper_facts().get("trial") is not None:
        return
    head = progress.of_study(asked.directory.path.parent) if multirun else ""
    if not (head and done_before):
        print(visible(f"{head}{asked.label}  {text}"), flush=True)
    if not multirun:
        print(asked.directory.path, flush=True)
        if sys.stdout.isatty():  # a script reads the path in the last line
            path = asked.directory.path
            print(
                f"next: vae-lab reconstruct {path} or sample, traverse, probe ... (vae-lab --help lists them)",
                flush=True,
            )


def summarise(tasks: list[Any]) -> bool:
    """Says which runs failed, and how many did not end or kept another evaluation; True if there are any."""
    from vae_lab.run import is_evaluated
    from vae_lab.store import LOG

    labels = {task.request.directory: task.request.label for task in tasks}
    states = {directory: directory.state() for directory in labels}
    failed = [directory for directory, state in states.items() if state == "failed"]
    if failed:
        rows = [(labels[d], str(d.result().get("error")), str(d.path / LOG)) for d in failed]
        print_table(("failed", "error", "log"), rows, sys.stderr)
        print(f"{len(failed)} of {counted(len(states), 'run')} failed; {RETRY} tries them again", file=sys.stderr)
    missing = sum(state not in ("completed", "failed") for state in states.values())
    if missing:
        print(
            f"{missing} of {counted(len(states), 'run')} did not end; the same command goes on from here",
            file=sys.stderr,
        )
    kept = {t.path for t in tasks if states[t.request.directory] == "completed" and not is_evaluated(t.request)}
    if kept:
        text = "could not be evaluated as asked; their results are as they were"
        print(f"{len(kept)} of {counted(len(states), 'run')} {text}", file=sys.stderr)
    return bool(kept) or any(state != "completed" for state in states.values())
