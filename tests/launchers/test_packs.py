"""What launchers do around their engine, on an engine that is this process: it takes every pack through a pickle."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pytest
from hydra.core.plugins import Plugins
from small_runs import TINY, Lab, results

RAY, SLURM = "hydra/launcher=ray", "hydra/launcher=submitit_slurm"
NAME = "hydra_plugins.vae_lab_launchers.on_ray.RayLauncher"

Engine = Callable[..., list[list[int]]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Makes this process the engine behind `hydra/launcher=ray`; it loses the packs of those positions. Returns the list
    of packs that it will have been handed, each a list of its runs' numbers."""

    def install(lose: tuple[int, ...] = ()) -> list[list[int]]:
        handed: list[list[int]] = []

        def work(self, packs, folder):  # type: ignore[no-untyped-def]
            handed.extend(list(pack.runs) for pack in packs)
            for position, pack in enumerate(packs):
                done = "the machine went" if position in lose else cloudpickle.loads(cloudpickle.dumps(pack))()
                yield None
                yield pack, done

        launcher = Plugins.instance().class_name_to_class[NAME]
        monkeypatch.setattr(launcher, "work", work)
        monkeypatch.setattr(launcher, "package", "hydra")
        return handed

    return install


def only_for_engines(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """The engines' packages are installed, or not; what else is imported meanwhile is found as ever."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: (name if there else None) if name in ("ray", "submitit") else find(name, *rest),
    )


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


GRID = ["train", "-m", *TINY, "seed=0,1,2"]


def test_runs_in_packs_end_as_runs_one_by_one_and_a_lost_job_stops_no_other(
    engine: Engine, lab: Lab, in_tmp: Path
) -> None:
    words = [*GRID, "runs_dir=packed", RAY, "hydra.launcher.runs_per_job=2"]
    handed = engine(lose=(0,))
    said = lab(*words)
    assert said.code == 1
    assert handed == [[0, 1], [2], [3, 4]], said  # what was lost is tried again, as long as anything comes forward
    assert "hydra/launcher=ray: 3 runs in 2 jobs" in said.out
    assert [line for line in said.out.splitlines() if "test elbo" in line]
    lost, again, rest = said.err.splitlines()
    assert again == lost
    assert lost.startswith("hydra/launcher=ray: lost: ")
    assert ": lost: seed=0; seed=1: the machine went" in lost
    assert lost.endswith("seed=1: the machine went")
    assert rest == "2 of 3 runs did not end; the same command goes on from here"
    assert len(results(in_tmp)) == 1

    handed = engine()
    said = lab(*words)
    assert (said.code, said.err, handed) == (0, "", [[0, 1]])  # what is done takes no place in the queue
    assert lab(*GRID, "runs_dir=basic").code == 0
    basic, packed = (results(in_tmp / name) for name in ("basic", "packed"))
    assert {n: r["metrics"] for n, r in packed.items()} == {n: r["metrics"] for n, r in basic.items()}
    assert len(packed) == 3
    assert not list(in_tmp.glob("packed/solo/.said-*"))


@pytest.mark.slow
def test_fail_fast_leaves_the_rest(engine: Engine, lab: Lab, faulty: list[str], in_tmp: Path) -> None:
    engine()
    said = lab("train", "-m", "experiment=small", *faulty[2:], "fail_fast=true", RAY, "hydra.launcher.runs_per_job=2")
    assert said.code == 1
    assert [result["status"] for result in results(in_tmp).values()] == ["failed"]
    assert "ZeroDivisionError: the prior" in said.err
    assert "2 of 3 runs did not end; the same command goes on from here" in said.err


def test_an_engine_that_breaks_is_one_line_and_a_traceback_where_that_is_asked_for(
    engine: Engine, lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self, packs, folder):  # type: ignore[no-untyped-def]
        raise MemoryError("no room\nfor a worker")

    engine()
    monkeypatch.setattr(Plugins.instance().class_name_to_class[NAME], "work", breaks)
    said = lab("train", "-m", *TINY, "seed=0,1", RAY)
    end = "2 of 2 runs did not end; the same command goes on from here\n"
    assert (said.code, said.err) == (1, f"vae-lab: stopped: MemoryError: no room for a worker\n{end}")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    said = lab("train", "-m", *TINY, "seed=0,1", RAY)
    assert said.code == 1
    assert ", in breaks\n" in said.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["hydra/launcher=rya"], "hydra/launcher=rya: no such option; allowed: basic, joblib, ray, submitit_slurm"),
        (
            [RAY, "hydra.launcher.runs_per_job=0"],
            "hydra.launcher.runs_per_job: 0 given; must be a whole number, at least 1",
        ),
        slow(
            [RAY, "+hydra.launcher.run_per_job=2"], "hydra.launcher.run_per_job: no such key; hydra.launcher has init"
        ),
        slow([RAY, "hydra.launcher.run_per_job=2"], "hydra.launcher.run_per_job: Hydra has no such key"),
        slow([SLURM, "hydra.launcher.timeout_min=1h"], "hydra.launcher.timeout_min: '1h' given"),
        ([SLURM], "hydra/launcher=submitit_slurm: no sbatch here; start it on a login node"),
    ],
)
def test_what_is_refused(words: list[str], line: str, lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_for_engines(monkeypatch, there=True)
    monkeypatch.setenv("PATH", str(in_tmp))
    said = lab("train", "-m", *TINY, "seed=0,1", *words)
    assert said.code == 2
    assert said.err.startswith(f"vae-lab: {line}")
    assert said.err.count("\n") == 1
    assert not list(in_tmp.glob("runs/**/config.yaml"))


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs the extra slurm")
def test_no_key_reaches_a_file_of_slurm_s_jobs(lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What submitit writes for a job, up to where sbatch takes it."""
    programs = in_tmp / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    for name in ("WANDB_API_KEY", "VAE_LAB_SOMETHING"):
        monkeypatch.setenv(name, "a-secret")
    assert lab("train", "-m", *TINY, "seed=0,1", SLURM).code == 2
    written = list(in_tmp.glob("runs/solo/.submitit/**/*.pkl"))
    assert len(written) == 2
    assert not [file for file in in_tmp.rglob("*") if file.is_file() and b"a-secret" in file.read_bytes()]


@pytest.mark.parametrize(("option", "extra"), [("ray", "ray"), slow("submitit_slurm", "slurm")])
def test_a_missing_extra_is_named(
    option: str, extra: str, lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_for_engines(monkeypatch, there=False)
    said = lab("train", "-m", *TINY, "seed=0,1", f"hydra/launcher={option}")
    assert said.code == 2
    assert said.err == f"vae-lab: hydra/launcher={option} needs the extra {extra}: pip install 'vae-lab[{extra}]'\n"
