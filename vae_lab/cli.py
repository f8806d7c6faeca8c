"""The command `vae-lab`."""

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

USAGE = """\
vae-lab: a laboratory for variational autoencoders

  vae-lab train [overrides] [-m]               one run, or a Hydra multirun; Hydra's own flags pass through
  vae-lab study NAME [overrides] [--dry-run]   a study: expands it, runs it, writes its report; --dry-run lists the runs
  vae-lab report PATH...                       report.html and results.csv from run directories
  vae-lab evaluate RUN [overrides]             evaluates a finished run again, e.g. evaluation.nll_samples=5000
  vae-lab ls [PATH]                            one line a run (PATH: runs)
  vae-lab check [overrides]                    checks a config, or with -m a whole grid, without training

Examples
  vae-lab study collapse_digits
  vae-lab train dataset=mnist mitigation=free_bits rate.nats=0.1
  vae-lab train -m prior=normal,mixture seed=0,1,2
  vae-lab train --help                         every group, option and key

Exit codes: 0 all done; 1 a run failed; 2 the request was wrong; 130 interrupted; 143 terminated.
"""


def main(argv: list[str] | None = None) -> NoReturn:
    """The entry point: runs a command and exits with its code."""
    argv = sys.argv[1:] if argv is None else argv
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = _dispatch(argv)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output has gone, as in `vae-lab ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.stdout.flush()
    sys.exit(code)


def _terminated(signum: int, frame: Any) -> NoReturn:
    """SIGTERM ends the process with 143; left to Lightning it would save, exit with 0, and drop the other jobs."""
    for child in multiprocessing.active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)  # a joblib worker has no method kill
    raise SystemExit(143)


def _dispatch(argv: list[str]) -> int:
    command, rest = argv[0] if argv else "help", argv[1:]
    own_help = command in COMMANDS and command != "train" and not {"-h", "--help"}.isdisjoint(rest)
    if command in ("-h", "--help", "help") or own_help:
        print(USAGE, end="")
        return 0
    if command == "--version":
        return _version()
    from vae_lab.errors import RequestError, RunFailed, listed, nearest, refusal

    try:
        if command not in COMMANDS:
            raise RequestError(f"{command}: no such command; there are {listed(COMMANDS)}{nearest(command, COMMANDS)}")
        return COMMANDS[command](rest)
    except RequestError as error:
        return _say_error(error, 2)
    except RunFailed as error:
        return _say_error(error, 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        told = refusal(error)
        return _say_error(told, 2 if isinstance(told, RequestError) else 1)


def _version() -> int:
    from importlib.metadata import version

    print(f"vae-lab {version('vae-lab')}")
    return 0


def _say_error(error: Exception, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    print(f"vae-lab: {error}", file=sys.stderr, flush=True)
    return code


# ---- train and check


def train(argv: list[str]) -> int:
    from vae_lab import config

    asked = config.parse_arguments(argv)
    if _only_shows(asked):
        _hand_to_hydra(argv)
        return 0
    requests = _requests(asked)
    if asked.multirun:
        ended = _multirun(argv)
        return int(_summarise(requests) or not ended)
    _single(argv)
    return 0


def _only_shows(asked: Any) -> bool:
    """Whether one of Hydra's flags asks for a text instead of a run."""
    return bool(asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion)


def check(argv: list[str]) -> int:
    from vae_lab import config

    asked = config.parse_arguments(argv)
    if _only_shows(asked):
        _hand_to_hydra(argv)
        return 0
    requests = _requests(asked)
    for request in requests:
        print(f"{request.directory.path}  {request.directory.state()}")
    print(f"{_counted(len(requests), 'run')}: no mistake found")
    return 0


def _requests(asked: Any) -> list[Any]:
    """Every point of the request, checked before the first one starts. Where a sweeper chooses them as it goes, what
    they share is checked now, and each of them as its job begins."""
    from vae_lab import config, study

    study.register_named(asked.overrides, asked.config_dir)
    named = (asked.config_dir,) if asked.config_dir else ()
    shared = config.fixed_part(asked.overrides) if asked.multirun else None
    points = config.expand(asked.overrides) if asked.multirun and shared is None else [asked.overrides]
    with config.composer(asked.config_dir) as compose:
        composed = [compose(point) for point in ([shared] if shared is not None else points)]

    from vae_lab import run  # Lightning takes seconds to import: a misspelt name is said before that

    requests = [run.request(cfg, named) for cfg in composed]
    return requests if shared is None else []


def _hand_to_hydra(argv: list[str]) -> None:
    from vae_lab import config, study

    asked = config.parse_arguments(argv)
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


def _multirun(argv: list[str]) -> bool:
    """Runs every job; False if that was stopped before its end: by a run that failed under `fail_fast`, or by the loss
    of a worker."""
    from vae_lab.errors import RequestError

    try:
        _hand_to_hydra(argv)
    except (RequestError, OSError):
        raise
    except SystemExit as stop:
        if stop.code != 1:
            raise
        return False
    except Exception as error:
        _say_error(RuntimeError(f"stopped: {' '.join(str(error).split())}"), 1)
        return False
    return True


def job(cfg: Any) -> float:
    """One job of Hydra, in this process or a launcher's worker: what it returns is the metric that sweepers optimise.

    A failure ends the process of a single run or stops the others under `fail_fast`: by `SystemExit`, since Hydra keeps
    an exception for the end, and prints its traceback.
    """
    from vae_lab import config, run
    from vae_lab.errors import RequestError, RunFailed

    _end_with_parent()
    overrides, multirun, named = config.job_facts()
    config.note_overrides(cfg, overrides)
    asked = run.request(cfg, named)
    before = asked.directory.state()
    try:
        result = run.execute(asked, progress=not multirun)
    except (RunFailed, RequestError) as failure:
        if multirun:
            _job_line(asked, "failed: " + str(failure).removeprefix(f"{asked.label}: "), multirun)
        if cfg.fail_fast or not multirun:
            raise SystemExit(1) from failure
        return float("nan")
    _job_line(asked, _figures(result), multirun, before == "completed")
    value = result["metrics"].get(cfg.optimized_metric)
    return float("nan") if value is None else float(value)


@functools.cache
def _end_with_parent() -> None:
    """In a launcher's worker: ends this process, as `kill -9` does, when the one that started it is gone. A joblib
    worker by itself would go on, and then wait for ever."""
    if multiprocessing.current_process().name == "MainProcess":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _figures(result: dict[str, Any]) -> str:
    metrics, timing = result["metrics"], result["timing"]
    seconds = timing["seconds_fit"] + timing["seconds_evaluate"]
    return (
        f"test elbo {metrics['test/elbo']:.2f}  nll {metrics['test/nll']:.2f}  rate {metrics['test/rate']:.2f}  "
        f"active {metrics['test/active_units']:.0f}  {seconds:.0f} s"
    )


def _job_line(asked: Any, text: str, multirun: bool, done_before: bool = False) -> None:
    """One line a run; in a study with its number and the time left, and only for what is new."""
    from vae_lab import progress

    head = progress.of_study(asked.directory.path.parent) if multirun else ""
    if not (head and done_before):
        print(f"{head}{asked.label}  {text}", flush=True)
    if not multirun:
        print(asked.directory.path, flush=True)


def _summarise(requests: list[Any]) -> bool:
    """Says which runs failed, and how many did not end; True if there are any."""
    from vae_lab.store import LOG

    labels = {request.directory: request.label for request in requests}
    states = {directory: directory.state() for directory in labels}
    for directory in (d for d, state in states.items() if state == "failed"):
        error = directory.result().get("error")
        print(f"failed: {labels[directory]}  {error}  ({directory.path / LOG})", file=sys.stderr)
    missing = sum(state not in ("completed", "failed") for state in states.values())
    if missing:
        print(f"{missing} of {len(states)} runs did not end; the same command goes on from here", file=sys.stderr)
    return any(state != "completed" for state in states.values())


# ---- study and report


def study(argv: list[str]) -> int:
    from vae_lab import config
    from vae_lab import study as studies
    from vae_lab.errors import RequestError, listed

    dry = "--dry-run" in argv
    asked = config.parse_arguments([word for word in argv if word != "--dry-run"])
    words = asked.overrides
    if not words or "=" in words[0]:
        raise RequestError(f"study: which one? There are {listed(studies.find_studies())}")
    if _only_shows(asked) or asked.multirun:
        raise RequestError("study: takes overrides, --config-dir and --dry-run, no other flag")
    flags = ["--config-dir", asked.config_dir] if asked.config_dir else []
    chosen = studies.read_study(words[0], asked.config_dir)
    command = chosen.command(words[1:])
    print(" ".join(["vae-lab train -m", *flags, *command]), flush=True)

    from vae_lab import plan, progress, run  # Lightning takes seconds to import: the first line comes before it

    cells = plan.plan(chosen, words[1:], asked.config_dir)
    if dry:
        _list_cells(cells)
        return 0
    folder = plan.write_plan(chosen, cells, command)
    requests = list({cell.request.directory.signature: cell.request for cell in cells}.values())
    pending = [request for request in requests if not run.is_done(request)]
    print(f"{_counted(len(requests), 'run')}, {len(requests) - len(pending)} done already", flush=True)
    ended = True
    if pending:
        threads = pending[0].settings["threads"]
        jobs = plan.side_by_side(threads, len(pending))
        launcher = plan.launcher(jobs, words[1:])
        if launcher:
            print(f"{jobs} side by side, {_counted(threads, 'thread')} each: {' '.join(launcher)}", flush=True)
        progress.begin(folder, len(requests), [request.directory.signature for request in pending])
        ended = _multirun(["-m", *flags, *command, *launcher])
    failed = _summarise(requests)
    report([str(folder)])
    return int(failed or not ended)


def _list_cells(cells: list[Any]) -> None:
    for cell in cells:
        over = " ".join(f"{key}={value}" for key, value in cell.over.items())
        print(f"{cell.request.directory.signature}  {cell.request.directory.state():9}  {cell.point.name}  {over}")
    done = sum(cell.request.directory.state() == "completed" for cell in cells)
    print(f"{_counted(len(cells), 'cell')}, {done} done")


def _counted(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"


def report(argv: list[str]) -> int:
    from pathlib import Path

    from vae_lab import report as reports
    from vae_lab.errors import RequestError

    if not argv:
        raise RequestError("report: which folder? vae-lab report runs/STUDY")
    for word in argv:
        if not Path(word).is_dir():
            raise RequestError(f"report: {word} is no folder of runs")
        for folder in reports.study_folders(Path(word)):
            page, table = reports.write(folder)
            reports.print_table(folder)
            print(f"{page}\n{table}")
    return 0


def ls(argv: list[str]) -> int:
    from pathlib import Path

    from vae_lab import listing
    from vae_lab.errors import RequestError

    if len(argv) > 1:
        raise RequestError(f"ls: one folder at a time, not {len(argv)}")
    folder = Path(argv[0] if argv else "runs")
    if not argv and not folder.exists():
        print(f"no runs in {folder}")
        return 0
    if not folder.is_dir():
        raise RequestError(f"ls: {folder} is no folder of runs")
    listing.print_runs(folder)
    return 0


def evaluate(argv: list[str]) -> int:
    from vae_lab import config, finished
    from vae_lab.errors import RequestError

    asked = config.parse_arguments(argv)
    run, *overrides = asked.overrides or [""]
    if not run or "=" in run:
        raise RequestError("evaluate: which run? vae-lab evaluate RUN [evaluation.nll_samples=5000]")
    if _only_shows(asked) or asked.multirun:
        raise RequestError("evaluate: takes overrides and --config-dir, no other flag")
    result = finished.reevaluate(run, config.plain_values(overrides), asked.config_dir)
    print(f"{_figures(result)}\n{run}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "study": study,
    "report": report,
    "evaluate": evaluate,
    "ls": ls,
    "check": check,
}
