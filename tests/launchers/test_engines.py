"""The same study on every launcher: on a Ray cluster of two nodes and on a SLURM cluster of one host, both real."""

import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from small_runs import STUDY, TINY, UNENDING, Said, results, start, write_study

pytestmark = pytest.mark.slow

RAY, SLURM = "hydra/launcher=ray", "hydra/launcher=submitit_slurm"


def finish(process: subprocess.Popen[str]) -> Said:
    """As for any command, with time for the workers to import torch on a busy machine."""
    out, err = process.communicate(timeout=900)
    return Said(process.returncode, out, err)


class Stand(NamedTuple):
    """A launcher's words, and the variables by which a command joins its cluster."""

    words: list[str]
    variables: dict[str, str]

    def lab(self, folder: Path, *words: str) -> Said:
        return finish(self.start(folder, *words))

    def start(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        return start(folder, *words, *self.words, **self.variables)


@pytest.fixture(params=["ray", "slurm"])
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    words = {"ray": [RAY, "hydra.launcher.remote.max_retries=0"], "slurm": [SLURM]}[request.param]
    return Stand(words, request.getfixturevalue(request.param))  # type: ignore[return-value]


@pytest.fixture
def on_slurm(slurm: dict[str, str]) -> Stand:
    return Stand([SLURM], slurm)


def metrics(folder: Path) -> dict[str, object]:
    return {name: result["metrics"] for name, result in results(folder).items()}


def test_the_same_study_gives_the_same_numbers_and_a_failed_run_stops_no_other(
    stand: Stand, faulty: list[str], in_tmp: Path
) -> None:
    python = {"PYTHONPATH": _path(in_tmp)}
    there = stand._replace(variables=stand.variables | python)
    said = there.lab(in_tmp, *faulty, "hydra.launcher.runs_per_job=2")
    assert said.code == 1
    assert "Traceback" not in said.err
    _, row, _ = said.err.splitlines()  # the table of failures
    assert row.split("  ")[:2] == ["broken seed=0", "ZeroDivisionError: the prior"]
    assert "3 runs in 2 jobs" in said.out
    assert said.out.count("test elbo") == 2
    here = finish(start(in_tmp, *faulty, "hydra/launcher=joblib", "runs_dir=here", **python))
    assert here.code == 1
    assert len(metrics(in_tmp / "runs")) == 3
    assert metrics(in_tmp / "runs") == metrics(in_tmp / "here")


def _path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


LONG = ["train", "-m", *UNENDING, "trainer.max_steps=1000"]
LONG += ["callbacks.checkpoint.every_n_updates=50", "seed=0,1,2"]
LONG += ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=400"]


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("uncut")
    assert finish(start(folder, *LONG)).code == 0
    return metrics(folder)


def updates(folder: Path) -> list[int]:
    """The updates taken so far by each run below a folder."""
    ledgers = [file.read_bytes() for file in folder.glob("runs/*/*/.ledger")]
    return [struct.unpack_from("<q", content)[0] for content in ledgers if content]


def until(so: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 600
    while not so():
        assert process is None or process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(folder: Path) -> list[int]:
    """The processes that hold a run below a folder, on whatever launcher."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            files = [os.readlink(file) for file in (place / "fd").iterdir()]
        except OSError:
            continue
        if any(file.startswith(str(folder)) and file.endswith("run.log") for file in files):
            found.append(int(place.name))
    return found


def test_a_killed_job_stops_no_other_and_its_run_goes_on(stand: Stand, in_tmp: Path, uncut: dict[str, object]) -> None:
    process = stand.start(in_tmp, *LONG)
    until(lambda: max(updates(in_tmp), default=0) > 200, process)
    os.kill(at_work(in_tmp)[0], signal.SIGKILL)
    said = finish(process)
    assert said.code == 0
    (lost,) = said.err.splitlines()
    assert lost.startswith(f"{stand.words[0]}: lost: ")
    assert metrics(in_tmp) == uncut
    assert sum(updates(in_tmp)) <= 3 * 1000 + 50  # one checkpoint interval of the one that was killed


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(how: signal.Signals, code: int, stand: Stand, in_tmp: Path) -> None:
    process = stand.start(in_tmp, *LONG)
    until(lambda: max(updates(in_tmp), default=0) > 100, process)
    process.send_signal(how)
    said = finish(process)
    assert said.code == code
    assert "Traceback" not in said.err
    until(lambda: not at_work(in_tmp))
    assert not results(in_tmp)
    if stand.words == [SLURM]:
        until(lambda: not asked(stand, "squeue", "--noheader"))


def asked(stand: Stand, *words: str) -> str:
    environment = os.environ | stand.variables
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_lost_worker_of_ray_is_replaced(ray: dict[str, str], in_tmp: Path, uncut: dict[str, object]) -> None:
    process = Stand([RAY], ray).start(in_tmp, *LONG)
    until(lambda: max(updates(in_tmp), default=0) > 200, process)
    os.kill(at_work(in_tmp)[0], signal.SIGKILL)
    said = finish(process)
    assert (said.code, said.err) == (0, "")
    assert metrics(in_tmp) == uncut


def test_a_requeued_job_goes_on_where_it_was(on_slurm: Stand, in_tmp: Path, uncut: dict[str, object]) -> None:
    """As SLURM does with a job that it preempts."""
    process = on_slurm.start(in_tmp, *LONG, "hydra.launcher.runs_per_job=3")
    until(lambda: max(updates(in_tmp), default=0) > 200, process)
    job = asked(on_slurm, "squeue", "--noheader", "--format=%i")
    asked(on_slurm, "scontrol", "requeue", job)
    until(lambda: asked(on_slurm, "squeue", "--noheader", "--format=%T") == "PENDING", process)
    time.sleep(4)  # for so long SLURM refuses the credential of a job that it has just revoked
    asked(on_slurm, "scontrol", "update", f"jobid={job}", "StartTime=now")  # else it waits for two minutes
    said = finish(process)
    assert (said.code, said.err) == (0, "")
    assert metrics(in_tmp) == uncut
    attempts = [result["timing"]["attempts"] for result in results(in_tmp).values()]
    assert sorted(attempts) == [1, 1, 2]


def test_a_job_has_the_variables_and_no_file_does(on_slurm: Stand, in_tmp: Path) -> None:
    """By SLURM's own way of handing them on."""
    (in_tmp / "options" / "prior").mkdir(parents=True)
    (in_tmp / "options" / "prior" / "asking.yaml").write_text("_target_: asking_prior.Asking\n")
    (in_tmp / "asking_prior.py").write_text(ASKING)
    there = on_slurm._replace(variables=on_slurm.variables | {"WANDB_API_KEY": "a-secret", "PYTHONPATH": _path(in_tmp)})
    said = there.lab(in_tmp, "train", "-m", *TINY, "prior=asking", "--config-dir", "options", "seed=0,1")
    assert (said.code, said.err) == (0, "")
    assert len(list(in_tmp.glob("runs/solo/.submitit/**/*_submitted.pkl"))) == 2
    assert not [file for file in in_tmp.glob("runs/**/*") if file.is_file() and b"a-secret" in file.read_bytes()]


ASKING = """\
import os

from vae_lab.models.priors import StandardNormalPrior


class Asking(StandardNormalPrior):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        assert os.environ["WANDB_API_KEY"] == "a-secret"
"""


def test_more_jobs_than_slurm_takes(on_slurm: Stand, in_tmp: Path) -> None:
    said = on_slurm.lab(in_tmp, "train", "-m", *TINY, "seed=range(12)")
    assert said.code == 2
    *sbatch, line = said.err.splitlines()  # what sbatch says for itself comes first
    assert all(each.startswith("sbatch: ") for each in sbatch)
    assert line.startswith("vae-lab: hydra/launcher=submitit_slurm: ")
    assert "Invalid job array specification; fewer jobs are made by more runs in each" in said.err


def test_one_process_a_run_in_a_job_of_several_tasks(on_slurm: Stand, in_tmp: Path) -> None:
    """`srun vae-lab train` by hand: Lightning takes no task for a part of its own, and says nothing of srun."""
    for number in ("0", "1"):
        inside = {"SLURM_NTASKS": "2", "SLURM_PROCID": number, "SLURM_LOCALID": number, "SLURM_JOB_NAME": "x"}
        said = finish(start(in_tmp, "train", *TINY, f"seed={number}", **on_slurm.variables, **inside))
        assert (said.code, said.err) == (0, "")
        run = in_tmp / said.out.splitlines()[-1]
        assert "srun" not in (run / "run.log").read_text().lower()
        assert "SLURM" not in (run / "run.log").read_text()
        assert (run / "checkpoints" / "last.ckpt").exists()
        assert len((run / "metrics.csv").read_text().splitlines()) > 10


def test_the_study_command_too(stand: Stand, in_tmp: Path) -> None:
    write_study(in_tmp, "small", STUDY)
    said = stand.lab(in_tmp, "study", "small", "seed=0", "hydra.launcher.runs_per_job=3")
    assert (said.code, said.err) == (0, "")
    assert "3 runs in 1 job" in said.out
    assert (in_tmp / "runs" / "small" / "report.html").exists()
    assert len(json.loads((in_tmp / "runs" / "small" / "plan.json").read_text())["cells"]) == 3
