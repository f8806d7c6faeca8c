"""A wrong request costs one clear line that names the key, what was given, what is allowed and the nearest valid name.

The text is an interface: it is compared word for word. Nothing is built, and nothing is written.
"""

import shlex
from pathlib import Path

import numpy as np
import pytest
from small_runs import TINY, Lab

from vae_lab.options import groups


def options(group: str) -> str:
    return ", ".join(sorted(groups()[group]))


GROUPS = ", ".join(sorted(set(groups()) - {"experiment", "arm"}))
NO_KEY = f"no such key or group; groups: {GROUPS}"
BINARY_ONLY = (
    "likelihood=bernoulli cannot be used here: a Bernoulli likelihood is a probability of binary values only "
    "(choose dataset.binarization=dynamic, static or threshold, or likelihood=gaussian)"
)
NO_RATE = "a bound on importance weights has no separate rate to weight or floor; the result would be no bound"
ONE_PROCESS = "a run is one process on one device, and the runs of a study go side by side"

NAMES = [
    ("piror=vamp", f"piror: {NO_KEY} (did you mean 'prior'?)"),
    ("+piror=vamp", f"piror: {NO_KEY} (did you mean 'prior'?)"),
    ("sed=1", f"sed: {NO_KEY} (did you mean 'seed'?)"),
    ("+sed=1", f"sed: {NO_KEY} (did you mean 'seed'?)"),
    ("++sed=1", f"sed: {NO_KEY} (did you mean 'seed'?)"),
    ("~sed", f"sed: {NO_KEY} (did you mean 'seed'?)"),
    ("prior=mixtur", f"prior=mixtur: no such option; allowed: {options('prior')} (did you mean 'mixture'?)"),
    ("+prior=mixtur", f"prior=mixtur: no such option; allowed: {options('prior')} (did you mean 'mixture'?)"),
    ("+prior=mixture", "prior: choose an option without a plus sign, as in prior=OPTION"),
    ("++prior=mixture", "prior: choose an option without a plus sign, as in prior=OPTION"),
    ("prior=", f"prior=: no such option; allowed: {options('prior')}"),
    ("prior=3", "prior=3: a group takes the name of an option"),
    ("~prior", f"prior: choose one of {options('prior')}"),
    ("mitigation=free_bit", f"mitigation=free_bit: no such option; allowed: {options('mitigation')} (did you mean 'free_bits'?)"),
    ("hydra/launcher=jobli", "hydra/launcher=jobli: no such option; allowed: basic, joblib (did you mean 'joblib'?)"),
    ("hydra.launcher.x=3", "hydra.launcher.x: Hydra has no such key; vae-lab train --cfg hydra shows those it has"),
    ("arm=vanilla", "arm: an arm belongs to a study; add experiment=NAME"),
    ("optimizer.lrr=1", "optimizer.lrr: no such key; optimizer has betas, eps, lr, momentum, weight_decay (did you mean 'lr'?)"),
    ("+optimizer.lrr=1", "optimizer.lrr: no such key; optimizer has betas, eps, lr, weight_decay (did you mean 'lr'?)"),
    ("++optimizer.lrr=1", "optimizer.lrr: no such key; optimizer has betas, eps, lr, weight_decay (did you mean 'lr'?)"),
    ("~rate.nats", "rate.nats: the chosen rate has no such key; it belongs to rate=capacity or free_bits or hinge"),
    ("rate.nats=0.1", "rate.nats: the chosen rate has no such key; it belongs to rate=capacity or free_bits or hinge"),
    ("+rate.nats=0.1", "rate.nats: the chosen rate has no such key; it belongs to rate=capacity or free_bits or hinge"),
    ("prior.components=3", "prior.components: the chosen prior has no such key; it belongs to prior=mixture"),
    ("dataset.root=/x", "dataset.root: the chosen dataset has no such key; it belongs to dataset=frey_faces or mnist"),
    ("+encoder.shape=[3]", "encoder.shape: no such key; encoder has activation, hidden"),
    ("+study.foo=3", "study.foo: no such key"),
    ("+callbacks.foo=3", "callbacks.foo: 3 given; must have a _target_"),
    ("+regularizer.mmd=3", "regularizer.mmd: 3 given; must have a _target_; it belongs to regularizer=mmd"),
    (
        "+trainer.limit_val_batchs=2",
        "trainer.limit_val_batchs: no such key; trainer has 25 keys (did you mean 'limit_val_batches'?)",
    ),
    ("+trainer.strategy=ddp", f"trainer.strategy: not to be set here: {ONE_PROCESS}"),
    ("+trainer.logger=false", "trainer.logger: not to be set here: use the group logger"),
    ("+trainer.limit_train_batches=2", "trainer.limit_train_batches: not to be set here: an epoch is one pass over the data; use trainer.max_steps"),
    ("seed", "seed: no override; write key=value, +key=value or ~key"),
    ("seed=1,2", "seed=1,2: several values make a grid, which needs -m (a list is written key=[1,2])"),
    (
        "--multirn",
        "unrecognized arguments: --multirn (did you mean '--multirun'?); vae-lab --help and vae-lab train --hydra-help list what there is",
    ),
    ("experiment=colapse_digits", "colapse_digits: no such study; there are collapse_digits, collapse_mitigations, linear_truth (did you mean 'collapse_digits'?)"),
]  # fmt: skip

VALUES = [
    ("seed=x", "seed: 'x' given; must be a valid integer"),
    ("seed=-1", "seed: -1 given; must be greater than or equal to 0"),
    ("seed=4294967296", "seed: 4294967296 given; must be less than or equal to 4294967295"),
    ("seed=true", "seed: True given; must be a valid integer"),
    ("~seed", "seed: None given; must be a valid integer"),
    ("optimizer.lr=-1", "optimizer.lr: -1 given; must be greater than 0"),
    ("optimizer.lr=abc", "optimizer.lr: 'abc' given; must be a valid number"),
    ("optimizer.lr=nan", "optimizer.lr: nan given; must be a finite number"),
    ("optimizer.betas=[0.9]", "optimizer.betas: [0.9] given; must have at least 2 entries"),
    ("optimizer.betas=[0.9,1.5]", "optimizer.betas.1: 1.5 given; must be less than 1"),
    ("latent_dim=0", "latent_dim: 0 given; must be greater than or equal to 1"),
    ("latent_dim=2.5", "latent_dim: 2.5 given; must be a valid integer"),
    ("threads=0", "threads: 0 given; must be greater than or equal to 1"),
    ("evaluation.nll_samples=0", "evaluation.nll_samples: 0 given; must be greater than or equal to 1"),
    ("evaluation.checkpoint=beste", "evaluation.checkpoint: 'beste' given; must be 'last' or 'best' (did you mean 'best'?)"),
    ("beta=linear beta.warmup=0", "beta.warmup: 0 given; as an int must be greater than or equal to 1, or as a float must be greater than 0"),
    ("beta=linear beta.warmup=2.5", "beta.warmup: 2.5 given; as a float must be less than or equal to 1"),
    ("beta=linear beta.warmup=abc", "beta.warmup: 'abc' given; as an int must be a valid integer, or as a float must be a valid number"),
    ("rate=free_bits rate.nats=-1", "rate.nats: -1 given; must be greater than or equal to 0"),
    ("rate=free_bits rate.granularity=dims", "rate.granularity: 'dims' given; must be 'dim', 'group' or 'total' (did you mean 'dim'?)"),
    ("encoder.hidden=[]", "encoder.hidden: [] given; must have at least 1 entry"),
    ("encoder.hidden=[0]", "encoder.hidden.0: 0 given; must be greater than or equal to 1"),
    ("encoder.hidden=32", "encoder.hidden: 32 given; must be a valid list"),
    ("trainer.max_steps=0", "trainer.max_steps: 0 given; must be greater than or equal to 1"),
    ("trainer.devices=2", "trainer.devices: 2 given; must be 1"),
    (
        "trainer.precision=nonsense",
        "trainer.precision: 'nonsense' given; must be '32-true', '64-true', '16-mixed', 'bf16-mixed', '16-true' or 'bf16-true'",
    ),
    ("+trainer.limit_val_batches=many", "trainer.limit_val_batches: 'many' given; as an int must be a valid integer, or as a float must be a valid number"),
    ("logger=wandb logger.mode=foo", "logger.mode: 'foo' given; must be 'offline', 'online' or 'disabled'"),
    ("study.name=a/b", r"study.name: 'a/b' given; must match pattern '^\w[\w.-]*$'"),
    ("study=foo", "study: 'foo' given; must be keys with values"),
    ("runs_dir=3", "runs_dir: 3 given; must be a valid string"),
    ("dataset=arrays", "dataset.path: a value is needed (set dataset.path=...)"),
    ("'runs_dir=${nosuch}'", "runs_dir: Interpolation key 'nosuch' not found"),
    ("init_from=nowhere", "init_from: nowhere is no run with a checkpoint"),
    (
        "trainer.val_check_interval=1000",
        "trainer.val_check_interval: 1000 given; an epoch has 9 batches; set trainer.check_val_every_n_epoch=null to count "
        "batches over the whole run",
    ),
    (
        "trainer.val_check_interval=0.5 trainer.check_val_every_n_epoch=null",
        "trainer.val_check_interval: 0.5 given; without epochs (trainer.check_val_every_n_epoch=null) it must count batches",
    ),
]  # fmt: skip

COMBINATIONS = [
    (
        "rate=free_bits prior=mixture",
        "rate=free_bits does not go with prior=mixture: granularity=dim floors the rates of single latents, but a mixture "
        "couples the latents, so that its rate does not split over dimensions",
    ),
    ("dataset.binarization=none", BINARY_ONLY),
    ("dataset=linear_gaussian", BINARY_ONLY),
    ("bound=iwae rate=free_bits", f"rate=free_bits does not go with bound=iwae: it floors the rate, but {NO_RATE}"),
    ("bound=iwae beta=linear", f"beta=linear does not go with bound=iwae: it weights the rate, but {NO_RATE}"),
    ("bound=iwae beta.value=0.5", f"beta=constant does not go with bound=iwae: it weights the rate, but {NO_RATE}"),
    (
        "rate=free_bits trainer.accumulate_grad_batches=2",
        "rate=free_bits does not go with trainer.accumulate_grad_batches=2: reduction=batch floors the mean over the whole "
        "batch, but gradient accumulation shows the loss only a part of it at a time",
    ),
    (
        "dataset=linear_gaussian likelihood=gaussian encoder=conv",
        "encoder=conv cannot be used here: a convolution needs x of shape (channels, height, width)",
    ),
    (
        "dataset=linear_gaussian likelihood=gaussian decoder=pixelcnn",
        "decoder=pixelcnn cannot be used here: a PixelCNN needs x of shape (channels, height, width)",
    ),
    ("encoder=diagonal", "encoder=diagonal needs latent_dim=64 (the size of x), not 16"),
    ("decoder=diagonal", "decoder=diagonal needs latent_dim=64 (the size of x), not 16"),
    (
        "rate=free_bits rate.granularity=group rate.group_size=5",
        "rate.group_size: 5 given; must divide latent_dim = 16",
    ),
]

ALLOWED = [
    "rate=free_bits prior=mixture rate.granularity=total",
    "rate=free_bits rate.reduction=example trainer.accumulate_grad_batches=2",
    "bound=iwae",
    "decoder=pixelcnn dataset.binarization=none likelihood=gaussian",
    "dataset=linear_gaussian likelihood=gaussian encoder=diagonal decoder=diagonal latent_dim=5",
    "+trainer.limit_val_batches=2",
    "trainer.devices=[0]",
    "optimizer.lr=1",
    "beta=linear beta.warmup=1",
    "beta=linear beta.warmup=1.0",
    "++seed=3",
]


@pytest.fixture(autouse=True)
def _nothing_is_written(in_tmp: Path) -> None:
    """Every request is made from an empty folder."""


def check_refused(lab: Lab, words: list[str], text: str, command: str = "check") -> None:
    said = lab(command, *words)
    assert said.err == f"vae-lab: {text}\n"
    assert (said.code, said.out) == (2, "")
    assert not Path("runs").exists()


@pytest.mark.parametrize(("request_", "text"), [*NAMES, *VALUES, *COMBINATIONS])
def test_a_wrong_request_costs_one_line(request_: str, text: str, lab: Lab) -> None:
    check_refused(lab, shlex.split(request_), text)


@pytest.mark.parametrize("request_", ALLOWED)
def test_what_makes_sense_is_let_through(request_: str, lab: Lab) -> None:
    said = lab("check", *shlex.split(request_))
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize(("request_", "text"), [NAMES[0], VALUES[0], COMBINATIONS[0]])
def test_train_and_check_refuse_alike(command: str, request_: str, text: str, lab: Lab) -> None:
    check_refused(lab, shlex.split(request_), text, command)


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ("seed=0,1 latent_dim=4,0", "latent_dim: 0 given; must be greater than or equal to 1"),
        ("prior=normal,mixtur", f"prior=mixtur: no such option; allowed: {options('prior')} (did you mean 'mixture'?)"),
        ("rate=identity,free_bits rate.nats=0.1", "rate.nats: rate=identity has no such key; it belongs to rate=capacity or free_bits or hinge"),
        ("rate=free_bits,identity +rate.nat=1", "rate.nat: no such key; rate has granularity, group_size, nats, reduction (did you mean 'nats'?)"),
    ],
)  # fmt: skip
def test_a_grid_whose_last_point_is_wrong_starts_nothing(grid: str, text: str, lab: Lab) -> None:
    check_refused(lab, ["-m", *TINY, *grid.split()], text, "train")


def test_a_refusal_has_a_traceback_only_when_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    said = lab("check", "latent_dim=0")
    assert said.code == 2
    assert said.err.startswith("Traceback")
    assert said.err.endswith("vae-lab: latent_dim: 0 given; must be greater than or equal to 1\n")


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros((20, 2, 2, 2, 2)), "x has shape (20, 2, 2, 2, 2): x is (n, d), (n, height, width) or"),
        (np.full((20, 4), np.nan), "x has nan in row 0 (of 20 such rows)"),
        (np.array([["a"] * 4] * 20), "x has dtype <U1: use bool, uint8"),
        (np.zeros((1, 4)), "each split needs an example"),
    ],
)
def test_a_bad_array_file_costs_one_line(x: np.ndarray, text: str, lab: Lab) -> None:
    np.save("x.npy", x)
    said = lab("check", "dataset=arrays", "dataset.path=x.npy", "likelihood=gaussian")
    assert said.code == 2
    assert text in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("words", ["dataset=arrays dataset.path=no.npy", "dataset=mnist dataset.root=no"])
def test_missing_data_cost_one_line_that_says_what_to_do(words: str, lab: Lab) -> None:
    said = lab("train", *words.split())
    assert said.code == 2
    assert " is missing: " in said.err
    assert "set dataset." in said.err
    assert said.err.count("\n") == 1
    assert not Path("runs").exists()


def test_truncated_mnist_costs_one_line(lab: Lab) -> None:
    Path("mnist").mkdir()
    Path("mnist/train-images-idx3-ubyte").write_bytes(bytes.fromhex("00000803 0000ea60 0000001c 0000001c") + bytes(99))
    said = lab("train", "dataset=mnist", "dataset.root=.")
    assert said.code == 2
    assert "mnist/train-images-idx3-ubyte is truncated: 115 bytes" in said.err
    assert said.err.count("\n") == 1


def test_a_missing_extra_costs_one_line_before_anything_is_trained(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    check_refused(lab, [*TINY, "logger=wandb"], "logger=wandb needs a package: pip install 'vae-lab[wandb]'", "train")
