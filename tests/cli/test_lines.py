"""A line of a run says what differs; a run is named by its signature, as far as that is unique, wherever one is wanted."""

import itertools
import shutil
from pathlib import Path

import pytest
from small_runs import TINY, Lab, results

from vae_lab import load
from vae_lab.errors import RequestError
from vae_lab.lookup import find_run
from vae_lab.store import STATES, RunDirectory, state_now

WORDS = [word for word in TINY if not word.startswith("latent_dim")]
GRID = {"beta.end": ("1.0", "0.5"), "latent_dim": ("2", "3")}


@pytest.fixture
def grid(lab: Lab, in_tmp: Path) -> list[str]:
    """What a grid of four runs has printed."""
    said = lab("train", "-m", *WORDS, "beta=linear", *(f"{key}={','.join(values)}" for key, values in GRID.items()))
    assert said.code == 0
    return said.out.splitlines()


def test_a_line_of_a_grid_and_a_line_of_ls_say_what_differs(grid: list[str], lab: Lab) -> None:
    points = {tuple(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())}
    assert {line.partition("  ")[0] for line in grid} == {
        " ".join(f"{key}={value}" for key, value in point) + " seed=0" for point in points
    }
    titles, *rows = (line.split() for line in lab("ls").out.splitlines())
    assert set(titles) == {"signature", "state", "elbo", "nll", "rate", "active", "latent_dim", "end"}
    shown = {tuple(row[titles.index(title)] for title in ("end", "latent_dim")) for row in rows}
    assert shown == set(itertools.product(*GRID.values()))
    chosen = lab("ls", "end=0.5", "latent_dim=2").out.splitlines()
    assert len(chosen) == 2
    stored = results(Path("."))
    assert {tuple(run["settings"]["study"]) for run in stored.values()} == {("name", "arm", "signature")}
    assert not any("varying" in word for run in stored.values() for word in run["settings"]["overrides"])


def test_a_line_of_a_study_says_what_is_crossed_too(small: Path, lab: Lab) -> None:
    said = lab("study", "small", "seed=0", "latent_dim=2,3", "arm=plain", "hydra/launcher=basic")
    lines = [line.partition("] ")[2].partition("  ")[0] or line for line in said.out.splitlines()]
    assert {f"plain latent_dim={k} seed=0" for k in (2, 3)} <= {line.strip() for line in lines}, said.out


def test_signatures_are_runs(lab: Lab, in_tmp: Path) -> None:
    assert lab("train", *TINY).code == 0
    (name,) = results(in_tmp)
    path = Path("runs/solo") / name
    for word in (name, name[:4]):
        assert find_run(word) == path
        assert load(word).path == path
        assert lab("reconstruct", word).out.splitlines()[-1].startswith(str(path))
        assert lab("evaluate", word).out.splitlines()[-1] == str(path)
        assert lab("report", word).out.splitlines()[-1] == str(path / "results.csv")
    assert lab("check", *TINY, f"init_from={name[:6]}").out == lab("check", *TINY, f"init_from={path}").out
    Path("runs").rename("elsewhere")
    missing = f"{name} is no folder, and no run below runs has that signature"
    for command in ("reconstruct", "evaluate", "report"):
        assert lab(command, name).err == f"vae-lab: {missing}\n"
    assert lab("reconstruct", name, "runs_dir=elsewhere").code == 0
    shutil.copytree(Path("elsewhere"), "runs")
    shutil.copytree(path, Path("runs/other") / name)
    several = f"{name} is the signature of several runs; give the path of one: runs/other/{name}, runs/solo/{name}"
    assert lab("probe", name).err == f"vae-lab: {several}\n"
    with pytest.raises(RequestError, match="several runs"):
        find_run(name[:3])


def test_what_ls_compares_is_a_state_that_there_is(lab: Lab, in_tmp: Path) -> None:
    allowed = ", ".join(STATES)
    for word, text in {
        "state=done": f"state=done: done given; state is one of {allowed} (did you mean 'new'?)",
        "state!=complete": f"state!=complete: complete given; state is one of {allowed} (did you mean 'completed'?)",
        "evaluation.checkpoint=bst": "evaluation.checkpoint=bst: bst given; evaluation.checkpoint is one of last, best (did you mean 'best'?)",
        "encoder.activation=rlu": "encoder.activation=rlu: rlu given; encoder.activation is one of relu, tanh, elu, silu, gelu, softplus (did you mean 'relu'?)",
    }.items():
        said = lab("ls", word)
        assert (said.code, said.out, said.err) == (2, "", f"vae-lab: {text}\n")
    for word in (*(f"state={state}" for state in STATES), "state=null", "study=any", "encoder.activation=relu"):
        assert lab("ls", word)[:2] == (0, "no runs in runs\n")


def test_every_state_of_a_run_is_one_of_the_states(in_tmp: Path) -> None:
    recorded = RunDirectory(in_tmp).recorded().state
    assert {recorded, state_now(in_tmp, recorded)} <= set(STATES)
