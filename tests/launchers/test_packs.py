"""What launchers do around their engine, on an engine that is this process: it takes every pack through a pickle."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pytest
from hydra.core.plugins import Plugins
from small_runs import TINY, Lab, results
from small_searches import command

from hydra_plugins.vae_lab_launchers._packs import Done, Ended, Pack, PackLauncher

RAY, SLURM = "hydra/launcher=ray", "hydra/launcher=submitit_slurm"
NAME = "hydra_plugins.vae_lab_launchers.on_ray.RayLauncher"

Engine = Callable[..., list[list[int]]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Makes this process the engine behind `hydra/launcher=ray`; it loses the packs of those positions, in each of so many
    launches. Returns the list of packs that it will have been handed, each a list of its runs' numbers."""

    def install(lose: tuple[int, ...] = (), launches: int = 9) -> list[list[int]]:
        left = iter(range(launches))
        handed: list[list[int]] = []

        def work(self, packs, folder):  # type: ignore[no-untyped-def]
            handed.extend(list(pack.runs) for pack in packs)
            lost = lose if next(left, None) is not None else ()
            for position, pack in enumerate(packs):
                done = "the machine went" if position in lost else cloudpickle.loads(cloudpickle.dumps(pack))()
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


def test_a_lost_trial_goes_back_into_the_queue(engine: Engine, lab: Lab, in_tmp: Path) -> None:
    """Up to the third time, when it is held for the cause."""
    pytest.importorskip("optuna")
    words = ["latent_dim=1,2", "hydra/sweeper/sampler=brute_force", "hydra.sweeper.n_jobs=2", RAY]
    handed = engine(lose=(0,), launches=1)
    said = lab(*command(*words))
    assert (said.code, handed) == (0, [[0], [1], [2]]), said
    assert "search quest: 2 completed of 2 trials" in said.out
    assert [line.rpartition(": ")[2] for line in said.err.splitlines()] == ["the machine went"]
    assert len(results(in_tmp)) == 2

    handed = engine(lose=(0,), launches=3)
    said = lab(*command(*words, "study.name=unlucky"))
    assert (said.code, handed) == (1, [[0], [1], [2], [3]]), said
    assert "] trial 3: failed: its job was lost 3 times  latent_dim=" in said.out
    assert "search unlucky: 1 completed, 1 failed of 2 trials" in said.out


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
        raise RuntimeError("no room\nfor a worker")

    engine()
    monkeypatch.setattr(Plugins.instance().class_name_to_class[NAME], "work", breaks)
    said = lab("train", "-m", *TINY, "seed=0,1", RAY)
    end = "2 of 2 runs did not end; the same command goes on from here\n"
    assert (said.code, said.err) == (1, f"vae-lab: stopped: RuntimeError: no room for a worker\n{end}")
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


class Listening(PackLauncher):
    """A launcher whose engine is a test's."""

    def __init__(self, events: Ended) -> None:
        self.name, self.events = "hydra/launcher=listening", events

    def work(self, packs: list[Pack], folder: Path) -> Ended:
        return self.events


def test_what_jobs_say_is_repeated_once_and_until_they_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (Pack({}, None, None, "", [], {}, tmp_path / name) for name in ("first", "second"))  # type: ignore[arg-type]
    heard = []

    def events() -> Ended:
        for pack, said in [(first, "β = 1\n\nβ".encode()[:-1]), (second, b"two\n")]:
            pack.said.write_bytes(said)
        yield None
        heard.append(capsys.readouterr().out)
        first.said.write_bytes("β = 1\n\nβ = 2\n".encode())
        yield first, Done({})
        heard.append(capsys.readouterr().out)
        first.said.write_text("nobody listens any more\n" * 9)
        yield second, Done({})
        heard.append(capsys.readouterr().out)

    Listening(events())._gather([first, second], tmp_path, {})
    assert heard == ["β = 1\n\ntwo\n", "β = 2\n", ""]


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
