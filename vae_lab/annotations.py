"""The signature of one of our own classes or functions, read from its source: importing it would import torch, for seconds.

An annotation is evaluated in the names of its file: those it assigns, those it imports from other files of ours (read in
the same way), and those of modules that cost nothing to import. One that depends on anything else is `Any`, so that what is
read here is never stricter than the class itself. A test compares the two for every option.
"""

import ast
import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = __package__ or "vae_lab"
_LIGHT = frozenset({"annotated_types", f"{PACKAGE}.settings"}) | sys.stdlib_module_names


class Unreadable(Exception):
    """A target whose source is not ours, or not plain enough."""


@dataclass(frozen=True)
class Argument:
    """The type of an argument (`Any` where it cannot be told without an import), and if it has a default."""

    type: Any
    has_default: bool


@dataclass(frozen=True)
class Signature:
    """The arguments by name, without `self`; `forwards` if any other is passed on."""

    arguments: dict[str, Argument] = field(default_factory=dict)
    forwards: bool = False


def read(target: str) -> Signature:
    """The signature of `vae_lab.module.Name`. Errors: `Unreadable`."""
    source, node = _definition(*target.rpartition(".")[::2])
    if isinstance(node, ast.FunctionDef):
        return _of_function(source, node)
    return _of_class(_outline(source.module, node.name))


class _Source(Mapping[str, Any]):
    """The names of a file of ours, each evaluated when it is asked for."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.statements: dict[str, ast.stmt] = {}
        for statement in ast.parse(_file(module).read_text(encoding="utf-8")).body:
            self.statements |= dict.fromkeys(_bound(statement), statement)

    def __iter__(self) -> Iterator[str]:
        return iter(self.statements)

    def __len__(self) -> int:
        return len(self.statements)

    def __getitem__(self, name: str) -> Any:
        statement = self.statements[name]
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            return self.value(statement.value)
        if isinstance(statement, ast.ImportFrom) and statement.module:
            return _imported(statement.module, _original(statement, name))
        raise Unreadable(name)

    def value(self, expression: ast.expr) -> Any:
        """The value of an expression. Errors: `Unreadable`."""
        if isinstance(expression, ast.Constant) and isinstance(expression.value, str):  # an annotation in quotes
            return self.value(ast.parse(expression.value, mode="eval").body)
        try:
            return eval(compile(ast.Expression(expression), "<annotation>", "eval"), {}, self)
        except Exception as error:  # whatever an expression may raise
            raise Unreadable(ast.unparse(expression)) from error


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a statement binds."""
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign):
        return [statement.target.id] if isinstance(statement.target, ast.Name) else []
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in statement.names]
    return [statement.name] if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) else []


def _original(statement: ast.ImportFrom, name: str) -> str:
    return next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)


def _imported(module: str, name: str) -> Any:
    """A name of another module."""
    if module in _LIGHT or module.partition(".")[0] in _LIGHT:
        return getattr(importlib.import_module(module), name)
    return _source(module)[name]


@functools.cache
def _source(module: str) -> _Source:
    return _Source(module)


def _file(module: str) -> Path:
    top, *rest = module.split(".")
    if top != PACKAGE:
        raise Unreadable(module)
    path = Path(__file__).parent.joinpath(*rest)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        raise Unreadable(module)
    return file


def _definition(module: str, name: str) -> tuple[_Source, ast.ClassDef | ast.FunctionDef]:
    """A class or function, and the file that defines it, which a package's `__init__` may import it from."""
    source = _source(module)
    statement = source.statements.get(name)
    if isinstance(statement, ast.ImportFrom) and statement.module:
        return _definition(statement.module, _original(statement, name))
    if not isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        raise Unreadable(f"{module}.{name}")
    return source, statement


# ---- signatures


def _of_function(source: _Source, node: ast.FunctionDef) -> Signature:
    args = node.args
    positional = [*args.posonlyargs, *args.args]
    required = len(positional) - len(args.defaults)
    arguments = {arg.arg: Argument(_type(source, arg.annotation), i >= required) for i, arg in enumerate(positional)}
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        arguments[arg.arg] = Argument(_type(source, arg.annotation), default is not None)
    arguments.pop("self", None)
    return Signature(arguments, args.kwarg is not None)


@functools.cache
def _outline(module: str, name: str) -> type:
    """An empty class with the bases of one of ours, as far as they are ours too: Python then orders them."""
    source, node = _definition(module, name)
    bases = []
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        with contextlib.suppress(Unreadable):
            found, definition = _definition(module, ast.unparse(base))
            bases.append(_outline(found.module, definition.name))
    return type(name, tuple(bases), {"place": (source, node)})


def _of_class(outline: type) -> Signature:
    """That of the first `__init__` in the order of the bases, or of the fields of a dataclass."""
    for each in outline.__mro__[:-1]:
        source, node = vars(each)["place"]
        if _is_dataclass(node):
            return Signature(dict(field for base in each.__mro__[-2::-1] for field in _fields(*vars(base)["place"])))
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return _of_function(source, statement)
    return Signature()


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(source: _Source, node: ast.ClassDef) -> Iterator[tuple[str, Argument]]:
    """The fields that a dataclass declares itself."""
    for statement in node.body if _is_dataclass(node) else ():
        if not isinstance(statement, ast.AnnAssign) or "ClassVar" in ast.unparse(statement.annotation):
            continue
        yield ast.unparse(statement.target), Argument(_type(source, statement.annotation), statement.value is not None)


def _type(source: _Source, annotation: ast.expr | None) -> Any:
    try:
        return Any if annotation is None else source.value(annotation)
    except Unreadable:
        return Any
