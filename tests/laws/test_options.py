"""What holds of the options of every kind: a YAML and its class agree, so that a check says the truth about both."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_lab import places
from vae_lab.build import MODEL
from vae_lab.targets import CONTEXT, locate

KINDS = [*MODEL, "bound", "beta", "rate", "corruption", "evaluation", "optimizer", "scheduler", "logger"]
FILES = [
    file
    for directory in places.option_directories()
    for kind in KINDS
    for file in sorted(directory.glob(f"{kind}/*.yaml"))
]
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")


def node_of(file: Path) -> dict[str, Any]:
    """The part that an option's file makes; of a group that takes several it has the option's name."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content if "_target_" in content else content[file.stem]


def target_of(file: Path) -> Any:
    return locate(file.stem, str(node_of(file)["_target_"]))


def settings_of(file: Path) -> list[inspect.Parameter]:
    """What the class asks for, but for what the lab knows."""
    target = target_of(file)
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(target).parameters.values()
    return [p for p in parameters if p.name not in CONTEXT and p.kind not in variadic]


@each_file
def test_the_yaml_lists_every_setting_of_its_class_and_no_other(file: Path) -> None:
    node = node_of(file)
    assert {key for key in node if not key.startswith("_")} == {parameter.name for parameter in settings_of(file)}


@each_file
def test_every_setting_has_a_type_a_default_and_words(file: Path) -> None:
    for parameter in settings_of(file):
        assert parameter.annotation is not parameter.empty, f"{parameter.name} has no type: it cannot be checked"
        assert parameter.default is not parameter.empty, f"{parameter.name} has no default"
    content = file.read_text(encoding="utf-8")
    assert inspect.getdoc(target_of(file)), "the class has no docstring"
    assert content.startswith("#"), "the YAML does not begin by saying what it is"
