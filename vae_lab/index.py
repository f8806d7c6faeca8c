"""What the run directories below a folder say, remembered between calls in a file beside them.

The directories stay the only truth. A row is remembered with the identity of the files that it was read from, so a run
that was added, changed, moved or deleted is seen at the next call. The file may be deleted at any time; where it cannot
be written, every call reads the runs themselves; whatever is wrong with it costs a call its haste and nothing else.
"""

import contextlib
import functools
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vae_lab.settings import flatten
from vae_lab.store import CONFIG, RESULT, RunDirectory, names_of_runs, state_now

Row = dict[str, Any]

INDEX = ".vae-lab-index.sqlite3"

YOUNG = 2_000_000_000
"""Nanoseconds. A file that changed so shortly before it was looked at may change again without its times showing it."""


def rows(path: Path) -> list[Row]:
    """A flat row for every run at or below a folder, in the order of their names: signature, study, arm, seed, state, path,
    version, commit, error (of a failed run, the first line), and every metric, timing and setting by its dotted key. Rows
    may share the lists in them."""
    now, known = time.time_ns(), _recall(path / INDEX)
    parse = functools.cache(json.loads)
    found, learnt = [], []
    for seen in _walk(path):
        name = os.fsencode(seen.name)
        stamp, text = known.pop(name, ("", ""))
        if stamp != _stamp(seen.identity, text):
            text, is_lasting = _read(RunDirectory(Path(seen.folder)))
            if is_lasting and seen.name and seen.changed < now - YOUNG:
                learnt.append((name, _stamp(seen.identity, text), text))
        row = _row(seen.folder, text, parse)
        row["state"] = state_now(Path(seen.folder), row["state"])  # asked at every call, and never remembered
        found.append(row)
    if learnt or known:
        _remember(path / INDEX, learnt, known)
    return found


class _Seen(NamedTuple):
    """A run that the walk met."""

    folder: str
    name: str  # its path below the root; empty if the root is the run
    identity: str  # of the files that its row is read from
    changed: int  # when one of them changed last, in nanoseconds


def _walk(root: Path) -> Iterator[_Seen]:
    base = "" if str(root) == "." else str(root)
    for name in names_of_runs(root):
        folder = os.path.join(base, name) if name else str(root)
        result, config = _identity(f"{folder}/{RESULT}"), _identity(f"{folder}/{CONFIG}")
        if result or config:
            yield _Seen(folder, name, f"{result}{config}", max(*result[:2], *config[:2]))


def _identity(file: str) -> tuple[int, ...]:
    """What is not the same once a file has been written or replaced, its times in nanoseconds; empty if it is not there."""
    try:
        stat = os.stat(file)
    except OSError:
        return ()
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def _read(run: RunDirectory) -> tuple[str, bool]:
    """A run as a line of JSON of its own, and one of the settings that it shares with the other seeds of its arm; and
    whether that is so for as long as its files stay as they are."""
    state, result, error, can_be_read = run.recorded()
    settings: Mapping[str, Any] = result.get("settings") or run.config()
    flat, environment = flatten(settings), _mapping(result.get("environment"))
    own = {
        "signature": run.signature,
        "study": flat.get("study.name"),
        "arm": flat.get("study.arm"),
        "seed": flat.get("seed"),
        "state": state,
        "path": None,
        "version": environment.get("vae_lab"),
        "commit": environment.get("commit"),
        "error": next(iter(error.splitlines()), None) if result else None,
        **_mapping(result.get("metrics")),
        **flatten(_mapping(result.get("timing")), "timing."),
    }
    for key in ("seed", "study.name", "study.arm"):
        flat.pop(key, None)
    if presets := _presets(flat.get("overrides")):
        own["mitigation"] = presets
    if "overrides" in flat:
        own["overrides"] = flat.pop("overrides")
    return f"{json.dumps(own)}\n{json.dumps(flat)}", can_be_read


def _presets(words: Any) -> str | None:
    """The methods that were typed, of which a config keeps only what they set."""
    typed = [str(word) for word in words] if isinstance(words, list) else []
    return next((word.partition("=")[2] for word in typed if word.startswith("mitigation=")), None)


def _row(folder: str, text: str, parse: Callable[[str], Row]) -> Row:
    own, shared = text.split("\n")
    return {**json.loads(own), **parse(shared), "path": folder}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _stamp(identity: str, text: str) -> str:
    """What a remembered text is good for: these files, read by this code; and a sum that a damaged text does not have."""
    return f"{identity} {_code()} {zlib.crc32(text.encode())}"


@functools.cache
def _code() -> int:
    """Of this file and all beside it: whatever takes part in the reading of a run is one of them."""
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))


_CREATE = "CREATE TABLE IF NOT EXISTS runs (name BLOB PRIMARY KEY, stamp TEXT, row TEXT)"
_TROUBLE = (sqlite3.Error, ValueError)  # sqlite3's messages are no UTF-8 where they quote what is damaged
_NOT_NOW = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
)
"""What says nothing against the file itself."""


def _recall(file: Path) -> dict[bytes, tuple[str, str]]:
    if not file.exists():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(file)) as db:
            return {name: (stamp, str(text)) for name, stamp, text in db.execute("SELECT name, stamp, row FROM runs")}
    except _TROUBLE as error:
        _forget(file, error)
        return {}


def _remember(file: Path, learnt: Iterable[tuple[bytes, str, str]], gone: Iterable[bytes]) -> None:
    try:
        with contextlib.closing(sqlite3.connect(file)) as db, db:
            db.execute("PRAGMA journal_mode = MEMORY")  # no second file; what a kill leaves half written has no stamp
            db.execute("PRAGMA synchronous = OFF")
            db.execute(_CREATE)
            db.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in gone])
            db.executemany("REPLACE INTO runs VALUES (?, ?, ?)", learnt)
    except _TROUBLE as error:
        _forget(file, error)


def _forget(file: Path, error: Exception) -> None:
    """Deletes a damaged file, so that the next call makes a new one."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_NOW:
        with contextlib.suppress(OSError):
            file.unlink()
