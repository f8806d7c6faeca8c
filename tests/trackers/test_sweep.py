"""A study as a W&B sweep: the file, and W&B's own client that runs it to the end."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_runs import STUDY, Said, finish, results, start, write_study
from trackers.wandb_server import serving

from vae_lab import compose
from vae_lab.cli import main
from vae_lab.request import request
from vae_lab.training.wandb_run import records

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of W&B's own imports

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


def command(capfd: pytest.CaptureFixture[str], *words: str) -> Said:
    capfd.readouterr()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        main(["sweep-yaml", *words])
    signal.signal(signal.SIGTERM, before)
    return Said(end.value.code, *capfd.readouterr())  # type: ignore[arg-type]


def test_the_file_holds_the_studys_own_grid(in_tmp: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Filled in by W&B's own client, its points are the cells of the study."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    write_study(in_tmp, "small", STUDY)
    crossed = ["arm=plain,annealed-0.5", "dataset.rotate=true,false", "optimizer.betas=[0.9,0.999],[0.5,0.9]"]
    said = command(capfd, "small", *crossed, "optimizer.lr=0.01", "seed=3")
    file = Path("runs/small/sweep.yaml")
    assert said == (0, f"{file}  8 runs\nwandb sweep {file}\nwandb agent SWEEP_ID\n", "")
    sweep = yaml.safe_load(file.read_text())
    assert (sweep["method"], sweep["metric"]) == ("grid", {"name": "val/elbo", "goal": "maximize"})
    lists = {name: parameter["values"] for name, parameter in sweep["parameters"].items()}
    assert lists == {
        "arm": ["plain", "annealed-0.5"],
        "seed": [3],
        "dataset.rotate": [True, False],
        "optimizer.betas": ["[0.9,0.999]", "[0.5,0.9]"],
    }
    signatures = set()
    macro = sweep["command"].index("${args_no_hyphens}")
    assert sweep["command"][:macro] == ["${env}", "${program}", "train", "experiment=small", "optimizer.lr=0.01"]
    assert sweep["command"][macro + 1] == "logger=wandb"
    for values in itertools.product(*lists.values()):
        point = {name: {"value": value} for name, value in zip(lists, values, strict=True)}
        filled = create_sweep_command_args({"args": point})["args_no_hyphens"]
        words = [*sweep["command"][3:macro], *filled, *sweep["command"][macro + 1 :]]
        signatures.add(request(compose(*words)).directory.signature)
    planned = json.loads(Path("runs/small/plan.json").read_text())["cells"]
    assert {cell["signature"] for cell in planned} == signatures
    assert len(signatures) == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "sweep-yaml: which study? There are"),
        (["seed=1"], "sweep-yaml: which study? There are"),
        (["smal"], "smal: no such study; there are"),
        (["small", "-m"], "sweep-yaml: takes overrides and --config-dir, no other flag"),
        (["small", "logger=csv"], "sweep-yaml: logger=csv: not to be set here: an agent's job is one run"),
        (["small", "latent_dim=2,-3"], "latent_dim: -3 given; must be a whole number, at least 1"),
        (["small", "latent_din=2"], "latent_din: no such key or group"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: list[str], told: str, in_tmp: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_study(in_tmp, "small", STUDY)
    said = command(capfd, *words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert told in said.err
    assert not Path("runs").exists()


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
    for folder in tracked:
        (about,) = [record["run"] for record in records(next(folder.glob("*.wandb"))) if record["type"] == "run"]
        assert (about["sweep_id"], about["run_group"]) == ("sweep1", "small")
