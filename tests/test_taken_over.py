"""A run whose holder was taken for dead is its successor's: what the first does then is neither written nor lost."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from small_runs import TINY, Lab, results, start

from vae_lab.claim import claim

TAKING_OVER = """\
from pathlib import Path

from vae_lab.models.priors import StandardNormalPrior


class TakenOver(StandardNormalPrior):
    def forward(self):
        held = any(lease.exists() for lease in Path().glob("runs/solo/*/.lease"))
        for script in Path().glob("*.once") if held else ():
            exec(script.rename(script.with_suffix(".done")).read_text())
        return super().forward()
"""
TAKE = "next(Path().glob('runs/solo/*/.lease')).unlink()\n"
END = "shutil.copytree('ended', next(Path().glob('runs/solo/*')), dirs_exist_ok=True)\n"
LATER = """\
if not any(Path().glob('runs/solo/*/checkpoints/last.ckpt')):
    script.with_suffix('.done').rename(script)
else:
    """
WORDS = [
    *(word for word in TINY if not word.startswith("trainer.log_every")),
    "trainer.log_every_n_steps=1000",  # nothing is logged, which asks for the claim too
    "trainer.check_val_every_n_epoch=1000",
    "callbacks.checkpoint.every_n_updates=4",
    "prior=taken_over",
    "--config-dir=taken_over",
]


@pytest.fixture
def own(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a prior that runs each script `*.once` there once, when a model of a run that is
    held next asks for it."""
    (in_tmp / "taken_over" / "prior").mkdir(parents=True)
    (in_tmp / "taken_over" / "prior" / "taken_over.yaml").write_text("_target_: prior_taken_over.TakenOver\n")
    (in_tmp / "prior_taken_over.py").write_text(TAKING_OVER)
    monkeypatch.syspath_prepend(str(in_tmp))
    monkeypatch.delitem(sys.modules, "prior_taken_over", raising=False)
    return in_tmp


@pytest.fixture
def run(own: Path, lab: Lab) -> Path:
    """A finished run with that prior."""
    assert lab("train", *WORDS).code == 0
    return next(own.glob("runs/solo/*"))


def test_its_failure_is_not_written_over_the_result_of_its_successor(run: Path, lab: Lab, own: Path) -> None:
    shutil.copytree(run, "ended")
    for name in ("result.json", "checkpoints"):
        (run / name).rename(own / f"old-{name}")
    (own / "fails.once").write_text(f"import shutil\n{TAKE}{END}raise ZeroDivisionError('too late')\n")
    said = lab("train", *WORDS)
    assert (own / "fails.done").exists()
    assert (run / "result.json").read_bytes() == (own / "old-result.json").read_bytes()
    assert (said.code, said.err) == (0, "")
    assert "another process has taken it over" in said.out


def test_its_checkpoints_are_not_written_over_those_of_its_successor(run: Path, lab: Lab, own: Path) -> None:
    shutil.copytree(run, "ended")
    written = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns  # which copytree keeps
    for name in ("result.json", "checkpoints"):
        (run / name).rename(own / f"old-{name}")
    (own / "lost.once").write_text(f"import shutil\n{TAKE}{END}")
    said = lab("train", *WORDS)
    assert (own / "lost.done").exists()
    assert (said.code, said.err) == (0, "")
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == written


def test_a_rerun_forgets_the_run_once_and_not_again_when_it_comes_back(run: Path, lab: Lab, own: Path) -> None:
    before = results(own / "runs")[run.name]
    (own / "lost.once").write_text(LATER + TAKE)
    said = lab("train", *WORDS, "rerun=true")
    assert (own / "lost.done").exists()
    assert (said.code, said.err) == (0, "")
    assert "another process has taken it over" in said.out
    after = results(own / "runs")[run.name]
    assert after["metrics"] == before["metrics"]
    assert after["timing"]["attempts"] == 2  # the first run's is forgotten, and that which lost the claim is not
    assert after["timing"]["steps_run"] <= 12 + 4


def test_a_launch_with_rerun_forgets_its_runs_once_and_a_job_that_is_queued_again_goes_on(
    own: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine of packed jobs is this process, which queues a job again that is preempted, as SLURM does."""

    def work(self, packs, folder):  # type: ignore[no-untyped-def]
        for pack in packs:
            try:
                done = pack()
            except KeyboardInterrupt:
                done = pack()
            yield pack, done

    launcher = Plugins.instance().class_name_to_class["hydra_plugins.vae_lab_launchers.on_ray.RayLauncher"]
    monkeypatch.setattr(launcher, "work", work)
    monkeypatch.setattr(launcher, "package", "hydra")
    words = ["train", "-m", *WORDS, "seed=0,1", "rerun=true", "hydra/launcher=ray", "hydra.launcher.runs_per_job=2"]
    for _ in range(2):  # of which the second finds the results of the first
        (own / "preempted.once").write_text(LATER + "raise KeyboardInterrupt\n")
        said = lab(*words)
        (own / "preempted.done").unlink()
        assert (said.code, said.err) == (0, "")
        found = results(own / "runs").values()
        assert {result["status"] for result in found} == {"completed"}
        assert sorted(result["timing"]["attempts"] for result in found) == [1, 2]
        assert max(result["timing"]["steps_run"] for result in found) <= 12 + 4


def test_another_evaluation_is_not_written_over_the_result_of_its_successor(run: Path, lab: Lab, own: Path) -> None:
    """Nor is it lost: it is made again of what the successor has left."""
    result = json.loads((run / "result.json").read_text())
    result["timing"]["attempts"] = 7
    (own / "ended").mkdir()
    (own / "ended" / "result.json").write_text(json.dumps(result))
    (own / "lost.once").write_text(f"import shutil\n{TAKE}{END}")
    said = lab("evaluate", "--config-dir=taken_over", str(run), "evaluation.nll_samples=5")
    assert (said.code, said.err) == (0, "")
    after = results(own / "runs")[run.name]
    assert after["evaluation"]["settings"]["nll_samples"] == 5
    assert after["timing"]["attempts"] == 7
    assert "another process has taken it over" in said.out


def test_another_evaluation_begins_with_the_result_that_it_finds_once_it_holds_the_run(run: Path) -> None:
    file = run / "result.json"
    with claim(run):
        process = start(Path(), "evaluate", "--config-dir=taken_over", str(run), "evaluation.nll_samples=5")
        try:
            assert process.stdout is not None
            assert "another process holds" in process.stdout.readline()
            result = json.loads(file.read_text())
            result["timing"]["attempts"] = 7
            file.write_text(json.dumps(result))
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out
    assert json.loads(file.read_text())["timing"]["attempts"] == 7
