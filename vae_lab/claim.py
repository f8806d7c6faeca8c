"""Who holds a run: one process at a time, on whichever host that sees the folder.

A claim is a file beside the run that names its holder's host and process, and that the holder touches while it lives. A
holder of this host that has died is known at once, by the table of processes; one of another host once its file has not
been touched for `LEASE` seconds, by the clock of whoever waits. `filelock` has all of it; what is added here is that a holder
which was taken for dead, such as one that was suspended, writes nothing more.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import SoftFileLease, Timeout

from vae_lab.links import refuse_links_out

CLAIM = ".lease"
LEASE = 60.0
"""Seconds without a sign of life after which another host may take a run over."""


class Held(Exception):
    """Another process holds the run, and nobody wanted to wait."""


class ClaimLost(Exception):
    """Another process has taken the run over."""


@dataclass(frozen=True)
class Claim:
    """A run that this process holds."""

    lease: SoftFileLease

    def check(self) -> None:
        """Before anything is written to the run. Errors: `ClaimLost`."""
        if self.lease.compromise is not None or not self.lease.is_lock_held_by_us:
            raise ClaimLost(f"{self.lease.lock_file}: another process holds it now")


@contextmanager
def claim(run: Path, on_wait: str = "", wait: bool = True) -> Iterator[Claim]:
    """Holds the run in a folder.

    Arguments:
        on_wait: what to say before waiting for another holder.
        wait: whether to wait. Errors: `Held` if not, and another process has it; `RequestError` where a part of the run
            is a link out of it.
    """
    run.mkdir(parents=True, exist_ok=True)
    refuse_links_out(run)
    lease = SoftFileLease(run / CLAIM, lease_duration=LEASE, poll_interval=0.2)
    try:
        _acquire(lease, on_wait, wait)
        yield Claim(lease)
    finally:
        _let_go(lease)


def _acquire(lease: SoftFileLease, on_wait: str, wait: bool) -> None:
    try:
        lease.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise Held(str(Path(lease.lock_file).parent)) from None
        print(on_wait, flush=True)
        lease.acquire()


def _let_go(lease: SoftFileLease) -> None:
    """Gives a claim back, one too that was only half made: without memory for its thread, or for the work of giving it
    back, at the second attempt. A process that lives on with it would keep everybody waiting."""
    try:
        lease.release(force=True)
    except (MemoryError, RuntimeError):
        lease.release(force=True)


def is_claimed(run: Path) -> bool:
    """Whether a live process holds the run in a folder."""
    try:
        silent = time.time() - (run / CLAIM).stat().st_mtime
        lease = SoftFileLease(run / CLAIM, lease_duration=LEASE)
        with lease.acquire(timeout=0):  # possible only if its holder has died: this tidies up after it
            return False
    except Timeout:
        return silent < 2 * LEASE  # one look cannot see whether a holder on another host still breathes
    except OSError:  # nobody's, or an archive that nobody can write to, so nobody runs in it
        return False
