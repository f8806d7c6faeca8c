"""A study is killed at random moments, the command that runs it and its workers alike, and ends as if it had not been."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_runs import STUDY, Lab, check_alone, finish, results, start, updates, write_study

STEPS, EVERY, ARMS = 150, 25, 3
WORDS = [
    "study",
    "small",
    f"trainer.max_steps={STEPS}",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=60",
    f"callbacks.checkpoint.every_n_updates={EVERY}",
    "evaluation.figures=false",
]


def workers(process: subprocess.Popen[str]) -> list[int]:
    rows = subprocess.run(
        ["ps", "-ww", "-o", "pid=,cmd=", "--ppid", str(process.pid)], capture_output=True, text=True
    ).stdout
    return [int(row.split()[0]) for row in rows.splitlines() if "LokyProcess" in row]


def ended(folder: Path) -> dict[str, int]:
    """When each run wrote its result."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob("runs/*/*/result.json")}


def is_under_way(folder: Path) -> bool:
    """Whether a run is in the first half of its training, so that the death of its worker interrupts it."""
    runs = [run for run in folder.glob("runs/*/*") if not (run / "result.json").exists()]
    return any(0 < updates(run, ".ledger") < STEPS // 2 for run in runs)


def killed_again_and_again(folder: Path, words: list[str], runs: int, kills: int) -> dict[str, int]:
    """Runs the study to its end through so many kills; when each result was first seen."""
    process, seen, chance = start(folder, *words), dict[str, int](), random.Random(kills)
    every = STEPS * runs // (kills + 2)  # so that all kills fall within the study
    for number in range(kills):
        deadline, due = time.monotonic() + 600, updates(folder) + chance.randint(1, every)
        while updates(folder) < due or (number == 0 and not is_under_way(folder)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            seen = ended(folder) | seen
            time.sleep(0.005)
        victims = workers(process)
        if number == 0:  # one of them is at the run under way; the launch goes on without them
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
        elif not victims or chance.random() < 0.3:
            process.kill()
            process.communicate()
            check_alone(process)
            process = start(folder, *words)
        else:
            os.kill(chance.choice(victims), signal.SIGKILL)
    said = finish(process)
    assert said.code == 0, said
    return ended(folder) | seen


@pytest.mark.parametrize(("kills", "seeds"), [(2, 2), pytest.param(40, 8, marks=pytest.mark.slow)])
def test_every_run_ends_once_with_the_numbers_of_a_study_that_was_left_alone(
    kills: int, seeds: int, lab: Lab, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = [*WORDS, f"seed={','.join(map(str, range(seeds)))}"]
    seen = killed_again_and_again(small, words, ARMS * seeds, kills)
    assert ended(small) == seen  # nothing ran again after it had completed
    killed = results(small)
    assert len(killed) == ARMS * seeds
    for result in killed.values():
        timing = result["timing"]
        assert result["status"] == "completed"
        assert STEPS <= timing["steps_run"] <= STEPS + EVERY * (timing["attempts"] - 1)
    assert any(result["timing"]["attempts"] > 1 for result in killed.values())

    other = tmp_path_factory.mktemp("uncut")
    os.chdir(other)
    write_study(other, "small", STUDY)
    assert lab(*words, "hydra/launcher=basic").code == 0
    uncut = results(other)
    assert {name: result["metrics"] for name, result in uncut.items()} == {
        name: result["metrics"] for name, result in killed.items()
    }
