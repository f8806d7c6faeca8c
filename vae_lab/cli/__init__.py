"""The command `vae-lab`."""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from vae_lab.cli.words import say_error

USAGE = """\
vae-lab: a laboratory for variational autoencoders

  vae-lab train [overrides] [-m]               one run, or a Hydra multirun; Hydra's own flags pass through
  vae-lab study NAME [overrides] [--dry-run]   a study: expands it, runs it, writes its report; --dry-run lists the runs;
                                               --retry-failed (of train -m too) tries those again that failed
  vae-lab sweep-yaml STUDY [overrides]         a study as a W&B sweep, for wandb sweep and wandb agent
  vae-lab report PATH... [--serve]             report.html and results.csv from run directories; --serve shows the page
                                               on http://127.0.0.1:8765 (--port N), on another address only with --host H
  vae-lab evaluate RUN [overrides]             evaluates a finished run again, e.g. evaluation.nll_samples=5000
  vae-lab USE RUN [option=value ...]           puts a finished run to one of the uses below; vae-lab USE --help: its options
  vae-lab ls [PATH] [KEY=VALUE] [--sort KEY]   one line a run (PATH: runs); also 'test/nll<90', --limit, --columns, --export
  vae-lab options [GROUP]                      every option with its meaning, its settings and their bounds
  vae-lab check [overrides]                    checks a config, or with -m a whole grid, without training; --time also
                                               trains for some seconds, to say how long it takes and with how many threads

Uses
{uses}

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
    from vae_lab.errors import RequestError, RunFailed, refusal
    from vae_lab.places import uses

    try:
        os.getcwd()
    except FileNotFoundError:
        return say_error(RequestError("the working directory is gone; change to one that is there"), 2)
    command, rest = argv[0] if argv else "help", argv[1:]
    helped = not {"-h", "--help"}.isdisjoint(rest)
    if command in ("-h", "--help", "help") or (helped and command in COMMANDS and command != "train"):
        print(USAGE.format(uses="\n".join(f"  {name:15} {meaning}" for name, meaning in uses().items())), end="")
        return 0
    if command == "--version":
        return _version()
    try:
        if command in COMMANDS:
            return _command(command)(rest)
        return _used(command, rest, helped)
    except RequestError as error:
        return say_error(error, 2)
    except RunFailed as error:
        return say_error(error, 1)
    except BrokenPipeError:
        raise
    except MemoryError:
        return say_error(RunFailed("out of memory outside a run; the same command goes on from here"), 1)
    except OSError as error:
        told = refusal(error)
        return say_error(told, 2 if isinstance(told, RequestError) else 1)


def _used(command: str, rest: list[str], helped: bool) -> int:
    """A command that is a use of a finished run; a folder of options of one's own may add some."""
    from vae_lab.cli.uses import explain, known, use
    from vae_lab.errors import RequestError, listed, nearest

    uses = known(rest)
    if command not in uses:
        every = [*COMMANDS, *uses]
        raise RequestError(f"{command}: no such command; there are {listed(every)}{nearest(command, every)}")
    return explain(command, rest) if helped else use(command, rest)


def _version() -> int:
    from importlib.metadata import version

    print(f"vae-lab {version('vae-lab')}")
    return 0


COMMANDS = {
    "train": "train",
    "study": "study",
    "report": "runs",
    "evaluate": "runs",
    "ls": "ls",
    "check": "train",
    "options": "runs",
    "sweep-yaml": "sweep_yaml",
}


def _command(name: str) -> Callable[[list[str]], int]:
    """The function of a command, from its file."""
    found: Callable[[list[str]], int] = getattr(
        importlib.import_module(f"vae_lab.cli.{COMMANDS[name]}"), name.replace("-", "_")
    )
    return found
