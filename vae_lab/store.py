"""Run directories: where a run lives, who holds it, what it says. They are the only truth; the rest is read from them.

A directory is `runs/<study>/<signature>/`, named by what can change the trained model and never by a timestamp.
"""

import contextlib
import csv
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vae_lab.claim import is_claimed
from vae_lab.links import leads_out
from vae_lab.records import Plan, Result, Search, Used, loads
from vae_lab.shapes import mistake

RESULT, CONFIG, HISTORY, LOG = "result.json", "config.yaml", "metrics.csv", "run.log"
PLAN, SEARCH = "plan.json", "search.json"
LEDGER = ".ledger"
TRACKED = ".tracked"
"""The trackers that hold a finished run, with their settings, one a line."""
PRUNED = ".pruned"
"""Says when and why a search cut a run; it is there until the run goes on."""
USES = "uses"
"""The folder of a run that holds a JSON for each use that it was put to."""
LAST, BEST = Path("checkpoints/last.ckpt"), Path("checkpoints/best.ckpt")

_IS_SIGNATURE = re.compile("[0-9a-f]{10}").fullmatch

MISSING = (FileNotFoundError, NotADirectoryError)
"""What it means that a file is not there. To look first and open it then is one look too many: another process may
take it away in between."""


def found_at(file: Path) -> os.stat_result | None:
    """What is known of a file, or None if there is none."""
    try:
        return file.stat()
    except MISSING:
        return None


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a kill at any moment, finds the old content or the new one, never a part."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside another, which it replaces once it is written. Its name is nobody else's on any host: containers
    that share a folder share their process ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(content: Any) -> str:
    """JSON with null for every number that is not finite."""
    return json.dumps(finite(content), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Returns a content of dicts and lists with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value


def step_of(text: str) -> int:
    """Returns a number of updates. Errors: `ValueError`, also for one that no run takes."""
    step = int(text)
    if not 0 <= step < 2**53:
        raise ValueError(f"{text} updates")
    return step


class Damaged(Exception):
    """A file of a run directory that cannot be what was written there."""


def read_text(file: Path, home: Path) -> str:
    """Returns the text of a file of a folder. Errors: `Damaged` for what is no file or a link out of the folder; `OSError`."""
    if leads_out(file, home):
        raise Damaged(f"{file} is a link out of {home}, and is not followed")
    if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe that nobody writes to would be waited for
        raise Damaged(f"{file} is no file")
    return file.read_text(encoding="utf-8")


def read_json(path: Path, shape: Any = dict[str, Any], home: Path | None = None) -> dict[str, Any]:
    """Returns the content of a JSON file that holds one object.

    Arguments:
        shape: what `records` says of it. home: the folder that it must lie in, by default its own.

    Errors: `Damaged` if it holds anything else.
    """
    try:
        content = loads(read_text(path, home or path.parent))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise Damaged(f"{path} is damaged: it holds no object")
    if wrong := mistake(content, shape):
        raise Damaged(f"{path} is damaged: {wrong}")
    return content


@dataclass(frozen=True)
class RunDirectory:
    """One run on disk."""

    path: Path

    @property
    def signature(self) -> str:
        return self.path.name

    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`, or None if the run has not ended. Errors: `Damaged`."""
        return _read_if_there(self.path / RESULT, Result)

    def foreign(self, result: Mapping[str, Any] | None, planned: bool = False) -> str | None:
        """Says that a result is another run's, whose `result.json` was copied here, or nothing.

        Arguments:
            planned: the folder is named by a plan; else one whose name is no signature was named by a person.
        """
        whose = self.signature if result is None else result["signature"]
        if whose == self.signature or not (planned or _IS_SIGNATURE(self.signature)):
            return None
        return f"{self.path / RESULT} is another run's ({whose}): it was copied here"

    def config(self) -> dict[str, Any]:
        """The settings in `config.yaml`, as JSON would hold them; empty if it is no such thing."""
        if found_at(self.path / CONFIG) is None:
            return {}
        from vae_lab.yaml_text import parse_yaml  # where it is needed: few runs are without a result

        try:
            content = parse_yaml(read_text(self.path / CONFIG, self.path), unique=False)
            plain = loads(json.dumps(content, default=str))
        except (OSError, ValueError, TypeError, Damaged):
            return {}
        return plain if isinstance(plain, dict) else {}

    def history(self) -> list[tuple[int, int, str, float]]:
        """Rows (step, epoch, name, value) of `metrics.csv`; a last line cut by a kill is left out."""
        rows = []
        with contextlib.suppress(*MISSING, Damaged):
            text = read_text(self.path / HISTORY, self.path)
            for row in csv.reader(text[: text.rfind("\n") + 1].splitlines()):
                with contextlib.suppress(ValueError):
                    step, epoch, name, value = row
                    rows.append((step_of(step), step_of(epoch), name, float(value)))
        return rows

    def used(self) -> dict[str, dict[str, Any]]:
        """What a use has said of the run, by the name of the use: its options and numbers."""
        found = {}
        with contextlib.suppress(*MISSING):
            for file in sorted((self.path / USES).iterdir()):
                with contextlib.suppress(Damaged, OSError):
                    if file.suffix == ".json":
                        found[file.stem] = read_json(file, Used, self.path)
        return found

    def state(self) -> str:
        """`completed`, `failed`, `damaged`, `running` (claimed by a live process), `pruned` (by a search, can be resumed),
        `cut` (begun, can be resumed) or `new`."""
        return state_now(self.path, self.recorded().state)

    def recorded(self, planned: bool = False) -> "Recorded":
        """What its files say, whoever holds it; `planned` as `foreign` has it."""
        try:
            result = self.result()
        except (Damaged, OSError) as error:
            return Recorded("damaged", {}, str(error), can_be_read=not isinstance(error, OSError))
        if text := self.foreign(result, planned):
            return Recorded("damaged", {}, text)
        if result is not None:
            return Recorded(str(result["status"]), result, str(result.get("error") or ""))
        return Recorded("cut" if (self.path / CONFIG).exists() else "new", {})


STATES = ("completed", "failed", "damaged", "running", "pruned", "cut", "new")


class Recorded(NamedTuple):
    """What the files of a run say: its state, but for who is at it; its result, empty if it has none; what went wrong;
    and whether they could be read, without which they may say something else at the next call."""

    state: str
    result: dict[str, Any]
    error: str = ""
    can_be_read: bool = True


def state_now(run: Path, recorded: str) -> str:
    """The state of a run whose files say `recorded`: `running` if somebody holds it, `pruned` if a search has cut it since.
    One that has completed stays so: whoever holds it perhaps only asks the same."""
    if recorded == "completed":
        return recorded
    if is_claimed(run):
        return "running"
    return "pruned" if (run / PRUNED).exists() else recorded


def find_runs(path: Path) -> list[RunDirectory]:
    """Every run directory at or below `path`, in the order of their names."""
    return [RunDirectory(path / name) for name in names_of_runs(path)]


def names_of_runs(root: Path) -> Iterator[str]:
    """The path of every run below a folder, in the order of their names; empty where the folder itself is one. Links are
    not followed, and a run holds no other."""
    names = [""]
    while names:
        name = names.pop()
        folder = os.path.join(root, name)
        if os.path.exists(f"{folder}/{RESULT}") or (
            os.path.exists(f"{folder}/{CONFIG}") and (not name or os.path.exists(f"{folder}/{LEDGER}"))
        ):
            yield name
        else:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                below = sorted((entry.name for entry in entries if entry.is_dir(follow_symlinks=False)), reverse=True)
                names += [os.path.join(name, each) for each in below]


def read_plan(study: Path) -> dict[str, Any] | None:
    """The plan of a study's folder (`plan.json`: the study's own text, its cells and their signatures), if it has one."""
    return _read_if_there(study / PLAN, Plan)


def signatures_of(launch: Mapping[str, Any]) -> set[str]:
    """Returns the runs that a launch of a study asked for, by its plan."""
    return {cell["signature"] for cell in launch.get("cells") or [] if "signature" in cell}


def read_search(folder: Path) -> dict[str, Any] | None:
    """What a search has noted in the folder of its runs (`search.json`: `objectives`, each `max` or `min`, and the `storage`
    of its trials), if it is one's."""
    return _read_if_there(folder / SEARCH, Search)


def _read_if_there(file: Path, shape: Any) -> dict[str, Any] | None:
    try:
        return read_json(file, shape)
    except MISSING:
        return None
