"""A Ray cluster of two nodes and a SLURM cluster of one host, on this machine's loopback, for tests and for a first try:

python tests/launchers/stands.py ray      prints what to export; Ctrl-C, or the end of its terminal, stops it
python tests/launchers/stands.py slurm    the same; needs root, and apt-get install slurmctld slurmd slurm-client munge
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SLURM = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")


def why_no_ray() -> str | None:
    return None if ray_program().exists() else "Ray is not installed: pip install 'vae-lab[ray]'"


def why_no_slurm() -> str | None:
    missing = [name for name in SLURM if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"no {', '.join(missing)} here: apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "a SLURM daemon that runs jobs needs root"


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def ray_program() -> Path:
    return Path(sys.executable).with_name("ray")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not come up: exit code {process.poll()}")
        time.sleep(0.2)


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts programs that live as long as the block, each the leader of its own group."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        with open(folder / f"{name}.out", "wb") as out:
            started.append(
                subprocess.Popen(
                    [str(word) for word in words],
                    env=os.environ | {"PATH": _PATH} | environment,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return started[-1]

    try:
        yield start
    finally:
        for process in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in reversed(started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def ray_cluster(nodes: int = 2, cpus: int = 1) -> Iterator[dict[str, str]]:
    """A Ray cluster of several nodes on this host; the variables by which a command joins it.

    Each node is a `ray start` of its own, as it would be on another host. A token of its own keeps others out.
    """
    port, client_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as name:  # a socket's path has few letters to spend
        folder = Path(name)
        (folder / "token").write_text(secrets.token_hex(32))
        (folder / "token").chmod(0o600)
        variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        variables |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
        size = [f"--num-cpus={cpus}", "--object-store-memory=80000000", "--block"]
        with processes(folder) as start:
            head = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}", "--include-dashboard=false"]
            first = start("head", ray_program(), "start", *head, *size, f"--temp-dir={folder}", **variables)
            address = f"{own_address()}:{port}"
            wait_for(lambda: _answers(address, variables), first)
            for number in range(1, nodes):
                start(f"node{number}", ray_program(), "start", f"--address={address}", *size, **variables)
            variables["RAY_ADDRESS"] = address
            wait_for(lambda: _alive(variables) == nodes, first)
            yield variables


def own_address() -> str:
    """The address that Ray takes for this host's, whatever it is told."""
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


def _answers(address: str, variables: dict[str, str]) -> bool:
    return _status(variables | {"RAY_ADDRESS": address}).returncode == 0


def _alive(variables: dict[str, str]) -> int:
    return _status(variables).stdout.count(" node_")


def _status(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = [str(ray_program()), "status", f"--address={variables['RAY_ADDRESS']}"]
    return subprocess.run(words, env=os.environ | variables, capture_output=True, text=True, check=False)


SLURM_CONF = """\
ClusterName=stand
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=5
MinJobAge=10
ReturnToService=2
MaxArraySize=11
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def slurm_cluster() -> Iterator[dict[str, str]]:
    """A SLURM cluster of this host alone, without accounting; the variables by which a command joins it."""
    controller, daemon = free_ports(2)
    host = socket.gethostname().partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("state", "spool"):
            (folder / part).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        text = SLURM_CONF.format(host=host, controller=controller, daemon=daemon, folder=folder, cpus=os.cpu_count())
        (folder / "slurm.conf").write_text(text)
        variables = {"SLURM_CONF": str(folder / "slurm.conf")}
        files = [f"--{what}={folder}/munge.{what.partition('-')[0]}" for what in ("key-file", "log-file", "pid-file")]
        with processes(folder) as start:
            socket_, seed = folder / "munge.socket", folder / "munge.seed"
            munged = start(
                "munged", "munged", "--foreground", "--force", f"--socket={socket_}", f"--seed-file={seed}", *files
            )
            wait_for(socket_.exists, munged)
            start("slurmctld", "slurmctld", "-D", **variables)
            slurmd = start("slurmd", "slurmd", "-D", "-N", host, **variables)
            wait_for(lambda: "idle" in _ask(variables, "sinfo", "--noheader", "--format=%T"), slurmd)
            try:
                yield variables
            finally:  # a job outlives the daemons
                _ask(variables, "scancel", "--signal=KILL", "--full", "--user=root")
                _ask(variables, "scancel", "--user=root")
                wait_for(lambda: not _ask(variables, "squeue", "--noheader"), slurmd)


def _ask(variables: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=os.environ | variables, capture_output=True, text=True, check=False).stdout


def main(which: str) -> None:
    stand, why_not = {"ray": (ray_cluster, why_no_ray), "slurm": (slurm_cluster, why_no_slurm)}[which]
    if reason := why_not():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    with contextlib.suppress(KeyboardInterrupt), stand() as variables:
        print(" ".join(["export", *(f"{key}={value}" for key, value in variables.items())]), flush=True)
        signal.pause()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("ray", "slurm"):
        sys.exit(__doc__)
    main(sys.argv[1])
