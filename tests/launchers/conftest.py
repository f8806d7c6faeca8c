"""The command line in this process, as tests/cli has it, and an option of a person's own whose runs fail."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import lab, small  # noqa: F401
from launchers import stands
from small_runs import STUDY, write_study

FAULTY = """\
from vae_lab.models.priors import StandardNormalPrior


class Faulty(StandardNormalPrior):
    def forward(self):
        if self.training:
            raise ZeroDivisionError("the prior broke")
        return super().forward()
"""


@pytest.fixture
def faulty(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study whose first arm raises in training; the words that run it."""
    (in_tmp / "options" / "prior").mkdir(parents=True)
    (in_tmp / "options" / "prior" / "faulty.yaml").write_text("_target_: faulty_prior.Faulty\n")
    (in_tmp / "faulty_prior.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(in_tmp))
    monkeypatch.delitem(sys.modules, "faulty_prior", raising=False)
    write_study(in_tmp, "small", STUDY.replace("arms:", "arms:\n  broken: {prior: faulty}"))
    return ["study", "small", "--config-dir", "options", "arm=broken,plain,annealed-0.5", "seed=0"]


@pytest.fixture(scope="session")
def ray() -> Iterator[dict[str, str]]:
    """A Ray cluster of two nodes."""
    if reason := stands.why_no_ray():
        pytest.skip(reason)
    with stands.ray_cluster() as variables:
        yield variables


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """A SLURM cluster of this host."""
    if reason := stands.why_no_slurm():
        pytest.skip(reason)
    with stands.slurm_cluster() as variables:
        yield variables
