"""What is left of the other processes of a run when not all of them can be started."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import TINY

from vae_lab import compose
from vae_lab.ranks import together
from vae_lab.request import request


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that were started, on a machine that has room for one."""
    processes: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def start_one(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        if processes:
            raise BlockingIOError("no room for another process")
        processes.append(start(*args, **kwargs))
        return processes[0]

    monkeypatch.setattr(subprocess, "Popen", start_one)
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_the_first_is_ended_where_the_second_cannot_be_started(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    asked = request(compose(*TINY, "trainer=ddp", "trainer.devices=3", f"runs_dir={tmp_path}"))
    with pytest.raises(BlockingIOError), together(asked, resume=False):
        pass
    assert [process.returncode for process in started] == [-9]
