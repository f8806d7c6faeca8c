"""A `config.yaml` or a checkpoint from a stranger runs no code: it is refused in one line, and nothing is executed."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import TINY, Lab

from vae_lab import compose, load, train
from vae_lab.errors import RequestError

NOT_NAMED = "is not among the classes that the option files of"
TOUCH = "touch executed"


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a_run")
    train(compose(*TINY, f"runs_dir={folder}"), progress=False)
    return next(folder.glob("solo/*"))


@pytest.fixture
def run(a_run: Path, in_tmp: Path) -> Path:
    """A copy of a finished run, in an empty working directory."""
    return Path(shutil.copytree(a_run, in_tmp / "run"))


def change(run: Path, *path: str | int, value: Any) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    node = settings
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


def check_refused(run: Path, lab: Lab, text: str) -> None:
    said = lab("evaluate", str(run), "evaluation.nll_samples=2")
    assert (said.code, said.out) == (2, "")
    assert text in said.err
    assert said.err.count("\n") == 1
    with pytest.raises(RequestError) as refusal:
        load(run)
    assert text in str(refusal.value)
    assert not list(Path().glob("**/executed"))


def test_the_run_itself_is_loaded(run: Path) -> None:
    loaded = load(run)
    assert not loaded.model.training
    assert loaded.result["status"] == "completed"
    assert loaded.model.decode(torch.zeros(3, 2)).mean.shape == (3, 5)


BAD_TARGETS = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "subprocess.check_output",
    "torch.load",
    "vae_lab.run.os.system",
    "vae_lab.run.subprocess.check_output",
    "vae_lab.models.vae.torch.load",
    "vae_lab.models.encoders.math.prod",
    "vae_lab.run.shutil.rmtree",
    "hydra.utils.get_object",
    "vae_lab.training.loggers.wandb",  # ours, but no encoder
    "vae_lab.training.trainer.trainer",
]


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_a_target_that_no_option_file_names(target: str, run: Path, lab: Lab) -> None:
    change(run, "encoder", value={"_target_": target, "_args_": [TOUCH]})
    check_refused(run, lab, f"encoder._target_: {target} {NOT_NAMED} encoder name")


@pytest.mark.parametrize("group", ["encoder", "decoder", "posterior", "parametrization", "likelihood", "prior"])
def test_in_every_place_of_the_model(group: str, run: Path, lab: Lab) -> None:
    change(run, group, "_target_", value="os.system")
    check_refused(run, lab, f"{group}._target_: os.system {NOT_NAMED} {group} name")


@pytest.mark.parametrize("group", ["dataset", "bound", "logger", "callbacks", "evaluation"])
def test_and_wherever_else(group: str, run: Path, lab: Lab) -> None:
    change(run, group, "x", value={"_target_": "os.system", "command": TOUCH})
    check_refused(run, lab, f"{group}.x._target_: os.system {NOT_NAMED} {group} name")


EVIL = {"_target_": "os.system", "command": TOUCH}


@pytest.mark.parametrize(
    "hidden",
    [[EVIL], [[EVIL]], [[[{"deep": [EVIL]}]]], {"a": {"b": EVIL}}, {"_args_": [EVIL]}],
)
def test_a_target_hidden_in_lists(hidden: Any, run: Path, lab: Lab) -> None:
    change(run, "encoder", "hidden", value=hidden)
    check_refused(run, lab, f"os.system {NOT_NAMED} encoder name")


def test_a_target_hidden_in_the_tuples_that_yaml_can_make(run: Path, lab: Lab) -> None:
    text = (run / "config.yaml").read_text()
    evil = "encoder:\n  hidden: !!pairs [a: [{_target_: os.system, _args_: [touch executed]}]]\n"
    (run / "config.yaml").write_text(text.replace("encoder:\n", evil))
    check_refused(run, lab, "a tuple given; a setting is a word, a number, a list or keys with values")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_args_", [[3]]),
        ("_partial_", True),
        ("_recursive_", False),
        ("_convert_", "none"),
        ("_mode_", "x"),
        ("shape", [3]),
    ],
)
def test_a_good_target_takes_its_own_settings_only(key: str, value: Any, run: Path, lab: Lab) -> None:
    change(run, "encoder", key, value=value)
    check_refused(run, lab, f"encoder.{key}: no such key; encoder=linear has none")


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a ${x} b", "${oc.decode:'1'}"])
@pytest.mark.parametrize("quote", ["'{}'", '"{}"'])
def test_interpolations(text: str, quote: str, run: Path, lab: Lab) -> None:
    hidden = text if quote == "'{}'" else text.replace("$", "\\x24")  # YAML's own escape
    content = (run / "config.yaml").read_text()
    hidden = hidden.replace("'", "''") if quote == "'{}'" else hidden
    (run / "config.yaml").write_text(content.replace("runs_dir: ", f"init_from: {quote.format(hidden)}\nruns_dir: ", 1))
    check_refused(run, lab, "a stored config holds values only, no interpolation (${...})")


def test_settings_of_hydra_itself(run: Path, lab: Lab) -> None:
    change(run, "hydra", value={"job": {"env_set": {"VAE_LAB_TRUST": "os"}}})
    check_refused(run, lab, "hydra: a stored config holds a run's settings, and none of Hydra's own")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "seed: 0\n",
        "- a\n",
        "a: [",
        "encoder: 3\n",
        "\0",
        "&a [*a]\n",
        "x: &a {b: *a}\n",
        "x: !!python/object/apply:os.system [touch executed]\n",
    ],
)
def test_what_is_no_config_at_all(content: str, run: Path, lab: Lab) -> None:
    (run / "config.yaml").write_text(content)
    check_refused(run, lab, "config.yaml is damaged: ")


class Bomb:
    """Unpickling this runs a command."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, (TOUCH,)


@pytest.mark.parametrize("format_", ["zip", "pickle", "raw"])
def test_a_pickle_bomb_as_checkpoint(format_: str, run: Path, lab: Lab) -> None:
    path = run / "checkpoints" / "last.ckpt"
    if format_ == "raw":
        path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    else:
        torch.save({"state_dict": Bomb()}, path, _use_new_zipfile_serialization=format_ == "zip")
    check_refused(run, lab, "last.ckpt is ")


def test_a_bomb_in_the_way_of_a_resumed_run(lab: Lab, run: Path, in_tmp: Path) -> None:
    for name in ("runs/solo", "runs"):
        Path(name).mkdir(parents=True, exist_ok=True)
    place = Path("runs/solo") / yaml.safe_load((run / "result.json").read_text())["signature"]
    shutil.move(run, place)
    (place / "result.json").unlink()
    torch.save({"state_dict": Bomb()}, place / "checkpoints" / "last.ckpt")
    said = lab("train", *TINY)
    assert said.code == 0
    assert "last.ckpt is no checkpoint of plain tensors and dicts" in said.out
    assert "begins anew" in said.out
    assert not list(Path().glob("**/executed"))


def test_another_models_weights(run: Path, lab: Lab) -> None:
    change(run, "latent_dim", value=3)
    check_refused(run, lab, "last.ckpt does not fit the model of ")


def test_a_package_that_a_person_trusts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(run, "prior", "_target_", value="mine.Prior")
    monkeypatch.setenv("VAE_LAB_TRUST", "theirs,mine")
    with pytest.raises(RequestError, match=r"prior._target_: mine.Prior cannot be imported"):
        load(run)
    Path("mine.py").write_text("from vae_lab.models.priors import StandardNormalPrior as Prior\n")
    monkeypatch.syspath_prepend(str(Path().absolute()))
    assert load(run).model.prior().event_shape == (2,)
