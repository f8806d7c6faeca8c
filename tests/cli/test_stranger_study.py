"""A `study.yaml` from a stranger sets parts of runs and nothing else: what Hydra would do at its word is refused in one
line, by every command that reads a study, before anything is built."""

from itertools import pairwise
from pathlib import Path

import pytest
from small_runs import STUDY, Lab, write_study

from vae_lab import study
from vae_lab.errors import RequestError

MARK = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: [executed]}}"
"""What Hydra, where it built this, would leave a file `executed` by."""

COMMANDS = [
    ["study", "small", "--dry-run"],
    ["study", "small"],
    ["sweep-yaml", "small"],
    ["train", "experiment=small", "arm=plain"],
    ["train", "-m", "experiment=small", "arm=plain", "seed=0"],
    ["check", "experiment=small", "arm=plain"],
    ["check", "--cfg", "hydra", "experiment=small", "arm=plain"],
]

BODY = "latent_dim: 2\n"
HOLES = {
    "a callback": (BODY, f"{BODY}hydra: {{callbacks: {{mine: {MARK}}}}}\n"),
    "a launcher": (BODY, f"{BODY}hydra: {{launcher: {MARK}}}\n"),
    "a sweeper": (BODY, f"{BODY}hydra: {{sweeper: {MARK}}}\n"),
    "a log handler": (BODY, f"{BODY}hydra: {{job_logging: {{version: 1, handlers: {{a: {{'()': pathlib.Path}}}}}}}}\n"),
    "a folder": (BODY, f"{BODY}hydra: {{run: {{dir: elsewhere}}}}\n"),
    "a folder of sweeps": (BODY, f"{BODY}hydra: {{sweep: {{dir: elsewhere}}}}\n"),
    "another working directory": (BODY, f"{BODY}hydra: {{job: {{chdir: true}}}}\n"),
    "a variable": (BODY, f"{BODY}hydra: {{job: {{env_set: {{VAE_LAB_TRUST: pathlib}}}}}}\n"),
    "a search path": (BODY, f"{BODY}hydra: {{searchpath: [file:///tmp]}}\n"),
    "lines of shell": (BODY, f"{BODY}hydra: {{launcher: {{setup: [touch executed]}}}}\n"),
    "a flag of sbatch": (BODY, f"{BODY}hydra: {{launcher: {{additional_parameters: {{wrap: touch executed}}}}}}\n"),
    "a line in a word of SLURM": (BODY, f'{BODY}hydra: {{launcher: {{partition: "a\\ntouch executed"}}}}\n'),
    "a cluster": (BODY, f"{BODY}hydra: {{launcher: {{init: {{address: 192.0.2.1}}}}}}\n"),
    "no mapping": (BODY, f"{BODY}hydra: 3\n"),
    "in an arm": ("mitigation: none", "mitigation: none, hydra.job.env_set.VAE_LAB_TRUST: pathlib"),
    "in an arm, nested": ("mitigation: none", "hydra: {run: {dir: elsewhere}}"),
    "in an arm, with a plus": ("mitigation: none", "+hydra.callbacks.mine._target_: pathlib.Path"),
    "in an arm's own defaults": ("mitigation: none", "defaults: [[override /hydra/job_logging: default]]"),
    "in what is crossed": ("{seed: [0, 1]}", "{hydra.run.dir: [elsewhere]}"),
    "in what is crossed, with pluses": ("{seed: [0, 1]}", "{++hydra.run.dir: [elsewhere]}"),
    "in a key that is two words": ("{seed: [0, 1]}", "{'hydra.run.dir=elsewhere seed': [0]}"),
    "an engine of another's": ("{seed: [0, 1]}", "{hydra/launcher: [mine]}"),
    "a sweeper in what is crossed": ("{seed: [0, 1]}", "{hydra/sweeper: [optuna]}"),
    "Hydra's logging": ("  - override /encoder", "  - override /hydra/job_logging: default\n  - override /encoder"),
    "Hydra's logging, relative": ("  - override /encoder", "  - override hydra/hydra_logging: default\n  - override /encoder"),
    "a callback by default": ("  - override /encoder", "  - /hydra/callbacks: mine\n  - override /encoder"),
    "an option put under hydra": ("  - override /encoder", "  - override /encoder@hydra.job: mlp\n  - override /encoder"),
    "a launcher by default": ("  - override /encoder", "  - override /hydra/launcher: mine\n  - override /encoder"),
    "a file of options": ("  - override /encoder", "  - ../elsewhere/encoder\n  - override /encoder"),
    "a package": ("  - override /encoder", "  - pkg://tests/encoder\n  - override /encoder"),
    "an option outside its group": ("override /encoder: linear", "override /encoder: ../hydra/x"),
    "defaults that are none": ("defaults:", "defaults: {}\nwas:"),
    "a variable's value": (BODY, f"{BODY}init_from: ${{oc.env:HOME}}\n"),
    "a variable's value in an arm": ("mitigation: none", "init_from: '${oc.env:HOME}'"),
    "a variable's value in what is crossed": ("{seed: [0, 1]}", "{init_from: ['${oc.env:HOME}']}"),
    "a variable's value in a default": ("override /encoder: linear", "override /encoder: ${oc.env:HOME}"),
    "a resolver by its name elsewhere": (BODY, f"{BODY}a: oc.env\ninit_from: '${{${{a}}:HOME}}'\n"),
    "a resolver in two parts": (BODY, f"{BODY}init_from: '$${{latent_dim}}{{oc.env:HOME}}'\n"),
    "a resolver in YAML's own escape": (BODY, f'{BODY}init_from: "\\x24{{oc.decode:1}}"\n'),
    "runs anywhere": (BODY, f"{BODY}runs_dir: /tmp\n"),
    "runs above": (BODY, f"{BODY}runs_dir: a/../../b\n"),
    "runs by a detour": (BODY, f"{BODY}runs_dir: '${{dataset.root}}'\n"),
    "a server for one tracker": ("mitigation: none", "logger: mlflow, logger.mlflow.tracking_uri: 'http://192.0.2.1'"),
    "a server": ("mitigation: none", "logger: mlflow, logger.tracking_uri: 'http://192.0.2.1'"),
}  # fmt: skip
TEN = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
BOMB = "\n".join(TEN + [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi")]) + "\n"
NO_STUDY = {
    "select on test": ("reference:", "select: test/elbo\n  reference:", "study.select: test/elbo given; an arm's strength is never chosen on test (did you mean 'val/elbo'?)"),
    "an arm twice": ("  plain:", "  plain: {beta.value: 2}\n  plain:", "line 18: the key 'plain' is there twice; the first would be lost"),
    "a setting twice": (BODY, f"{BODY}'latent_dim': 3\n", "line 8: the key 'latent_dim' is there twice; the first would be lost"),
    "an arm's own seed": ("mitigation: none", "mitigation: none, seed: 7", "arms.plain: seed: not to be set here: it is crossed over all arms (over), which would overrule it"),
    "controls that are no list": ("reference:", "controls: plain\n  reference:", "study.controls: 'plain' given; must be a list or null"),
    "a budget that is a number": ("reference:", "budget: 7\n  reference:", "study.budget: 7 given; must be keys with values or null"),
    "a figure without a metric": ("reference:", "published: [{arm: plain, value: 1}]\n  reference:", "study.published.0: it has no metric"),
    "a figure that is a text": ("reference:", "published: [{arm: plain, metric: test/nll, value: about 3}]\n  reference:", "study.published.0.value: 'about 3' given; must be a number or null"),
    "a prediction without a value": ("reference:", "predicted: [{arm: plain, metric: test/nll}]\n  reference:", "study.predicted.0: it has no value"),
    "a question that is none": ("question: Does it run?", "question: [1]", "study.question: [1] given; must be text or null"),
    "a number for a reference": ("reference: plain", "reference: 3", "study.reference: 3 given; must be text or null"),
    "aliases of aliases": (BODY, BODY + BOMB, "line 11: its aliases (*c) stand for more than 10000 values"),
    "a deep nest": (BODY, f"{BODY}a: {'[' * 99_999}{']' * 99_999}\n", "line 8: nested more than 100 levels deep"),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_what_a_study_must_not_set_is_refused_as_it_is_read(hole: str, in_tmp: Path) -> None:
    old, new = HOLES[hole]
    assert STUDY.count(old) == 1
    write_study(in_tmp, "small", STUDY.replace(old, new))
    with pytest.raises(RequestError, match=r"^experiments/small/study\.yaml: ") as refusal:
        study.read_study("small")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("hole", ["a callback", "in an arm's own defaults"])
def test_every_command_that_reads_a_study_refuses_alike(
    hole: str, command: list[str], lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(in_tmp, "small", STUDY.replace(*HOLES[hole]))
    said = lab(*command)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("vae-lab: experiments/small/study.yaml: ")
    assert [file.name for file in in_tmp.iterdir()] == ["experiments"]


@pytest.mark.parametrize("case", NO_STUDY)
def test_a_study_that_would_not_be_what_it_says(case: str, in_tmp: Path) -> None:
    old, new, line = NO_STUDY[case]
    write_study(in_tmp, "small", STUDY.replace(old, new, 1))
    with pytest.raises(RequestError) as refusal:
        study.read_study("small")
    assert str(refusal.value) == f"experiments/small/study.yaml: {line}"


def test_a_file_in_another_encoding(in_tmp: Path) -> None:
    write_study(in_tmp, "small", STUDY).write_bytes(STUDY.replace("Does", "Läuft").encode("latin-1"))
    with pytest.raises(RequestError, match=r"study\.yaml: line \d+: byte \d+ is not UTF-8; save the file as UTF-8$"):
        study.read_study("small")


def test_what_a_study_may_set(lab: Lab, in_tmp: Path) -> None:
    text = STUDY.replace(BODY, f"{BODY}runs_dir: runs/mine\nhydra: {{launcher: {{n_jobs: 1}}}}\n")
    text = text.replace("  - override /encoder", "  - override /hydra/launcher: joblib\n  - override /encoder")
    text = text.replace("batch_size: 50", "batch_size: ${dataset.val_size}")
    text = text.replace(
        "reference:", "published: [{arm: plain, metric: test/nll, value: 1.5, spread: null}]\n  reference:"
    )
    write_study(in_tmp, "small", text)
    said = lab("study", "small", "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert "\n6 cells, 0 done\n" in said.out
