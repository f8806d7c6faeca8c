"""One run: check, claim, fit, evaluate, remember. Asking twice runs once; what was cut goes on from its last checkpoint."""

import contextlib
import logging
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import yaml
from omegaconf import DictConfig

from vae_lab.claim import Claim, ClaimLost, claim
from vae_lab.data.dataset import DataError
from vae_lab.errors import Pruned, RequestError, RunFailed, first_line, typed_line, writable
from vae_lab.fitting import fit, resumable
from vae_lab.identity import evaluation_hash
from vae_lab.joblog import logged
from vae_lab.request import Request, Say, print_line, request
from vae_lab.scoring import evaluated, record
from vae_lab.store import (
    CONFIG,
    HISTORY,
    LAST,
    LEDGER,
    LOG,
    PRUNED,
    RESULT,
    TRACKED,
    USES,
    Damaged,
    to_json,
    write_atomically,
)
from vae_lab.tracking import replay, report, tracked, untracked

T = TypeVar("T")


def train(cfg: DictConfig, progress: bool = True, say: Say = print_line) -> dict[str, Any]:
    """Runs a config, or finds that it was run: the content of its `result.json`.

    Errors: `RequestError` if the config makes no sense; `RunFailed` if the run ended with an error.
    """
    return execute(request(cfg), progress, say)


def execute(asked: Request, progress: bool = True, say: Say = print_line, wait: bool = True) -> dict[str, Any]:
    """Runs what was asked under a claim, unless it is done already.

    Errors: `Held` if another process has the run and nobody wants to `wait`.
    """
    if asked.settings["rerun"]:
        forget(asked, wait)  # before the first attempt, and no other

    def work(held: Claim) -> dict[str, Any]:
        done = _finished(asked, say)
        if done is not None and done["evaluation"].get("hash") == evaluation_hash(asked.evaluation.identity()):
            if lines := untracked(asked, done):
                with writable(asked.directory.path / LOG, logged(asked.directory.path)):
                    replay(asked, done, lines, say)
            return done
        torch.set_num_threads(asked.settings["threads"])
        with writable(asked.directory.path / LOG, logged(asked.directory.path)):
            return _run(asked, held, done, progress, say)

    return under_claim(asked, work, say, wait)


def under_claim(asked: Request, work: Callable[[Claim], T], say: Say = print_line, wait: bool = True) -> T:
    """What `work` returns, done while this process holds the run, and anew where it lost it to another meanwhile.

    Errors: `Held` as above; `RequestError` or `RunFailed`, one line, if the claim cannot be written.
    """
    while True:
        try:
            with claimed(asked, wait) as held:
                return work(held)
        except ClaimLost:
            say(f"{asked.label}: showed no sign of life for a minute, and another process has taken it over")


@contextlib.contextmanager
def claimed(asked: Request, wait: bool = True) -> Iterator[Claim]:
    """The claim of a run's directory, or one line if it cannot be written."""
    path = asked.directory.path
    with writable(path, claim(path, f"{asked.label}: another process holds {path}; waiting for it", wait)) as held:
        yield held


def is_done(asked: Request) -> bool:
    """Whether a run has ended, was evaluated as asked and is in the trackers, so that asking for it would do nothing."""
    if asked.settings["rerun"] or not is_evaluated(asked):
        return False
    return not untracked(asked, asked.directory.result() or {})


def is_evaluated(asked: Request) -> bool:
    """Whether the result of a completed run is of the evaluation that was asked."""
    if asked.directory.state() != "completed":
        return False
    result = asked.directory.result()
    return result is not None and result["evaluation"].get("hash") == evaluation_hash(asked.evaluation.identity())


def _finished(asked: Request, say: Say) -> dict[str, Any] | None:
    """The result of a completed run; None if there is none, it failed, or is damaged."""
    directory = asked.directory
    try:
        result = directory.result()
    except Damaged as damage:
        say(f"{damage}; it is made again")
        (directory.path / RESULT).unlink()
        return None
    if text := directory.foreign(result):
        raise RequestError(f"{text}; move it away, or rerun=true makes this run's own in its place")
    return result if result is not None and result["status"] == "completed" else None


def forget(asked: Request, wait: bool = True) -> None:
    """Takes away all that a run has left, so that it begins anew. Errors: as `execute`."""
    with claimed(asked, wait):
        path = asked.directory.path
        for name in (RESULT, CONFIG, HISTORY, LOG, LEDGER, PRUNED, TRACKED):
            (path / name).unlink(missing_ok=True)
        for folder in ("checkpoints", "figures", USES, ".hydra", "wandb", "tensorboard"):
            shutil.rmtree(path / folder, ignore_errors=True)


def _run(asked: Request, claim: Claim, done: dict[str, Any] | None, progress: bool, say: Say) -> dict[str, Any]:
    """Fits (unless that is done) and evaluates. A failure is written down before it is raised, but not over a result: a
    completed run whose other evaluation cannot be made keeps the one that it has."""
    path = asked.directory.path
    try:
        (path / PRUNED).unlink(missing_ok=True)
        if done is not None and _has_model(path, done, say):
            result = evaluated(asked, done["timing"], say)
            keep(result, path, claim)
        else:
            result = _fitted(asked, claim, progress, say)
    except ClaimLost:
        raise
    except (KeyboardInterrupt, SystemExit):
        logging.getLogger(__name__).warning("interrupted; the run goes on from its last checkpoint when asked again")
        raise
    except Pruned as stop:
        claim.check()
        write_atomically(path / PRUNED, f"{stop}\n")
        logging.getLogger(__name__).info("pruned at %s; the run goes on from there when asked again", stop)
        raise
    except Exception as error:
        claim.check()  # first: what became of a run that is another's is not for us to say
        first = first_line(error) if isinstance(error, (RequestError, DataError)) else typed_line(error)
        logging.getLogger(__name__).error("the run failed\n%s", traceback.format_exc())
        if done is not None:
            _raise_kept(error, f"{asked.label}: {first}; {path / RESULT} is as it was")
        with contextlib.suppress(OSError):  # a full disk cannot take this either
            write_atomically(path / RESULT, to_json(record(asked, "failed", {}, {}, {}, error=first)))
        raise RunFailed(f"{asked.label}: {first} (see {path / LOG})") from error
    return result


def _fitted(asked: Request, claim: Claim, progress: bool, say: Say) -> dict[str, Any]:
    """Trains, evaluates and writes the result."""
    _write_config(asked)
    with tracked(asked, say) as trackers:
        result = evaluated(asked, fit(asked, claim, [*trackers.values()], progress, say), say)
        keep(result, asked.directory.path, claim)  # before a tracker's last words, which may wait for a network
        report(asked, trackers, result)
    return result


def _has_model(path: Path, done: dict[str, Any], say: Say) -> bool:
    """Tells of a completed run if its last checkpoint is there, whole and of its end. Without that the run is made again."""
    if not (path / LAST).exists():
        say(f"{path / LAST} is gone, and with it the model; the run is made again")
        return False
    checkpoint = resumable(path, say)
    return checkpoint is not None and checkpoint["vae_lab"]["updates"] == done["timing"]["steps"]


def _raise_kept(error: Exception, text: str) -> NoReturn:
    """Raises what a completed run could not do: what was asked may be wrong, and it has not failed."""
    raise (RequestError if isinstance(error, (RequestError, DataError)) else RunFailed)(text) from error


def keep(result: dict[str, Any], path: Path, claim: Claim) -> None:
    """Writes a result. Errors: `ClaimLost` if the run is another process's by now."""
    claim.check()
    write_atomically(path / RESULT, to_json(result))


def _write_config(asked: Request) -> None:
    path = asked.directory.path
    write_atomically(path / CONFIG, yaml.safe_dump(asked.settings, sort_keys=False))
    write_atomically(path / ".hydra" / "overrides.yaml", yaml.safe_dump(asked.settings.get("overrides", [])))
