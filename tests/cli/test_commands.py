"""Each command does what the help says of it, and refuses the rest in one line."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_runs import TINY, Lab, finish, results, start

from vae_lab import compose, train

USAGE = "vae-lab: a laboratory for variational autoencoders\n"
MISTAKES = [
    (
        "trian",
        "trian: no such command; there are check, denoise, encode, evaluate, factors, interpolate, ls, map, options, probe, reconstruct, report, sample, score, semi_supervised, study, sweep-yaml, train, traverse (did you mean 'train'?)",
    ),
    ("study", "study: which one? There are collapse_digits, collapse_mitigations, linear_truth"),
    ("study nosuch", "nosuch: no such study; there are collapse_digits, collapse_mitigations, linear_truth"),
    (
        "study colapse_digits",
        "colapse_digits: no such study; there are collapse_digits, collapse_mitigations, linear_truth (did you mean 'collapse_digits'?)",
    ),
    (
        "study collapse_digits --cfg job",
        "study: takes overrides, --config-dir, --dry-run and --retry-failed, no other flag",
    ),
    ("report", "report: which folder? vae-lab report runs/STUDY"),
    ("report /nowhere", "report: /nowhere is no folder of runs"),
    ("report .", ".: no runs in it"),
    ("ls /nowhere", "ls: /nowhere is no folder of runs"),
    ("ls a b", "ls: one folder at a time, not 2"),
    ("evaluate", "evaluate: which run? vae-lab evaluate RUN [evaluation.nll_samples=5000]"),
    ("evaluate /nowhere", "/nowhere: no such folder; a run is runs/STUDY/NAME, and `vae-lab ls` lists them"),
    ("evaluate . seed", "seed: no override; write key=value, +key=value or ~key"),
    ("evaluate . seed=1,2", "seed=1,2: one value is needed here, as in key=value"),
    ("train --cfg job prior=vamp", "prior=vamp: no such option; allowed: mixture, normal"),
    (
        "train -m --cfg job",
        "Only one of --run, --multirun, --cfg, --info and --shell_completion can be specified",
    ),
]


@pytest.mark.parametrize(("line", "text"), MISTAKES)
def test_a_mistaken_command_costs_one_line(line: str, text: str, lab: Lab, in_tmp: Path) -> None:
    said = lab(*line.split())
    assert (said.code, said.err, said.out) == (2, f"vae-lab: {text}\n", "")


@pytest.mark.parametrize("line", ["", "help", "-h", "--help", "study --help", "ls -h", "check x=1 --help"])
def test_help(line: str, lab: Lab) -> None:
    said = lab(*line.split())
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(USAGE[:-1])


def test_help_waits_for_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "vae_lab", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(USAGE[:-1])
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "vae_lab.cli" in imported
    assert not {"torch", "hydra", "omegaconf", "numpy", "yaml", "pydantic", "pytorch_lightning"} & imported


def test_hydras_own_flags_pass_through(lab: Lab) -> None:
    said = lab("train", "--help")
    assert said.code == 0
    assert "free_bits" in said.out
    assert "latent_dim: 16" in said.out
    assert "== Flags ==" in lab("train", "--hydra-help").out
    assert yaml.safe_load(lab("train", "--cfg", "job", "seed=7").out)["seed"] == 7
    assert "_target_: vae_lab.models.priors.MixturePrior" in lab("check", "prior=mixture", "--cfg", "job").out
    assert lab("--version").out.startswith("vae-lab ")


def test_flags_may_stand_between_overrides(lab: Lab, in_tmp: Path) -> None:
    said = lab("check", "seed=1,2", "-m", "latent_dim=3")
    assert (said.code, said.out.splitlines()[-1]) == (0, "2 runs: no mistake found")


def test_ls_of_nothing(lab: Lab, in_tmp: Path) -> None:
    assert lab("ls")[:2] == (0, "no runs in runs\n")
    assert lab("ls", ".")[:2] == (0, "no runs in .\n")


def test_a_run_from_nothing_to_a_second_evaluation(lab: Lab, in_tmp: Path) -> None:
    said = lab("train", *TINY, "optimized_metric=test/elbo")
    assert (said.code, said.err) == (0, "")
    _, figures, path = said.out.splitlines()
    (name, first), run = *results(in_tmp).items(), Path(path)
    assert path == f"runs/solo/{name}"
    assert f"elbo {first['metrics']['test/elbo']:.2f}" in figures
    assert set(first) >= {"signature", "study", "arm", "seed", "status", "metrics", "settings", "environment", "timing"}
    assert "train" not in (run / "run.log").read_text().splitlines()[0]
    assert yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text()) == [*TINY, "optimized_metric=test/elbo"]

    ls = lab("ls").out.splitlines()
    assert ls[0].split() == ["signature", "state", "elbo", "nll", "rate", "active"]
    assert ls[1].split()[:2] == [name, "completed"]

    said = lab("evaluate", path, "evaluation.nll_samples=50")
    assert (said.code, said.err) == (0, "")
    second = results(in_tmp)[name]
    assert second["evaluation"]["hash"] != first["evaluation"]["hash"]
    assert second["metrics"]["test/nll"] != first["metrics"]["test/nll"]
    assert second["metrics"]["test/elbo"] == first["metrics"]["test/elbo"]
    assert second["timing"]["steps_run"] == first["timing"]["steps_run"] == 12

    lab("train", *TINY)
    again = results(in_tmp)[name]
    assert again["metrics"] == first["metrics"]
    assert again["timing"]["steps_run"] == 12


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a_run")
    train(compose(*TINY, f"runs_dir={folder}"), progress=False)
    return next(folder.glob("solo/*"))


@pytest.fixture
def finished(a_run: Path, in_tmp: Path) -> Path:
    """A copy of a finished run, where the same command would find it."""
    return Path(shutil.copytree(a_run, in_tmp / "runs" / "solo" / a_run.name))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("evaluation.nll_samples=0", "evaluation.nll_samples: 0 given; must be a whole number, at least 1"),
        ("evaluation.nll_sample=3", "evaluation.nll_sample: no such key; evaluation=default has"),
        ("seed=1", "seed: evaluate takes evaluation.*, dataset.root and dataset.path; to train otherwise, use train"),
        ("evaluation=3", "evaluation: evaluate takes evaluation.*"),
        ("dataset.root=/x", "dataset.root: dataset=linear_gaussian has no such key; it belongs to"),
        ("evaluation.checkpoint=best", "best.ckpt is not there"),
    ],
)
def test_evaluate_refuses_in_one_line_and_keeps_the_result(words: str, text: str, finished: Path, lab: Lab) -> None:
    (finished / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
    before = (finished / "result.json").read_bytes()
    said = lab("evaluate", str(finished), *words.split())
    assert said.code == 2
    assert text in said.err
    assert said.err.count("\n") == 1
    assert (finished / "result.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["result", "checkpoint", "config"])
def test_evaluate_says_what_is_damaged(damage: str, finished: Path, lab: Lab) -> None:
    file = {"result": "result.json", "checkpoint": "checkpoints/last.ckpt", "config": "config.yaml"}[damage]
    (finished / file).write_bytes((finished / file).read_bytes()[:-40] if damage != "config" else b"a: [")
    said = lab("evaluate", str(finished))
    assert said.code == 2
    assert f"{file} is damaged" in said.err
    assert said.err.count("\n") == 1


def test_evaluate_refuses_other_data(lab: Lab, in_tmp: Path) -> None:
    import numpy as np

    x = np.random.default_rng(0).random((60, 4))
    np.save("x.npy", x)
    words = [word for word in TINY if not word.startswith(("dataset", "batch_size"))]
    lab("train", *words, "dataset=arrays", "dataset.path=x.npy", "batch_size=10")
    (run,) = in_tmp.glob("runs/solo/*")
    np.save("moved.npy", x)
    assert lab("evaluate", str(run), "dataset.path=moved.npy").code == 0
    np.save("moved.npy", x / 2)
    said = lab("evaluate", str(run), "dataset.path=moved.npy")
    text = f"vae-lab: {run} was trained on other data: the content of its dataset has changed\n"
    assert (said.code, said.err) == (2, text)


@pytest.mark.parametrize(
    "content",
    ['{"signature": ', "[]", '{"signature": "a", "status": "completed", "metrics": {}, "settings": {}}', "\0\0"],
)
def test_a_damaged_result_is_said_and_made_again(content: str, finished: Path, lab: Lab, in_tmp: Path) -> None:
    before = results(in_tmp)[finished.name]
    (finished / "result.json").write_text(content)
    assert "damaged" in lab("ls").out
    said = lab("train", *TINY)
    assert said.code == 0
    assert "result.json is damaged" in said.out
    after = results(in_tmp)[finished.name]
    assert after["metrics"] == before["metrics"]
    assert after["timing"]["steps_run"] == 12


def test_a_damaged_checkpoint_is_said_and_trained_again_for_another_evaluation(
    finished: Path, lab: Lab, in_tmp: Path
) -> None:
    before = results(in_tmp)[finished.name]
    checkpoint = finished / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-99])
    said = lab("train", *TINY[:-1], "evaluation.nll_samples=5")
    assert said.code == 0
    assert "last.ckpt is damaged" in said.out
    assert "begins anew" in said.out
    after = results(in_tmp)[finished.name]
    assert after["metrics"]["test/elbo"] == before["metrics"]["test/elbo"]
    assert after["timing"]["steps_run"] == 24


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_runs_dir_that_is_a_file(flags: list[str], lab: Lab, in_tmp: Path) -> None:
    Path("taken").write_text("mine")
    said = lab("train", *flags, *TINY, "runs_dir=taken")
    assert (said.code, said.out) == (2, "")
    assert re.match(r"vae-lab: cannot (read or )?write taken/solo", said.err)
    assert said.err.endswith(": Not a directory\n")
    assert Path("taken").read_text() == "mine"


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error(finished: Path, in_tmp: Path) -> None:
    command = f"'{sys.executable}' -m vae_lab ls | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=in_tmp, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_failed_run_has_one_line_and_no_traceback(in_tmp: Path) -> None:
    said = finish(start(in_tmp, "train", *TINY, "optimizer.lr=1e38"))
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert line.startswith("vae-lab: ")
    assert " seed=0: Diverged: " in line
    assert line.endswith("/run.log)")
    (result,) = results(in_tmp).values()
    assert result["status"] == "failed"
    log = next(in_tmp.glob("runs/solo/*/run.log")).read_text()
    assert "Traceback" in log


def test_a_run_of_before_there_was_compile_is_evaluated_again(lab: Lab, in_tmp: Path) -> None:
    assert lab("train", *TINY).code == 0
    (run,) = Path("runs/solo").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["compile"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    said = lab("evaluate", str(run), "evaluation.nll_samples=5")
    assert (said.code, said.err) == (0, "")
