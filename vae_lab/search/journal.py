"""The journal of a search: one JSON a line, appended to by several processes, any of which may be killed as it writes."""

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file

from vae_lab.store import replacing

TORN = ".torn"
"""The end of the name of the file that keeps what was cut out of a journal."""
_RECORD = b'{"op_code"'


class MendedJournal(JournalFileBackend):
    """Optuna's journal, which no torn line can spoil: it is mended when it is opened and before anything is appended.
    Optuna itself appends to a torn last line, after which no line behind it can be read."""

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self.file = file
        with get_lock_file(self._lock):
            mend(file)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock):
            if is_torn(self.file):
                mend(self.file)
            with open(self.file, "ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())


def is_torn(file: Path) -> bool:
    """Whether the last line of a file has no end."""
    with open(file, "rb") as content:
        if content.seek(0, os.SEEK_END) == 0:
            return False
        content.seek(-1, os.SEEK_END)
        return content.read() != b"\n"


def mend(file: Path) -> None:
    """Takes out of a journal what is no record, keeps it in a file beside it, and says so in one line. A record that was
    appended to a torn line is kept. Nobody else may be writing."""
    kept, torn = split(file.read_bytes())
    if not torn:
        return
    aside = file.with_name(file.name + TORN)
    with open(aside, "ab") as parts:
        parts.writelines(part + b"\n" for part in torn)
        parts.flush()
        os.fsync(parts.fileno())
    with replacing(file) as temporary, open(temporary, "wb") as whole:
        whole.writelines(kept)
        whole.flush()
        os.fsync(whole.fileno())
    size = sum(map(len, torn))
    print(
        f"{file}: a write was cut off: {size} bytes that are no record are now in {aside}; the rest is kept", flush=True
    )


def split(content: bytes) -> tuple[list[bytes], list[bytes]]:
    """The records of a journal, a line each, and what is between them.

    Example:
        >>> split(b'{"op_code":1}\\n{"op_co{"op_code":2}\\n{"op_')
        ([b'{"op_code":1}\\n', b'{"op_code":2}\\n'], [b'{"op_co', b'{"op_'])
    """
    kept: list[bytes] = []
    torn: list[bytes] = []
    for line in content.splitlines(keepends=True):
        start = _record_in(line)
        kept += [line[start:]] * (start < len(line))
        torn += [line[:start]] * (start > 0)
    return kept, torn


def _record_in(line: bytes) -> int:
    """Where the whole record that ends a line begins; the length of the line if it has none."""
    if not line.endswith(b"\n"):
        return len(line)
    start = 0
    while start >= 0:
        try:
            json.loads(line[start:])
        except ValueError:
            start = line.find(_RECORD, start + 1)
        else:
            return start
    return len(line)
