"""How far a study is, as its workers say it."""

import time
from pathlib import Path

import pytest

from vae_lab import progress


def test_time_left_is_told_as_the_page_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a study took two hours and six minutes."""
    now = time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: now - 7560)
        progress.begin(tmp_path, 2, ["a", "b"])
    monkeypatch.setattr(time, "time", lambda: now)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result.json").write_text("{}")
    assert progress.of_study(tmp_path) == "[1/2, 2.1 h left] "
