"""Extending a run: one that is asked for with a later end goes on from a finished run of the same settings and a shorter
end, where that gives the numbers of an uncut run, to the bit.

The name of a run says how long it is, so the longer run has a directory of its own, and the shorter one stays as it is.
"""

import functools
import hashlib
import inspect
import json
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vae_lab.build import build, spec_of, updates_of
from vae_lab.environment import environment
from vae_lab.identity import signature
from vae_lab.options import option_name
from vae_lab.request import Request, Say
from vae_lab.settings import COSMETIC
from vae_lab.store import BEST, HISTORY, LAST, LEDGER, MISSING, RESULT, Damaged, RunDirectory, found_at
from vae_lab.targets import locate, targets
from vae_lab.training.checkpoint_io import CheckedCheckpointIO, DamagedCheckpoint, read_checkpoint
from vae_lab.training.module import reopened
from vae_lab.training.schedulers import LearningRate

LIMITS = ("max_epochs", "max_steps")
MACHINE = ("vae_lab", "commit", "torch", "pytorch_lightning", "machine", "device")
"""What has to be as it was, beside the settings, for a run to end as an uncut one."""


class NotExtended(Exception):
    """Why a shorter run cannot be gone on from."""


def extended(asked: Request, say: Say) -> dict[str, Any] | None:
    """The checkpoint that a new run begins with, copied into its directory with all that belongs to it; None where no
    shorter run fits. Says in one line which run it goes on from, or why it does not."""
    shorter = None if asked.settings["rerun"] else _longest(asked)
    if shorter is None:
        return None
    try:
        checkpoint = _copied(asked, shorter)
    except (NotExtended, DamagedCheckpoint, OSError) as reason:
        say(f"{asked.label}: trained from the start, not from the end of {shorter.path}: {reason}")
        return None
    say(f"{asked.label}: goes on from {shorter.path}, the same run until update {shorter.updates}")
    return checkpoint


# ---- the shorter run


class Shorter(NamedTuple):
    """A finished run that differs in its end alone."""

    path: Path
    updates: int
    result: dict[str, Any]


def _longest(asked: Request) -> Shorter | None:
    """The longest of the shorter runs of a request, among those beside it."""
    plain = json.loads(json.dumps(asked.settings, default=str))
    wanted, end = _digest(plain), updates_of(plain, spec_of(plain))
    fitting = [(ends, path) for path, digest, ends in _beside(asked.directory.path) if digest == wanted and ends < end]
    for _, path in sorted(fitting, reverse=True):
        with suppress(Damaged, OSError):
            result = RunDirectory(path).result()
            if result is not None and result["status"] == "completed":
                return Shorter(path, result["timing"]["steps"], result)
    return None


def _beside(run: Path) -> Iterator[tuple[Path, str, int]]:
    """The runs of the same folder: their settings but for the end, as a digest, and their end in updates."""
    with suppress(*MISSING), os.scandir(run.parent) as entries:
        for path in sorted(Path(entry) for entry in entries):
            written = found_at(path / RESULT)
            if written is not None and path != run:
                with suppress(Damaged, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
                    yield path, *_outline(path, written.st_mtime_ns)


@functools.lru_cache(1 << 16)  # a worker of a large study asks for each of its runs
def _outline(run: Path, written: int) -> tuple[str, int]:
    settings = (RunDirectory(run).result() or {})["settings"]
    return _digest(settings), updates_of(settings, spec_of(settings))


def _digest(settings: Mapping[str, Any]) -> str:
    """A hash of the settings that can change the model, but for those that say when it ends."""
    kept = {key: value for key, value in settings.items() if key not in COSMETIC}
    kept["trainer"] = {key: value for key, value in settings["trainer"].items() if key not in LIMITS}
    content = json.dumps([kept, settings["spec"]["fingerprint"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


# ---- whether and how


def _copied(asked: Request, shorter: Shorter) -> dict[str, Any]:
    """Errors: `NotExtended` where the longer run would not be an uncut one."""
    _check_made_here(asked, shorter)
    _check_length_changes_nothing(asked, shorter)
    checkpoint = reopened(read_checkpoint(shorter.path / LAST))
    if checkpoint is None or checkpoint["vae_lab"]["updates"] != shorter.updates:
        raise NotExtended("it ended before its last update, or was made by a version that kept no way to go on from it")
    path = asked.directory.path
    (path / LAST).parent.mkdir(parents=True, exist_ok=True)
    for name in (LEDGER, HISTORY, BEST):
        with suppress(*MISSING):
            shutil.copyfile(shorter.path / name, path / name)
    if RunDirectory(shorter.path).result() != shorter.result:
        raise NotExtended("another process has changed it meanwhile")
    CheckedCheckpointIO().save_checkpoint(checkpoint, path / LAST)  # last: without it the rest is made again
    return checkpoint


def _check_made_here(asked: Request, shorter: Shorter) -> None:
    before, now = shorter.result["environment"], environment(asked.settings)
    for name in MACHINE:
        if before.get(name) != now[name]:
            raise NotExtended(f"it was made with {name} {before.get(name)}, and this is {now[name]}")
    settings = shorter.result["settings"]
    if signature(settings, settings["spec"]["fingerprint"]) != shorter.path.name:
        raise NotExtended("it is another run than its name says, or began with weights that have changed")


def _check_length_changes_nothing(asked: Request, shorter: Shorter) -> None:
    """Builds whatever asks for the length of the run with both lengths, and compares what came of it."""
    settings = shorter.result["settings"]
    lengths = [updates_of(each, spec_of(settings)) for each in (settings, asked.settings)]
    for key, node in targets({name: value for name, value in settings.items() if name not in COSMETIC}):
        target = locate(key, str(node["_target_"]))
        if "total_updates" in inspect.signature(target).parameters:
            short, long = (_state(settings, node, length) for length in lengths)
            if short is None or short != long:
                raise NotExtended(f"{key}={option_name(key, node)} depends on the length of the run")


def _state(settings: Mapping[str, Any], node: Mapping[str, Any], length: int) -> bytes | None:
    """All that a part knows, as bytes; None where that cannot be had."""
    spec = spec_of(settings)
    context = {"shape": list(spec.shape), "latent_dim": settings["latent_dim"], "examples": spec.sizes["train"]}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            part = build(node, **context, optimizer=optimizer, total_updates=length)
        if isinstance(part, LearningRate):
            scheduler = part.scheduler.state_dict() if part.scheduler is not None else None
            return pickle.dumps((scheduler, part.warmup))
        return pickle.dumps(part)
    except Exception:  # of any package's class
        return None
