"""Reading YAML that anybody may have written: nothing is expanded, built or lost before its size is known."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vae_lab.errors import decoded

MOST_REPEATED = 10_000
"""Nodes that aliases may add to a file. Ten nested lines of nine aliases each stand for 9^10 nodes."""
DEEPEST = 100
"""Levels of nesting; libyaml's own loader ends the process at some ten thousand."""

LONGEST = 1024
"""Bits of a whole number."""

SAFE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
_RESOLVER = yaml.resolver.Resolver()
_BUILDING = (
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)  # of a tag on a value it is not for


class BadYaml(ValueError):
    """A text that is no YAML, or none that can be read safely. The message is one line."""


def read_yaml(file: Path, loader: Any = SAFE, unique: bool = True) -> Any:
    """Returns the content of a YAML file. Errors: as `parse_yaml`, without the name of the file; `OSError`."""
    try:
        text = decoded(file.read_bytes())
    except ValueError as error:
        raise BadYaml(str(error)) from error
    return parse_yaml(text, loader, unique)


def parse_yaml(text: str, loader: Any = SAFE, unique: bool = True) -> Any:
    """Returns the content of a YAML text: plain values, lists and dicts.

    Arguments:
        loader: a safe one, which says what is a number.
        unique: refuses a key that is there twice; else the later one counts, as YAML's own loaders have it.

    Errors: `BadYaml`.

    Example:
        >>> parse_yaml("{a: 1, b: [x, null]}")
        {'a': 1, 'b': ['x', None]}
        >>> parse_yaml("{a: 1, a: 2}")
        Traceback (most recent call last):
        vae_lab.yaml_text.BadYaml: line 1: the key 'a' is there twice; the first would be lost
    """
    try:
        _check(text, unique)
        return _plain(yaml.load(text, loader))
    except BadYaml:
        raise
    except (yaml.YAMLError, ValueError, *_BUILDING) as error:
        raise BadYaml(_fault(error)) from error


def _plain(value: Any) -> Any:
    """Returns a value that is plain, down to its parts. Errors: `BadYaml` for sets, pairs, bytes and endless numbers."""
    if isinstance(value, (set, tuple, bytes)):
        raise BadYaml(f"a {type(value).__name__} given; a setting is a word, a number, a list or keys with values")
    if isinstance(value, int) and value.bit_length() > LONGEST:
        raise BadYaml(f"a whole number of more than {LONGEST} bits given")
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    for part in parts if isinstance(parts, list) else ():
        _plain(part)
    return value


def _fault(error: Exception) -> str:
    """What is wrong, with the line where the reader noticed it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {', '.join(filter(None, (error.context, error.problem)))}"
    return " ".join(str(error).split()) or type(error).__name__


def value_of(text: str) -> Any:
    """Returns the value that a word of the command line stands for: the word itself where it is no YAML."""
    try:
        return parse_yaml(text)
    except BadYaml:
        return text


@dataclass
class _Open:
    """A list or a mapping that the parser is inside of: its nodes so far, with those that aliases stand for."""

    anchor: str | None
    keys: set[Hashable] | None = None  # of a mapping
    children: int = 0
    size: int = 1


@dataclass
class _Counter:
    """The size of a document, counted from its events: no node is built."""

    unique: bool
    inside: list[_Open] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    repeated: int = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            self._note_key(None, line)
            self.inside.append(_Open(event.anchor, set() if isinstance(event, yaml.MappingStartEvent) else None))
            if len(self.inside) > DEEPEST:
                raise BadYaml(f"line {line}: nested more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = self.inside.pop()
            self._add(ended.size, ended.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            self._note_key(event, line)
            self._add(1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._note_key(None, line)
            self._repeat(str(event.anchor), line)

    def _note_key(self, scalar: Any, line: int) -> None:
        """Counts a child of the innermost node; every other one in a mapping is a key."""
        if not self.inside:
            return
        parent = self.inside[-1]
        parent.children += 1
        if parent.keys is None or scalar is None or parent.children % 2 == 0:
            return
        key = scalar.value, scalar.tag or _RESOLVER.resolve(yaml.ScalarNode, scalar.value, scalar.implicit)
        if self.unique and key in parent.keys:
            raise BadYaml(f"line {line}: the key {scalar.value!r} is there twice; the first would be lost")
        parent.keys.add(key)

    def _repeat(self, anchor: str, line: int) -> None:
        if anchor not in self.sizes:
            raise BadYaml(f"line {line}: *{anchor} stands for nothing that ended before it")
        self.repeated += self.sizes[anchor]
        if self.repeated > MOST_REPEATED:
            raise BadYaml(f"line {line}: its aliases (*{anchor}) stand for more than {MOST_REPEATED} values")
        self._add(self.sizes[anchor], None)

    def _add(self, size: int, anchor: str | None) -> None:
        if anchor:
            self.sizes[anchor] = size
        if self.inside:
            self.inside[-1].size += size


def _check(text: str, unique: bool) -> None:
    """Refuses nesting, aliases and repeated keys that `yaml.load` would take."""
    counter = _Counter(unique)
    for event in yaml.parse(text, SAFE):
        counter.take(event)
