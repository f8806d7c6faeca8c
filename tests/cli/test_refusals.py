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
    ("prior=3", "prior=3: no such option; allowed: mixture, normal"),
    ("~prior", f"prior: choose one of {options('prior')}"),
    ("mitigation=free_bit", f"mitigation=free_bit: no such option; allowed: {options('mitigation')} (did you mean 'free_bits'?)"),
    ("hydra/launcher=jobli", "hydra/launcher=jobli: no such option; allowed: basic, joblib, ray, submitit_slurm (did you mean 'joblib'?)"),
    ("hydra.launcher.x=3", "hydra.launcher.x: Hydra has no such key; vae-lab train --cfg hydra shows those it has"),
    ("optimizer.lr=interval(1e-4)", "optimizer.lr=interval(1e-4): missing a required argument: 'end'; an interval has two ends, as in interval(1e-4,1e-2)"),
    ("arm=vanilla", "arm: an arm belongs to a study; add experiment=NAME"),
    ("optimizer.lrr=1", "optimizer.lrr: no such key; optimizer=adam has betas, eps, lr, weight_decay (did you mean 'lr'?)"),
    ("+optimizer.lrr=1", "optimizer.lrr: no such key; optimizer=adam has betas, eps, lr, weight_decay (did you mean 'lr'?)"),
    ("++optimizer.lrr=1", "optimizer.lrr: no such key; optimizer=adam has betas, eps, lr, weight_decay (did you mean 'lr'?)"),
    ("~rate.nats", "rate.nats: rate=identity has no such key; it belongs to rate=capacity or free_bits or hinge"),
    ("rate.nats=0.1", "rate.nats: rate=identity has no such key; it belongs to rate=capacity or free_bits or hinge"),
    ("+rate.nats=0.1", "rate.nats: rate=identity has no such key; it belongs to rate=capacity or free_bits or hinge"),
    ("prior.components=3", "prior.components: prior=normal has no such key; it belongs to prior=mixture"),
    ("dataset.root=/x", "dataset.root: dataset=digits has no such key; it belongs to dataset=frey_faces or mnist"),
    ("+encoder.shape=[3]", "encoder.shape: no such key; encoder=mlp has activation, hidden"),
    ("+study.foo=3", "study.foo: no such key"),
    ("+callbacks.foo=3", "callbacks.foo: 3 given; must have a _target_"),
    ("+regularizer.mmd=3", "regularizer.mmd: 3 given; must have a _target_; it belongs to regularizer=mmd"),
    (
        "+trainer.limit_val_batchs=2",
        "trainer.limit_val_batchs: no such key; trainer=cpu has 25 keys (did you mean 'limit_val_batches'?)",
    ),
    ("+trainer.strategy=ddp", "trainer.strategy: not to be set here: trainer.devices says how many processes share every batch of a run, on one machine"),
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
    ("seed=x", "seed: 'x' given; must be a whole number, at least 0, at most 4294967295"),
    ("seed=-1", "seed: -1 given; must be a whole number, at least 0, at most 4294967295"),
    ("seed=4294967296", "seed: 4294967296 given; must be a whole number, at least 0, at most 4294967295"),
    ("seed=true", "seed: True given; must be a whole number, at least 0, at most 4294967295"),
    ("~seed", "seed: None given; must be a whole number, at least 0, at most 4294967295"),
    ("optimized_metric=val/elb", "optimized_metric: 'val/elb' given; must be a figure of docs/metrics.md, or a list of them (did you mean 'val/elbo'?)"),
    ("optimized_metric=[val/nll,val/elb]", "optimized_metric: 'val/elb' given; must be a figure of docs/metrics.md, or a list of them (did you mean 'val/elbo'?)"),
    ("optimizer.lr=-1", "optimizer.lr: -1 given; must be a number, above 0"),
    ("optimizer.lr=abc", "optimizer.lr: 'abc' given; must be a number, above 0"),
    ("optimizer.lr=nan", "optimizer.lr: nan given; must be a number, above 0"),
    ("optimizer.betas=[0.9]", "optimizer.betas: [0.9] given; must be a list of 2, each a number, at least 0, below 1"),
    ("optimizer.betas=[0.9,1.5]", "optimizer.betas: [0.9, 1.5] given; must be a list of 2, each a number, at least 0, below 1"),
    ("latent_dim=0", "latent_dim: 0 given; must be a whole number, at least 1"),
    ("latent_dim=2.5", "latent_dim: 2.5 given; must be a whole number, at least 1"),
    ("threads=0", "threads: 0 given; must be a whole number, at least 1"),
    ("~encoder.hidden.0", "encoder.hidden.0: a list is set as a whole, as in encoder.hidden=[1,2]"),
    ("encoder.hidden.5=3", "encoder.hidden.5: a list is set as a whole, as in encoder.hidden=[1,2]"),
    ("encoder.hidden.x=3", "encoder.hidden.x: a list is set as a whole, as in encoder.hidden=[1,2]"),
    ("evaluation.nll_samples=0", "evaluation.nll_samples: 0 given; must be a whole number, at least 1, at most 10000000"),
    ("evaluation.checkpoint=beste", "evaluation.checkpoint: 'beste' given; must be one of last, best (did you mean 'best'?)"),
    ("beta=linear beta.warmup=0", "beta.warmup: 0 given; must be a whole number of updates, at least 1, or a fraction of the run, above 0, at most 1"),
    ("beta=linear beta.warmup=2.5", "beta.warmup: 2.5 given; must be a whole number of updates, at least 1, or a fraction of the run, above 0, at most 1"),
    ("beta=linear beta.warmup=abc", "beta.warmup: 'abc' given; must be a whole number of updates, at least 1, or a fraction of the run, above 0, at most 1"),
    ("rate=free_bits rate.nats=-1", "rate.nats: -1 given; must be a number, at least 0"),
    ("rate=free_bits rate.granularity=dims", "rate.granularity: 'dims' given; must be one of dim, group, total (did you mean 'dim'?)"),
    ("encoder.hidden=[]", "encoder.hidden: [] given; must be a list of at least 1, each a whole number, at least 1"),
    ("encoder.hidden=[0]", "encoder.hidden: [0] given; must be a list of at least 1, each a whole number, at least 1"),
    ("encoder.hidden=32", "encoder.hidden: 32 given; must be a list of at least 1, each a whole number, at least 1"),
    ("trainer.max_steps=0", "trainer.max_steps: 0 given; must be a whole number, at least 1, or null"),
    (
        "trainer.precision=nonsense",
        "trainer.precision: 'nonsense' given; must be one of 32-true, 64-true, 16-mixed, bf16-mixed, 16-true, bf16-true",
    ),
    ("+trainer.limit_val_batches=many", "trainer.limit_val_batches: 'many' given; must be a whole number or a number or null"),
    ("logger=wandb logger.mode=foo", "logger.mode: 'foo' given; must be one of offline, online, disabled"),
    ("study.name=a/b", r"study.name: 'a/b' given; must be text, of the form ^\w[\w.-]*$"),
    ("study=foo", "study: 'foo' given; must be keys with values"),
    ("runs_dir=3", "runs_dir: 3 given; must be text, not empty; as text it is typed 'runs_dir=\"3\"'"),
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

CHOICES = [
    ("mitigation=iwae mitigation=free_bits", "mitigation is there twice: mitigation=iwae and mitigation=free_bits"),
    ("seed=1 ++seed=2", "seed is there twice: seed=1 and ++seed=2"),
    ("mitigation=[free_bits,capacity]", "mitigation=[free_bits,capacity]: mitigation=free_bits and mitigation=capacity both set rate; choose one of them"),
    ("bound=[elbo,iwae]", "bound=[elbo,iwae]: bound takes one option, not a list"),
    ("regularizer=[mmd,dipp]", f"regularizer=dipp: no such option; allowed: {options('regularizer')} (did you mean 'dip'?)"),
    ("regularizer=[]", f"regularizer=[]: choose one of {options('regularizer')} (regularizer=none for no extra term)"),
    ("regularizer=[mmd,mmd]", "regularizer=[mmd,mmd]: mmd is there twice"),
    ("regularizer=[mmd,none]", "regularizer=[mmd,none]: none goes with no other option"),
    ("regularizer=null", f"regularizer=null: no such option; allowed: {options('regularizer')} (did you mean 'none'?)"),
    ("mitigation=null", f"mitigation=null: no such option; allowed: {options('mitigation')} (did you mean 'none'?)"),
    ("beta=0.5", f"beta=0.5: no such option; allowed: {options('beta')}; a value is written beta.value=0.5"),
    ("beta=1", f"beta=1: no such option; allowed: {options('beta')}; a value is written beta.value=1"),
    ("bound=IWAE", f"bound=IWAE: no such option; allowed: {options('bound')} (did you mean 'iwae'?)"),
    ("mitigation=lagging", f"mitigation=lagging: no such option; allowed: {options('mitigation')} (did you mean 'aggressive'?)"),
    ("mitigation=bn_vae", f"mitigation=bn_vae: no such option; allowed: {options('mitigation')} (did you mean 'batchnorm_mean'?)"),
    ("mitigation=sa_vae", f"mitigation=sa_vae: no such option; allowed: {options('mitigation')} (did you mean 'semi_amortized'?)"),
    ("mitigation=delta_vae", f"mitigation=delta_vae: no such option; allowed: {options('mitigation')} (did you mean 'delta'?)"),
    ("+seed=3", "seed: it is there already, and is set without a plus sign, as in seed=VALUE"),
]  # fmt: skip

KEYS = [
    ("beta=geco beta.target=5", "beta.target: no such key; beta=geco has distortion, highest, lowest, momentum, speed"),
    (
        "mitigation=free_bits rate.nat=1",
        "rate.nat: no such key; rate=free_bits (set by mitigation=free_bits) has granularity, group_size, nats, reduction (did you mean 'nats'?)",
    ),
    ("mitigation=[free_bits,geco] beta.start=0", "beta.start: beta=geco (set by mitigation=geco) has no such key; it belongs to beta=linear or pi"),
    ("bound=iwae bound.K=5", "bound.K: no such key; bound=iwae has samples"),
    ("corruption=gaussian_noise corruption.sigma=1", "corruption.sigma: no such key; corruption=gaussian_noise has sd"),
    ("mitigation=infovae regularizer.mmd.scal=3", "regularizer.mmd.scal: no such key; regularizer.mmd has alpha, kernel, scale, width (did you mean 'scale'?)"),
    ("mitigation=free_bits mitigation.nats=1", "mitigation.nats: a preset has no keys of its own (did you mean 'rate.nats'?)"),
    ("regularizer=mmd regularizer.mmd.kernel=IMQ", "regularizer.mmd.kernel: 'IMQ' given; must be one of rbf, imq (did you mean 'imq'?)"),
    ("nats=1", f"nats: {NO_KEY} (did you mean 'beta.nats' or 'parametrization.nats' or 'rate.nats'?)"),
    ("mitigation=free_bits nats=1", f"nats: {NO_KEY} (did you mean 'rate.nats'?)"),
    ("lr=0.1", f"lr: {NO_KEY} (did you mean 'optimizer.lr'?)"),
    ("max_step=30", f"max_step: {NO_KEY} (did you mean 'trainer.max_steps'?)"),
    (
        "mitigation=receptive_field decoder=mlp",
        "decoder.receptive_field (set by mitigation=receptive_field): decoder=mlp has no such key; it belongs to decoder=pixelcnn",
    ),
    (
        "mitigation=skip decoder=linear",
        "decoder.skip (set by mitigation=skip): decoder=linear has no such key; it belongs to decoder=conv or mlp or pixelcnn",
    ),
]  # fmt: skip

DISPLACED = [
    ("mitigation=geco beta=linear", "mitigation=geco sets beta=geco; beta=linear takes its place"),
    ("mitigation=infovae regularizer=dip", "mitigation=infovae sets regularizer=mmd; regularizer=dip takes its place"),
    (
        "mitigation=[batchnorm_mean,free_bits] rate=identity",
        "mitigation=free_bits sets rate=free_bits; rate=identity takes its place",
    ),
]

ALLOWED = [
    "mitigation=geco beta=geco",
    "mitigation=[free_bits,batchnorm_mean] rate.nats=0.1",
    "regularizer=[mmd,dip]",
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


@pytest.mark.parametrize(("request_", "text"), [*NAMES, *CHOICES, *KEYS, *VALUES, *COMBINATIONS])
def test_a_wrong_request_costs_one_line(request_: str, text: str, lab: Lab) -> None:
    check_refused(lab, shlex.split(request_), text)


@pytest.mark.parametrize("request_", ALLOWED)
def test_what_makes_sense_is_let_through(request_: str, lab: Lab) -> None:
    said = lab("check", *shlex.split(request_))
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize(("request_", "text"), DISPLACED)
def test_what_takes_the_place_of_a_part_of_a_preset_is_said(request_: str, text: str, lab: Lab) -> None:
    said = lab("check", *shlex.split(request_))
    assert said.code == 0
    assert f"warning: {text}\n" in said.err


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize(("request_", "text"), [NAMES[0], VALUES[0], COMBINATIONS[0]])
def test_train_and_check_refuse_alike(command: str, request_: str, text: str, lab: Lab) -> None:
    check_refused(lab, shlex.split(request_), text, command)


NO_HYDRA_KEY = "Hydra has no such key; vae-lab train --cfg hydra shows those it has"
HYDRAS_OWN = [
    ("hydra/launcher=joblib hydra.launcher.n_job=2", f"hydra.launcher.n_job: {NO_HYDRA_KEY} (did you mean 'hydra.launcher.n_jobs'?)"),
    ("hydra/launcher=ray hydra.launcher.runs_per_jobs=2", f"hydra.launcher.runs_per_jobs: {NO_HYDRA_KEY} (did you mean 'hydra.launcher.runs_per_job'?)"),
    ("hydra/launcher=ray hydra.launcher.init.adress=x", f"hydra.launcher.init.adress: {NO_HYDRA_KEY} (did you mean 'hydra.launcher.init.address'?)"),
    ("hydra.launcher.n_jobs=2", "hydra.launcher.n_jobs: hydra/launcher=basic has no such key; it belongs to hydra/launcher=joblib"),
    ("hydra/launcher=joblib hydra.launcher.n_jobs=two", "hydra.launcher.n_jobs: 'two' given; must be a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text"), HYDRAS_OWN)
def test_a_launcher_is_told_in_its_own_words(words: str, text: str, lab: Lab) -> None:
    check_refused(lab, ["-m", *TINY, "seed=0,1", *words.split()], text)


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ("seed=0,1 latent_dim=4,0", "seed=0 latent_dim=0: latent_dim: 0 given; must be a whole number, at least 1"),
        ("prior=normal,mixtur", f"prior=mixtur: no such option; allowed: {options('prior')} (did you mean 'mixture'?)"),
        ("rate=identity,free_bits rate.nats=0.1", "rate=identity: rate.nats: rate=identity has no such key; it belongs to rate=capacity or free_bits or hinge"),
        ("mitigation=none,free_bits rate.nats=0.1", "mitigation=none: rate.nats: rate=identity has no such key; it belongs to rate=capacity or free_bits or hinge"),
        ("rate=free_bits,identity +rate.nat=1", "rate=free_bits: rate.nat: no such key; rate=free_bits has granularity, group_size, nats, reduction (did you mean 'nats'?)"),
    ],
)  # fmt: skip
def test_a_grid_whose_last_point_is_wrong_starts_nothing(grid: str, text: str, lab: Lab) -> None:
    fixed = [word for word in TINY if not (word.startswith("latent_dim") and "latent_dim" in grid)]
    check_refused(lab, ["-m", *fixed, *grid.split()], text, "train")


def test_a_refusal_has_a_traceback_only_when_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    said = lab("check", "latent_dim=0")
    assert said.code == 2
    assert said.err.startswith("Traceback")
    assert said.err.endswith("vae-lab: latent_dim: 0 given; must be a whole number, at least 1\n")


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
