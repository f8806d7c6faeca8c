"""How much work a run has really cost, kills included."""

import mmap
import struct
from pathlib import Path

_FORMAT = "<qqd"  # updates, attempts, seconds


class Ledger:
    """Counts the updates that were really taken, the attempts and the seconds, in a small memory-mapped file: a count
    costs well under a microsecond and outlives `kill -9`, since the pages are the operating system's.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ledger"
        >>> Ledger(path).count_update(); Ledger(path).updates
        1
    """

    def __init__(self, path: Path) -> None:
        size = struct.calcsize(_FORMAT)
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(bytes(size))
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self.updates, self.attempts, self.seconds = struct.unpack(_FORMAT, self._memory)

    def count_update(self) -> None:
        self.updates += 1
        struct.pack_into("<q", self._memory, 0, self.updates)

    def count_attempt(self) -> None:
        self.attempts += 1
        struct.pack_into("<q", self._memory, 8, self.attempts)

    def add_seconds(self, seconds: float) -> None:
        self.seconds += seconds
        struct.pack_into("<d", self._memory, 16, self.seconds)
