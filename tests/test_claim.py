"""One process at a time holds a run, whichever host it is on, and whatever becomes of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import ELSEWHERE

from vae_lab import claim as claims
from vae_lab.claim import ClaimLost, Held, claim, is_claimed

SHORT = 1.0
HOLDER = """\
import sys, time, pathlib
from vae_lab import claim
claim.LEASE = float(sys.argv[1])
with claim.claim(pathlib.Path("run")) as held:
    print("held", flush=True)
    sys.stdin.readline()
    try:
        held.check()
    except claim.ClaimLost:
        sys.exit(7)
"""
needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0,
    reason="another host is a namespace of its own, which root makes",
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Path:
    """A folder in which a lease is short."""
    monkeypatch.setattr(claims, "LEASE", SHORT)
    return in_tmp / "run"


def holder(*before: str, lease: float = SHORT) -> subprocess.Popen[str]:
    """A process that holds the run until it is told to end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*before, sys.executable, "-c", HOLDER, str(lease)], **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> int:
    process.communicate("\n", timeout=30)
    return process.returncode


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()  # before its input is closed, which would let a process within it end in peace
    process.communicate()


def free_within(run: Path, seconds: float) -> float:
    """Waits for the claim, and says how long it took."""
    started = time.monotonic()
    with claim(run):
        taken = time.monotonic() - started
    assert taken < seconds
    return taken


def test_one_at_a_time(short: Path) -> None:
    assert not is_claimed(short)
    process = holder()
    assert is_claimed(short)
    with pytest.raises(Held), claim(short, wait=False):
        pass
    assert end(process) == 0
    assert not is_claimed(short)
    with claim(short, wait=False) as held:
        held.check()


def test_the_claim_of_a_process_that_was_killed_is_free_at_once(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> None:
    monkeypatch.setattr(claims, "LEASE", 1000.0)
    process = holder()
    kill(process)
    assert not is_claimed(in_tmp / "run")
    free_within(in_tmp / "run", 5)


@needs_namespaces
def test_a_process_of_another_host_holds_it_as_long_as_it_breathes(short: Path) -> None:
    """Its process id means nothing here, and it is not taken for dead."""
    process = holder(*ELSEWHERE)
    time.sleep(3 * SHORT)
    assert is_claimed(short)
    with pytest.raises(Held), claim(short, wait=False):
        pass
    assert end(process) == 0
    free_within(short, SHORT)


@needs_namespaces
def test_the_claim_of_another_host_that_was_lost_is_free_once_it_is_stale(short: Path) -> None:
    process = holder(*ELSEWHERE)
    kill(process)
    free_within(short, 10 * SHORT)
    assert not is_claimed(short)


@needs_namespaces
def test_the_claim_of_another_host_that_was_lost_is_held_until_it_is_stale(
    monkeypatch: pytest.MonkeyPatch, in_tmp: Path
) -> None:
    monkeypatch.setattr(claims, "LEASE", 1000.0)
    process = holder(*ELSEWHERE, lease=1000.0)
    kill(process)
    assert is_claimed(in_tmp / "run")
    with pytest.raises(Held), claim(in_tmp / "run", wait=False):
        pass


@needs_namespaces
def test_a_holder_that_was_taken_for_dead_writes_nothing_more(short: Path) -> None:
    process = holder(*ELSEWHERE)
    inner = int(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout)
    os.kill(inner, signal.SIGSTOP)
    with claim(short):
        os.kill(inner, signal.SIGCONT)
        assert end(process) == 7
        assert is_claimed(short)


def test_a_claim_whose_file_is_gone_is_lost(short: Path) -> None:
    with claim(short) as held:
        held.check()
        (short / claims.CLAIM).unlink()
        with pytest.raises(ClaimLost):
            held.check()


def test_a_folder_that_is_not_there_or_cannot_be_written_to_is_nobodys(short: Path) -> None:
    assert not is_claimed(short)
    short.mkdir()
    assert not is_claimed(short)


@pytest.mark.parametrize("fault", ["thread", "release"])
def test_a_claim_without_memory_for_it_is_given_back(fault: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the thread that keeps it alive, or for giving it back: this process lives on, and holds nothing."""
    run, release, calls = in_tmp / "run", claims.SoftFileLease.release, []

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    def breaks_once(self: claims.SoftFileLease, force: bool = False) -> None:
        calls.append(force)
        if len(calls) == 1:
            raise MemoryError
        release(self, force=force)

    with monkeypatch.context() as patch:
        if fault == "thread":
            patch.setattr("threading.Thread.start", breaks)
            with pytest.raises(RuntimeError, match="can't start new thread"), claim(run):
                pass
        else:
            patch.setattr(claims.SoftFileLease, "release", breaks_once)
            with claim(run):
                pass
    assert not is_claimed(run)
    assert not (run / claims.CLAIM).exists()
