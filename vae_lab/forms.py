"""The settings that a class takes, with their types: read from the class, or from its source, which imports nothing."""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vae_lab.annotations import Unreadable, read
from vae_lab.targets import CONTEXT, locate

Arguments = Mapping[str, tuple[Any, Any]]
"""Type and default by name; the default is `...` where a value is needed."""


@dataclass(frozen=True)
class Form:
    """What a class or function takes.

    Attributes:
        own: its own arguments. further: those that it passes on (`forwards_to`).
        withheld: names that it would pass on and that the lab decides, each with the reason.
        complete: False if it takes more than is known here. needed: names of `own` that have no default.
    """

    own: Arguments
    further: Arguments = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    needed: frozenset[str] = frozenset()

    def names(self) -> set[str]:
        """The names that a config may give."""
        return {*self.own, *self.further} - CONTEXT - set(self.withheld)


def imported(key: str, target: str) -> Form:
    """The form of a class, imported for it. Errors: `RequestError`."""
    return form_of(locate(key, target))


def form_of(target: Callable[..., Any]) -> Form:
    """The form of a class or function."""
    own, forwards = _arguments(target), getattr(target, "forwards_to", None)
    further = {name: each for name, each in _arguments(forwards).items() if name not in own} if forwards else {}
    further.pop("self", None)
    parameters = inspect.signature(target).parameters
    needed = frozenset(name for name in own if parameters[name].default is inspect.Parameter.empty)
    return Form(own, further, getattr(target, "withheld", {}), needed=needed)


def _arguments(target: Callable[..., Any]) -> Arguments:
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    parameters = inspect.signature(target).parameters.items()
    return {
        name: _argument(name, hints.get(name, Any), p.default is not p.empty, p.default)
        for name, p in parameters
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }


def _argument(name: str, hint: Any, has_default: bool, default: Any = None) -> tuple[Any, Any]:
    """An argument's type and default; the lab itself fills in those of the context."""
    if name in CONTEXT:
        return Any, default if has_default else None
    return hint, default if has_default else ...


@functools.cache
def written(key: str, target: str) -> Form:
    """The form as the source of one of our own classes has it, without importing it; of others, and where the source is not
    plain enough to be read, an incomplete one, which refuses nothing that the class takes."""
    try:
        signature = read(target)
    except Unreadable:
        return Form({}, complete=False)
    own = {name: _argument(name, a.type, a.has_default) for name, a in signature.arguments.items()}
    return Form(own, complete=not signature.forwards)
