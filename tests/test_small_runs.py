"""What the tests themselves stand on."""

from pathlib import Path

from small_runs import STARTED, end_started, start


def test_a_process_that_nobody_waited_for_is_ended(tmp_path: Path) -> None:
    before = len(STARTED)
    process = start(tmp_path, before=["sh", "-c", "sleep 300"])
    end_started(before)
    assert process.returncode == -9
    assert len(STARTED) == before
