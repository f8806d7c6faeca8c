"""The options that a use of a finished run is given, checked before a model is built."""

from collections.abc import Mapping, Sequence
from typing import Any

from vae_lab.choices import no_such_key
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.forms import imported
from vae_lab.options import option_content
from vae_lab.places import USE, uses
from vae_lab.schema import Read, check_arguments, check_targets

MOVED = ("dataset.root", "dataset.path")
"""Where the data lie now; a command on a finished run takes these beside its own options."""


def use_node(name: str, options: Mapping[str, Any], named: Sequence[str] = (), read: Read = imported) -> dict[str, Any]:
    """The node of a use with these options, checked.

    Arguments:
        named: folders of options that the person named. read: gives the form of a target.

    Errors: `RequestError`, one line.
    """
    if name not in (known := uses(named)):
        raise RequestError(f"{name}: no such use; there are {listed(known)}{nearest(name, known)}")
    own = {key: value for key, value in options.items() if key not in MOVED}
    content = option_content(USE, name, named)
    for key in own.keys() - content.keys():
        raise RequestError(no_such_key(f"{name}.{key}", f"vae-lab {name}", sorted(content.keys() - {"_target_"}), key))
    node = {**content, **own}
    check_targets({USE: node}, tuple(named))
    check_arguments(name, node, read=read)
    return node


def check_evaluation(overrides: Mapping[str, Any], named: Sequence[str] = (), read: Read = imported) -> None:
    """Checks what `evaluate` is given for a run that it has not read yet. Errors: `RequestError`, one line."""
    for key in overrides:
        head, _, rest = key.partition(".")
        if not (head == "evaluation" and rest) and key not in MOVED:
            raise RequestError(
                f"{key}: evaluate takes evaluation.*, dataset.root and dataset.path; to train otherwise, use train"
            )
    own = {key.partition(".")[2]: value for key, value in overrides.items() if key not in MOVED}
    check_arguments("evaluation", {**option_content("evaluation", "default", named), **own}, read=read)
