"""A study as a W&B sweep: the file, and W&B's own client that runs it to the end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import STUDY, Said, finish, results, start, write_study
from trackers.wandb_server import serving

KEY = "0" * 40  # of nobody


def wandb(folder: Path, address: str, *words: str) -> Said:
    """`wandb WORDS`, the real client."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "WANDB_BASE_URL": address,
        "WANDB_API_KEY": KEY,
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "wandb", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_wandb_sweep_and_agent_run_a_study_to_its_end(tmp_path: Path) -> None:
    write_study(tmp_path, "small", STUDY)
    said = finish(start(tmp_path, "sweep-yaml", "small", "arm=plain,annealed-0.5"))
    assert (said.code, said.err) == (0, "")
    file = said.out.split()[0]
    with serving() as (address, sweeps):
        made = wandb(tmp_path, address, "sweep", file)
        assert made.code == 0, made.err
        (path,) = re.findall(r"wandb agent (\S+)", made.err)
        ran = wandb(tmp_path, address, "agent", path)
        assert ran.code == 0, ran.err
    points = {(arm, seed) for arm in ("plain", "annealed-0.5") for seed in (0, 1)}
    assert {(point["arm"], point["seed"]) for point in sweeps.given} == points
    found = results(tmp_path)
    assert {(result["arm"], result["seed"]) for result in found.values()} == points
    assert {result["status"] for result in found.values()} == {"completed"}
    planned = json.loads((tmp_path / "runs" / "small" / "plan.json").read_text())["cells"]
    assert {cell["signature"] for cell in planned} == set(found)
    tracked = list(tmp_path.glob("runs/small/*/wandb/offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in tracked} == {f"run{n + 1}" for n in range(len(points))}
    assert finish(start(tmp_path, "report", "runs/small")).code == 0
