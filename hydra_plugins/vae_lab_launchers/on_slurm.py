"""`hydra/launcher=submitit_slurm`: packs as the tasks of one SLURM job array, by submitit."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from hydra_plugins.vae_lab_launchers._packs import Done, Ended, Pack, PackLauncher
from vae_lab.errors import RequestError
from vae_lab.settings import Count, NonNegativeInt, Positive

_POLL, _PATIENCE = 2.0, 20.0
"""Seconds between two looks at the queue, and for which a shared file system may hide a result from us."""


class SlurmLauncher(PackLauncher):
    """Runs packs as the tasks of a SLURM job array.

    Args:
        runs_per_job: runs that one job does, one after the other.
        timeout_min: minutes that one job may take.
        cpus_per_task: cores of a job.
        mem_gb: memory of a job in GB.
        gpus_per_node: GPUs of a job.
        partition, account, qos, constraint: as `sbatch` has them.
        array_parallelism: jobs that run at once.
        max_num_timeout: how often a job that has run out of time is queued again, to go on.
        signal_delay_s: seconds before the time runs out at which it is queued again.
        setup: lines of shell before the job, such as `module load ...`.
        additional_parameters: any further flag of `sbatch`, as {mail-type: END}.
    """

    name, extra, package = "hydra/launcher=submitit_slurm", "slurm", "submitit"
    forwarded = ()  # sbatch hands on the whole environment, and submitit writes packs into the sweep's folder

    def __init__(
        self,
        runs_per_job: Count,
        timeout_min: Count,
        cpus_per_task: Count,
        mem_gb: Positive | None,
        gpus_per_node: Count | None,
        partition: str | None,
        account: str | None,
        qos: str | None,
        constraint: str | None,
        array_parallelism: Count,
        max_num_timeout: NonNegativeInt,
        signal_delay_s: Count,
        setup: list[str],
        additional_parameters: dict[str, Any],
        **unknown: Any,
    ) -> None:
        self.runs_per_job, self.max_num_timeout = runs_per_job, max_num_timeout
        self.parameters = {
            "time": timeout_min,
            "mem": None if mem_gb is None else f"{round(mem_gb * 1024)}M",
            "cpus_per_task": cpus_per_task,
            "gpus_per_node": gpus_per_node,
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "array_parallelism": array_parallelism,
            "signal_delay_s": signal_delay_s,
            "setup": setup,
            "additional_parameters": additional_parameters,
        }

    def check_engine(self) -> None:
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise RequestError(f"{self.name}: no {program} here; start it on a login node of the cluster")

    def work(self, packs: list[Pack], folder: Path) -> Ended:
        jobs = self._submit(packs, folder)
        missing: dict[Any, float] = {}
        try:
            while jobs:
                queued = _queued([job.job_id for job in jobs])
                ended = [job for job in jobs if job.paths.result_pickle.exists()]
                for job in ended:
                    yield jobs.pop(job), _outcome(job)
                for job in [job for job in jobs if queued is not None and job.job_id not in queued]:
                    if time.monotonic() - missing.setdefault(job, time.monotonic()) > _PATIENCE:
                        yield jobs.pop(job), f"the job left the queue with no result (see {job.paths.stderr})"
                if not ended:
                    yield None
                    time.sleep(_POLL)
        finally:
            _cancel([job.job_id for job in jobs])

    def _submit(self, packs: list[Pack], folder: Path) -> dict[Any, Pack]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            executor = submitit.SlurmExecutor(folder / ".submitit" / "%j", max_num_timeout=self.max_num_timeout)
            executor.update_parameters(job_name=folder.name, **{k: v for k, v in self.parameters.items() if v})
            jobs = dict(zip(executor.submit_array([_Job(pack) for pack in packs]), packs, strict=True))
        except (FailedJobError, FailedSubmissionError) as error:
            raise RequestError(f"{self.name}: {_refused(error)}") from error
        (number,) = {job.job_id.partition("_")[0] for job in jobs}
        print(f"{self.name}: job {number}, logs in {folder / '.submitit'}", flush=True)
        return jobs


class _Job:
    """A pack as submitit calls it."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack

    def __call__(self) -> Done:
        _stop_without_a_failure()
        return self.pack()

    def checkpoint(self) -> Any:
        """What is queued again when the job is preempted or runs out of time: all of it, since what is done is not
        done twice, and what was cut goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _stop_without_a_failure() -> None:
    """Out of time for the last time, submitit raises an exception, which the run in hand would take for its own
    failure: let it leave the process instead, as it does when the job is queued again."""
    from submitit.core.utils import UncompletedJobError
    from submitit.slurm.slurm import SlurmJobEnvironment

    number = SlurmJobEnvironment._usr_sig()
    queue_again = signal.getsignal(number)
    assert callable(queue_again), "submitit has a handler of it"

    def handle(signum: int, frame: Any) -> None:
        try:
            queue_again(signum, frame)
        except UncompletedJobError as error:
            raise SystemExit(str(error)) from None

    if callable(queue_again):
        signal.signal(number, handle)


def _queued(jobs: list[str]) -> set[str] | None:
    """Which jobs are in the queue or at work; None if the queue cannot be asked now."""
    numbers = ",".join({job.partition("_")[0] for job in jobs})
    words = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={numbers}"]
    asked = subprocess.run(words, capture_output=True, text=True, check=False)
    if asked.returncode == 0 or "Invalid job id" in asked.stderr:
        return set(asked.stdout.split())
    return None


def _cancel(jobs: list[str]) -> None:
    """Takes jobs out of the queue, and ends those at work at once: submitit's have no ear for SIGTERM."""
    if jobs:
        for flags in ([], ["--signal=KILL", "--full"]):
            subprocess.run(["scancel", "--quiet", *flags, *jobs], capture_output=True, check=False)


def _outcome(job: Any) -> Done | str:
    from submitit.core.utils import UncompletedJobError

    try:
        done: Done = job.result()
    except UncompletedJobError as error:
        raised = [line for line in str(error).splitlines() if _RAISED.match(line)]  # in a traceback with advice
        return f"{(raised or [_last_line(error)])[-1]} (see {job.paths.stderr})"
    return done


_RAISED = re.compile(r"[\w.]+(Error|Exception|Exit)\b")


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[-1].strip()


def _refused(error: Exception) -> str:
    """What sbatch said, in one line."""
    lines = [line for line in str(error).splitlines() if "error:" in line] or [_last_line(error)]
    advice = "; fewer jobs are made by more runs in each: hydra.launcher.runs_per_job" if "array" in lines[-1] else ""
    return lines[-1].strip() + advice
