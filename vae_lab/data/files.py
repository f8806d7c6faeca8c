"""Files of data: found, and known by their content."""

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

Content = Callable[[Path], Iterable[bytes | memoryview]]


def content_hash(path: Path, content: Content) -> str:
    """The SHA-256 of the bytes that `content(path)` yields, in hex. A file is read again only when its size or its
    time of change is another, since a study asks once for each of its runs."""
    stat = path.stat() if path.exists() else None
    return _hash(path.absolute(), stat and (stat.st_size, stat.st_mtime_ns), content)


@lru_cache(maxsize=64)
def _hash(path: Path, version: tuple[int, int] | None, content: Content) -> str:
    digest = hashlib.sha256()
    for part in content(path):
        digest.update(part)
    return digest.hexdigest()
