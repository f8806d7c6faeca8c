"""A launch that is refused leaves its study as it was: the plan, and the page with its verdict."""

import json
import shutil
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from small_runs import Lab

from vae_lab.errors import RequestError

RAY, SLURM, JOBLIB = "hydra/launcher=ray", "hydra/launcher=submitit_slurm", "hydra/launcher=joblib"
COUNT = "given; must be a whole number, at least 1"
WRONG = [
    ([JOBLIB, "hydra.launcher.n_jobs=0"], f"hydra.launcher.n_jobs: 0 {COUNT}, or below 0: -1 for all cores, -2 for all but one"),
    ([JOBLIB, "hydra.launcher.batch_size=0"], "hydra.launcher: joblib: batch_size must be 'auto' or a positive integer, got: 0"),
    ([RAY, "hydra.launcher.runs_per_job=0"], f"hydra.launcher.runs_per_job: 0 {COUNT}"),
    ([SLURM, "hydra.launcher.timeout_min=0"], f"hydra.launcher.timeout_min: 0 {COUNT}"),
]  # fmt: skip
WIDER = ["study", "small", "arm=plain", "seed=0,1"]


@pytest.fixture
def begun(small: Path) -> Path:
    """The folder of a study that was planned and reported."""
    folder = small / "runs" / "small"
    folder.mkdir(parents=True)
    for name in ("plan.json", ".launch.json", "report.html", "results.csv"):
        (folder / name).write_text(f"the {name} of before")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize(("words", "text"), WRONG)
def test_what_a_launcher_does_not_take_is_known_before_anything_is_written(
    words: list[str], text: str, lab: Lab, begun: Path
) -> None:
    before = contents(begun)
    said = lab(*WIDER, *words)
    assert (said.code, said.err) == (2, f"vae-lab: {text}\n")
    assert "runs, " not in said.out
    assert "live: " not in said.out
    assert contents(begun) == before


@pytest.mark.parametrize(
    "command",
    [
        [*WIDER, "--dry-run"],
        ["check", "-m", "experiment=small", "arm=plain", "seed=0,1"],
        ["check", "-m", "experiment=small", "arm=plain", "seed=0,1", "hydra/sweeper=optuna"],
        ["train", "-m", "experiment=small", "arm=plain", "seed=0,1"],
    ],
)
def test_every_command_that_knows_a_launcher_looks_at_it(command: list[str], lab: Lab, small: Path) -> None:
    words, text = WRONG[0]
    said = lab(*command, *words)
    assert (said.code, said.err) == (2, f"vae-lab: {text}\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize("before", [True, False])
def test_what_an_engine_refuses_only_when_it_is_asked_leaves_the_study_too(
    before: bool, lab: Lab, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(self, packs, folder):  # type: ignore[no-untyped-def]
        raise RequestError("nobody answers at that address")

    launcher = Plugins.instance().class_name_to_class["hydra_plugins.vae_lab_launchers.on_ray.RayLauncher"]
    monkeypatch.setattr(launcher, "work", work)
    monkeypatch.setattr(launcher, "package", "hydra")
    if not before:
        shutil.rmtree(begun)
    there = contents(begun) if before else {}
    said = lab(*WIDER, RAY)
    assert (said.code, said.err) == (2, "vae-lab: nobody answers at that address\n")
    assert contents(begun) == there


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["hydra/sweeper=optuna", "latent_dim=2,3"],
            "hydra/sweeper=optuna: a study runs every point of its grid; a search in its settings is "
            "vae-lab train -m experiment=small arm=plain seed=0,1 hydra/sweeper=optuna latent_dim=2,3 ...",
        ),
        (
            ["hydra.launcher.n_job=2"],
            "hydra.launcher.n_job: Hydra has no such key; vae-lab train --cfg hydra shows those it has "
            "(did you mean 'hydra.launcher.n_jobs'?)",
        ),
        (
            ["hydra.launcher.n_jobs=2", "hydra.launcher.n_jobs=3"],
            "hydra.launcher.n_jobs is there twice: hydra.launcher.n_jobs=2 and hydra.launcher.n_jobs=3",
        ),
    ],
)
def test_a_study_is_no_search_and_has_a_launcher_of_its_own(words: list[str], text: str, lab: Lab, begun: Path) -> None:
    before = contents(begun)
    said = lab(*WIDER, *words)
    assert said.code == 2
    assert said.err.removeprefix("vae-lab: ").endswith(f"{text}\n")
    assert contents(begun) == before


def test_a_dry_run_leaves_out_what_the_launch_would_leave_alone(lab: Lab, small: Path) -> None:
    signature = lab(*WIDER, "--dry-run").out.splitlines()[1].split()[0]
    run = small / "runs" / "small" / signature
    run.mkdir(parents=True)
    parts: dict[str, object] = {part: {} for part in ("metrics", "settings", "evaluation", "timing")}
    (run / "result.json").write_text(
        json.dumps({"signature": signature, "status": "failed", "error": "it broke", **parts})
    )
    said = lab(*WIDER, "hydra.launcher.n_jobs=2", "--dry-run")
    assert said.out.endswith("2 cells, 0 done, 1 failed before (--retry-failed tries again)\n")
    assert lab(*WIDER, "--dry-run", "--retry-failed").out.endswith("2 cells, 0 done\n")
