"""A run whose holder was taken for dead is its successor's: what the first does then is neither written nor lost."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
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
WORDS = [
    *(word for word in TINY if not word.startswith("trainer.log_every")),
    "trainer.log_every_n_steps=1000",  # nothing is logged, which asks for the claim too
    "trainer.check_val_every_n_epoch=1000",
    "callbacks.checkpoint.every_n_updates=4",
    "prior=taken_over",
    "--config-dir=options",
]


@pytest.fixture
def own(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a prior that runs each script `*.once` there once, when a model of a run that is
    held next asks for it."""
    (in_tmp / "options" / "prior").mkdir(parents=True)
    (in_tmp / "options" / "prior" / "taken_over.yaml").write_text("_target_: prior_taken_over.TakenOver\n")
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


def test_another_evaluation_is_not_written_over_the_result_of_its_successor(run: Path, lab: Lab, own: Path) -> None:
    """Nor is it lost: it is made again of what the successor has left."""
    result = json.loads((run / "result.json").read_text())
    result["timing"]["attempts"] = 7
    (own / "ended").mkdir()
    (own / "ended" / "result.json").write_text(json.dumps(result))
    (own / "lost.once").write_text(f"import shutil\n{TAKE}{END}")
    said = lab("evaluate", "--config-dir=options", str(run), "evaluation.nll_samples=5")
    assert (said.code, said.err) == (0, "")
    after = results(own / "runs")[run.name]
    assert after["evaluation"]["settings"]["nll_samples"] == 5
    assert after["timing"]["attempts"] == 7
    assert "another process has taken it over" in said.out


def test_another_evaluation_begins_with_the_result_that_it_finds_once_it_holds_the_run(run: Path) -> None:
    file = run / "result.json"
    with claim(run):
        process = start(Path(), "evaluate", "--config-dir=options", str(run), "evaluation.nll_samples=5")
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
