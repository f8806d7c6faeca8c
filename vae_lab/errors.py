"""What is told to a person who asked for something that cannot be done."""

import difflib
import errno
from collections.abc import Iterable


class RequestError(ValueError):
    """The request was wrong: one line that says what, where, what is allowed and what was probably meant. Exit code 2."""


class RunFailed(RuntimeError):
    """A run ended with an error. Exit code 1."""


class Pruned(Exception):
    """A search has cut a run, which can be resumed: no failure."""


def refusal(error: OSError, where: object = None) -> RequestError | RunFailed:
    """A file that cannot be written is a wrong request; a full disk, or one that fails, is not."""
    text = f"cannot write {where or error.filename}: {error.strerror or error}"
    wrong = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT)
    return RequestError(text) if error.errno in wrong else RunFailed(text)


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of the known names, or nothing.

    Example:
        >>> nearest("piror", ["prior", "rate"])
        " (did you mean 'prior'?)"
    """
    close = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def listed(names: Iterable[str]) -> str:
    """Names in order, with commas."""
    return ", ".join(sorted(names))
