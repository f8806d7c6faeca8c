"""A file from the first of its mirrors that has it whole."""

import http.client
import logging
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from vae_lab.data.dataset import DataError

log = logging.getLogger(__name__)
ATTEMPTS = 3  # a mirror: a transfer cut short goes on where it stopped
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20


class Cut(OSError):
    """A transfer that ended before its file did."""


BROKEN = (Cut, urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


def fetch(urls: Sequence[str], target: Path, check: Callable[[Path], object]) -> None:
    """Downloads to `target`, which appears only once `check` finds it whole (it raises DataError otherwise).

    What has come so far is kept in `target`.part, and goes on by an HTTP Range; what came but is wrong is deleted, and
    the next mirror asked. Of two processes that ask at once, one downloads and the other waits.

    Raises DataError, with what each mirror answered.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if _fault(target, check):
                _from_first(urls, target, check)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{target} cannot be written ({reason}): set dataset.root= to another folder") from error


def _fault(path: Path, check: Callable[[Path], object]) -> str | None:
    try:
        check(path)
    except DataError as fault:
        return str(fault)
    return None


def _from_first(urls: Sequence[str], target: Path, check: Callable[[Path], object]) -> None:
    part, answers = target.with_name(target.name + ".part"), []
    for url in urls:
        answer = _from(url, part, check)
        if answer is None:
            os.replace(part, target)
            return
        log.warning("%s: %s", url, answer)
        answers.append(f"{url} ({answer})")
    raise DataError(
        f"{target.name} could not be downloaded from {' or '.join(answers)}: "
        f"try again (what has come is kept), or put the file into {target.parent} by hand"
    )


def _from(url: str, part: Path, check: Callable[[Path], object]) -> str | None:
    """What kept this mirror from giving the whole file, or None."""
    answer = "no answer"
    for _ in range(ATTEMPTS):
        resumed = part.exists()
        try:
            _transfer(url, part)
        except urllib.error.HTTPError as error:
            error.close()
            return f"HTTP {error.code}"
        except BROKEN as error:
            answer = str(error)
            continue
        fault = _fault(part, check)
        if fault is None:
            return None
        part.unlink()
        answer = f"what came was wrong: {fault}"
        if not resumed:  # else the fault may lie in the older bytes: ask for all of it
            break
    return answer


def _transfer(url: str, part: Path) -> None:
    """Appends to `part` what is missing of it. A server that knows no Range sends all of it again."""
    have = part.stat().st_size if part.exists() else 0
    log.info("downloading %s%s", url, f" from byte {have:,}" if have else "")
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # there is nothing beyond: the part is whole, or it is not this file's
            error.close()
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as out:
        _copy(response, out)


def _copy(response: http.client.HTTPResponse, out: BinaryIO) -> None:
    left = int(response.headers.get("Content-Length", 0))
    while chunk := response.read(CHUNK):
        out.write(chunk)
        left -= len(chunk)
    if left > 0:
        raise Cut(f"the transfer was cut {left:,} bytes before its end")
