"""What is said of an error is one line, whatever the error says of itself."""

import pytest

from vae_lab.errors import first_line, typed_line
from vae_lab.training.tracker import told


@pytest.mark.parametrize(
    ("error", "first", "typed"),
    [
        (ValueError("no room\nfor it"), "no room", "ValueError: no room"),
        (ValueError("\n\n  no room \n"), "no room", "ValueError: no room"),
        (ValueError(), "ValueError", "ValueError"),
        (ValueError(" \n"), "ValueError", "ValueError"),
    ],
)
def test_the_first_line(error: ValueError, first: str, typed: str) -> None:
    assert (first_line(error), typed_line(error)) == (first, typed)
    assert told("logger=mine", error).startswith(f"warning: logger=mine failed ({typed}); ")
