"""What is told to a person who asked for something that cannot be done."""

import contextlib
import difflib
import errno
import logging
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

T = TypeVar("T")


class RequestError(ValueError):
    """The request was wrong: one line that says what, where, what is allowed and what was probably meant. Exit code 2."""


class RunFailed(RuntimeError):
    """A run ended with an error. Exit code 1."""


class Pruned(Exception):
    """A search has cut a run, which can be resumed: no failure."""


def refusal(error: OSError, where: object = None) -> RequestError | RunFailed:
    """A file that cannot be written is a wrong request; a full disk, or one that fails, is not. Without `where` it is
    the error's own file, of which nobody knows what was done to it."""
    text = f"cannot {f'write {where}' if where else f'read or write {error.filename}'}: {error.strerror or error}"
    wrong = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT)
    return RequestError(text) if error.errno in wrong else RunFailed(text)


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says anything, or the name of its type where none does."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


def typed_line(error: BaseException) -> str:
    """The same after the name of its type.

    Example:
        >>> typed_line(ValueError("no room\\nfor it")), typed_line(KeyError())
        ('ValueError: no room', 'KeyError')
    """
    return ": ".join(dict.fromkeys([type(error).__name__, first_line(error)]))


def place(error: BaseException) -> str:
    """The file and line at which an error arose: in code that is neither Python's, nor a package's, nor ours, if any is; of
    a syntax error that of the mistake."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(_ELSEWHERE) and "-packages" not in f.filename]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def placed(error: BaseException) -> str:
    """An error's type and first line, and its place in parentheses."""
    where = place(error)
    return f"{typed_line(error)} ({where})" if where else typed_line(error)


_ELSEWHERE = (sysconfig.get_path("stdlib"), os.path.dirname(__file__), "<")


def decoded(content: bytes) -> str:
    """The text of a file's bytes. Errors: `ValueError` with the line of what is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


@contextlib.contextmanager
def writable(where: object, manager: AbstractContextManager[T]) -> Iterator[T]:
    """The same manager, whose first step writes: its errors are refusals, and those of the body are what they are."""
    with contextlib.ExitStack() as stack:
        try:
            entered = stack.enter_context(manager)
        except OSError as error:
            raise refusal(error, where) from error
        yield entered


@contextlib.contextmanager
def left_out(what: str, say: Callable[[str], object]) -> Iterator[None]:
    """Says that pictures could not be made, and why, and goes on: they never cost numbers."""
    try:
        yield
    except Exception as error:
        say(f"warning: {what} left out, since drawing failed ({typed_line(error)})")
        logging.getLogger(__name__).warning("%s left out", what, exc_info=True)


def closest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The nearest of the known names, whatever the case of its letters, or None."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, 1, cutoff)
    return names[close[0]] if close else None


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """` (did you mean 'x'?)` for the nearest of the known names, or nothing.

    Example:
        >>> nearest("Piror", ["prior", "rate"])
        " (did you mean 'prior'?)"
    """
    found = closest(word, known, cutoff)
    return did_you_mean([found] if found else [])


def did_you_mean(names: Sequence[str]) -> str:
    """The same for names that are known to be near; at most four are shown."""
    return f" (did you mean {' or '.join(map(repr, names[:4]))}?)" if names else ""


def listed(names: Iterable[str]) -> str:
    """Names in order, with commas."""
    return ", ".join(sorted(names))
