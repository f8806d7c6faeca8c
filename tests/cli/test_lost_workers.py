"""A worker that is killed, or out of memory, outside a run costs no other run anything."""

from pathlib import Path

import pytest
from small_runs import STUDY, finish, results, start, write_study

PRIOR = """\
import multiprocessing, os, pathlib, resource, signal
from vae_lab.models.priors import StandardNormalPrior


class Greedy(StandardNormalPrior):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        marker = pathlib.Path("struck")
        if multiprocessing.current_process().name == "MainProcess" or marker.exists():
            return
        marker.touch()
        if pathlib.Path("killed").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, resource.RLIM_INFINITY))
        bytearray(2**28)
"""


@pytest.mark.parametrize("how", ["memory", "killed"])
def test_a_worker_lost_before_its_run_stops_no_other(how: str, in_tmp: Path) -> None:
    """While it checks the request, under a real limit of memory, or by a real SIGKILL."""
    (in_tmp / "options" / "prior").mkdir(parents=True)
    (in_tmp / "options" / "prior" / "greedy.yaml").write_text("_target_: greedy_prior.Greedy\n")
    (in_tmp / "greedy_prior.py").write_text(PRIOR)
    (in_tmp / how).touch()
    write_study(in_tmp, "small", STUDY.replace("arms:", "arms:\n  greedy: {prior: greedy}"))
    words = ["arm=greedy,plain", "seed=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    said = finish(start(in_tmp, "study", "small", "--config-dir", "options", *words, PYTHONPATH=str(in_tmp)))
    assert said.code == 0, said
    line = {
        "memory": "greedy seed=0: out of memory, outside the run; it is tried again",
        "killed": "a worker was lost (killed, or out of memory); going on without it",
    }[how]
    assert said.err.splitlines() == [line]
    assert (in_tmp / "struck").exists()
    assert [result["status"] for result in results(in_tmp).values()] == ["completed"] * 2
    assert not list(in_tmp.glob("runs/small/*/.lease"))
