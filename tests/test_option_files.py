"""The files of options, read by hand: those of a person's own folder may hold anything."""

from pathlib import Path

import pytest

from vae_lab.errors import RequestError
from vae_lab.options import option_content


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", r"\[1\] given; an option's file holds keys with values"),
        ("latents", "'latents' given; an option's file holds keys with values"),
        ("a: [", "line 2: while parsing a flow node"),
        (b"\xff", "line 1: byte 0 is not UTF-8"),
    ],
)
def test_a_file_that_holds_no_settings_costs_one_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "prior" / "own.yaml"
    file.parent.mkdir()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RequestError, match=f"own.yaml: .*{said}") as refused:
        option_content("prior", "own", [str(tmp_path)])
    assert "\n" not in str(refused.value)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "mitigation").mkdir()
    (tmp_path / "mitigation" / "own.yaml").write_text("# nothing yet\n")
    assert option_content("mitigation", "own", [str(tmp_path)]) == {}
