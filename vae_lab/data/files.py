"""Files of data: found, and known by their content."""

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

Content = Callable[[Path], Iterable[bytes | memoryview]]
Version = tuple[str, int, int] | None
"""Where a file lies, its size and its time of change, by which it is known to be the same; None where there is none."""


def version(path: Path) -> Version:
    stat = path.stat() if path.exists() else None
    return stat and (str(path.absolute()), stat.st_size, stat.st_mtime_ns)


def content_hash(path: Path, content: Content) -> str:
    """The SHA-256 of the bytes that `content(path)` yields, in hex. A file is read again only when its size or its
    time of change is another, since a study asks once for each of its runs."""
    return _hash(path.absolute(), version(path), content)


@lru_cache(maxsize=64)
def _hash(path: Path, version: Version, content: Content) -> str:
    digest = hashlib.sha256()
    for part in content(path):
        digest.update(part)
    return digest.hexdigest()
