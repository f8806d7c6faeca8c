"""Words of a command line that Hydra's grammar does not read as they stand: taken as the text that they are where they can
mean nothing else, and otherwise answered with the word to type."""

import os
import re
import shlex
from collections.abc import Callable

_KEY = re.compile(r"[+~]{0,2}[A-Za-z_$][\w.$@/-]*", re.ASCII)
_GRAMMAR = re.compile(
    r"\s*(\[|\{|\(|'|\"|(choice|range|interval|glob|shuffle|sort|tag|extend_list|str|int|float|bool|json_str)\s*\()"
)
_LIST = re.compile(r"\[([^\[\]{}()'\"]*)\]")

Parses = Callable[[str], bool]
"""Says of a word if Hydra's grammar reads it."""


def quoted(value: str) -> str:
    """A text as Hydra's grammar has it.

    Example:
        >>> quoted("a=b"), quoted('say "x"')
        ('"a=b"', '"say \\\\"x\\\\""')
    """
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    ending = len(escaped) - len(escaped.rstrip("\\"))
    return '"' + escaped + "\\" * ending + '"'


def for_the_shell(key: str, value: str) -> str:
    """The word that sets a key to a text, as it is typed.

    Example:
        >>> print(for_the_shell("dataset.path", "a,b.csv"))
        'dataset.path="a,b.csv"'
    """
    return shlex.quote(f"{key}={quoted(value)}")


def literal(word: str, parses: Parses) -> str:
    """A word as Hydra reads it: with quotes where its value can only be a text, or a list of texts; `~/` is the home folder,
    which a shell does not see after `=`."""
    key, sign, value = word.partition("=")
    if not sign or not _KEY.fullmatch(key):
        return word
    if value == "~" or value.startswith("~/"):
        value = os.path.expanduser(value)
    if parses(plain := f"{key}={value}"):
        return plain
    if (items := _LIST.fullmatch(value)) and all(item.strip() for item in items[1].split(",")):
        return f"{key}=[{_each(key, items[1], parses)}]"
    is_text = "," not in value and "${" not in value and not _GRAMMAR.match(value)
    return f"{key}={quoted(value)}" if is_text else word


def _each(key: str, items: str, parses: Parses) -> str:
    """Items with commas between them, each with quotes where it needs them."""
    stripped = [item.strip() for item in items.split(",")]
    return ",".join(item if parses(f"{key}={item}") else quoted(item) for item in stripped)


def advice(word: str, parses: Parses) -> str:
    """What is wrong with a word that the grammar does not read, and how it is typed."""
    key, sign, value = word.partition("=")
    if not sign:
        return "no override; write key=value, +key=value or ~key"
    if not key:
        return "no key before =, as in key=value"
    if not _KEY.fullmatch(key):
        return f"{key} is no key, as in key=value: a key has letters from a to z, digits, _, - and dots"
    if re.search(r",\s*(,|$|\])|(^|\[)\s*,", value):
        return "a value is missing beside a comma; several values are key=1,2,3, and a list is key=[1,2]"
    text = f"as one text it is typed {for_the_shell(key, value)}"
    if "," in value and not _GRAMMAR.match(value):
        several = shlex.quote(f"{key}={_each(key, value, parses)}")
        return f"the value cannot be read; {text}, and as several values, with -m, {several}"
    return f"the value cannot be read: it begins as a list, a call or a quoted text and does not end as one; {text}"
