"""The command `vae-lab`."""

import os
import signal
import sys
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
    from multiprocessing import active_children

    for child in active_children():
        child.kill()
    raise SystemExit(143)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    command, rest = argv[0], argv[1:]
    from vae_lab.errors import RequestError, RunFailed, listed, nearest

    try:
        if command not in COMMANDS:
            raise RequestError(f"{command}: no such command; there are {listed(COMMANDS)}{nearest(command, COMMANDS)}")
        return COMMANDS[command](rest)
    except RequestError as error:
        return _say_error(error, 2)
    except RunFailed as error:
        return _say_error(error, 1)


def _say_error(error: Exception, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"vae-lab: {error}", file=sys.stderr)
    return code


# ---- train and check


def train(argv: list[str]) -> int:
    from vae_lab import config

    asked = config.parse_arguments(argv)
    if asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion:
        _hand_to_hydra(argv)
        return 0
    requests = _requests(asked)
    _hand_to_hydra(argv)
    return int(_summarise(requests, asked.multirun))


def check(argv: list[str]) -> int:
    from vae_lab import config

    requests = _requests(config.parse_arguments(argv))
    for request in requests:
        print(f"{request.directory.path}  {request.directory.state()}")
    print(f"{len(requests)} run{'s' * (len(requests) > 1)}: no mistake found")
    return 0


def _requests(asked: Any) -> list[Any]:
    """Every point of the request, checked before the first one starts."""
    from vae_lab import config, run, study

    study.register_named(asked.overrides)
    named = (asked.config_dir,) if asked.config_dir else ()
    points = config.expand(asked.overrides) if asked.multirun else [asked.overrides]
    with config.composer(asked.config_dir) as compose:
        return [run.request(compose(point), named) for point in points]


def _hand_to_hydra(argv: list[str]) -> None:
    from vae_lab import config, study

    study.register_named(config.parse_arguments(argv).overrides)
    config.run_hydra(argv, job)


def job(cfg: Any) -> float:
    """One job of Hydra, in this process or a launcher's worker: what it returns is the metric that sweepers optimise."""
    from vae_lab import config, run
    from vae_lab.errors import RunFailed

    overrides, multirun, named = config.job_facts()
    config.note_overrides(cfg, overrides)
    asked = run.request(cfg, named)
    try:
        result = run.execute(asked, progress=not multirun)
    except RunFailed as failure:
        _job_line(asked, str(failure), multirun)
        if cfg.fail_fast or not multirun:
            raise
        return float("nan")
    _job_line(asked, _figures(result), multirun)
    value = result["metrics"].get(cfg.optimized_metric)
    return float("nan") if value is None else float(value)


def _figures(result: dict[str, Any]) -> str:
    metrics, timing = result["metrics"], result["timing"]
    seconds = timing["seconds_fit"] + timing["seconds_evaluate"]
    return (
        f"test elbo {metrics['test/elbo']:.2f}  nll {metrics['test/nll']:.2f}  rate {metrics['test/rate']:.2f}  "
        f"active {metrics['test/active_units']:.0f}  {seconds:.0f} s"
    )


def _job_line(asked: Any, text: str, multirun: bool) -> None:
    """One line a run; in a study with its number and the time left."""
    from vae_lab import progress

    head = progress.of_study(asked.directory.path.parent) if multirun else ""
    print(f"{head}{asked.label}  {text}", flush=True)
    if not multirun:
        print(asked.directory.path, flush=True)


def _summarise(requests: list[Any], multirun: bool) -> bool:
    """Says which runs failed; True if any did."""
    from vae_lab.store import LOG

    failed = [r for r in requests if r.directory.state() != "completed"]
    for request in failed if multirun else []:
        result = request.directory.result() or {}
        where = request.directory.path / LOG
        print(f"failed: {request.label}  {result.get('error', 'it did not end')}  ({where})", file=sys.stderr)
    return bool(failed)


# ---- study and report


def study(argv: list[str]) -> int:
    from vae_lab import progress
    from vae_lab import study as studies
    from vae_lab.errors import RequestError, listed

    dry = "--dry-run" in argv
    words = [word for word in argv if word != "--dry-run"]
    if not words or words[0].startswith("-") or "=" in words[0]:
        raise RequestError(f"study: which one? There are {listed(studies.find_studies())}")
    chosen = studies.read_study(words[0])
    command = chosen.command(words[1:])
    print("vae-lab train -m " + " ".join(command), flush=True)
    cells = studies.plan(chosen, words[1:])
    if dry:
        _list_cells(cells)
        return 0
    folder = studies.write_plan(chosen, cells, command)
    requests = list({cell.request.directory.signature: cell.request for cell in cells}.values())
    pending = [r for r in requests if r.directory.state() != "completed" or r.settings["rerun"]]
    print(f"{len(requests)} runs, {len(requests) - len(pending)} done already", flush=True)
    if pending:
        jobs = studies.side_by_side(pending[0].settings["threads"], len(pending))
        print(f"{jobs} side by side, {pending[0].settings['threads']} thread each", flush=True)
        progress.begin(folder)
        _hand_to_hydra(["-m", *command, *studies.launcher(jobs, words[1:])])
    failed = _summarise(requests, multirun=True)
    report([str(folder)])
    return int(failed)


def _list_cells(cells: list[Any]) -> None:
    for cell in cells:
        over = " ".join(f"{key}={value}" for key, value in cell.over.items())
        print(f"{cell.request.directory.signature}  {cell.request.directory.state():9}  {cell.point.name}  {over}")
    done = sum(cell.request.directory.state() == "completed" for cell in cells)
    print(f"{len(cells)} cells, {done} done")


def report(argv: list[str]) -> int:
    from pathlib import Path

    from vae_lab import report as reports
    from vae_lab.errors import RequestError

    if not argv:
        raise RequestError("report: which folder? vae-lab report runs/STUDY")
    for word in argv:
        if not Path(word).is_dir():
            raise RequestError(f"report: {word} is no folder of runs")
        page, table = reports.write(Path(word))
        reports.print_table(Path(word))
        print(f"{page}\n{table}")
    return 0


def ls(argv: list[str]) -> int:
    from pathlib import Path

    from vae_lab import listing
    from vae_lab.errors import RequestError

    folder = Path(argv[0] if argv else "runs")
    if not folder.is_dir():
        raise RequestError(f"ls: {folder} is no folder of runs")
    listing.print_runs(folder)
    return 0


def evaluate(argv: list[str]) -> int:
    import yaml

    from vae_lab import run
    from vae_lab.errors import RequestError

    if not argv or "=" in argv[0]:
        raise RequestError("evaluate: which run? vae-lab evaluate RUN [evaluation.nll_samples=5000]")
    pairs = [word.partition("=") for word in argv[1:]]
    for key, sign, _ in pairs:
        if not sign:
            raise RequestError(f"{key}: an override is key=value")
    result = run.reevaluate(argv[0], {key: yaml.safe_load(value) for key, _, value in pairs})
    print(f"{_figures(result)}\n{argv[0]}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "study": study,
    "report": report,
    "evaluate": evaluate,
    "ls": ls,
    "check": check,
}
