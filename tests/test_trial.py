"""A part of somebody's own that answers wrongly is refused in one line, by `check` and by `train`, before anything is trained."""

import sys
from pathlib import Path

import pytest
from small_runs import Lab

CODE = """
import math

import pytorch_lightning as pl
import torch
from torch import nn
from torch.distributions import Independent, Normal

from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.objectives.beta import Schedule
from vae_lab.objectives.bounds import Bound
from vae_lab.objectives.rate import Transform
from vae_lab.training.inference import Amortized


class Encoder(nn.Module):
    more = 0

    def __init__(self, shape, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs + self.more))

    def forward(self, x):
        return self.net(x)


class OneMore(Encoder):
    more = 1


class NoModule:
    def __init__(self, shape, outputs: int) -> None:
        self.outputs = outputs

    def __call__(self, x):
        return x.flatten(1)[:, : self.outputs]


class Raises(Encoder):
    def forward(self, x):
        return self.net(x) @ torch.ones(7)


class Detached(Encoder):
    def forward(self, x):
        return self.net(x).detach()


class Guessed(nn.Module):
    def __init__(self, out_features: int) -> None:
        super().__init__()


class AsksForArity(nn.Module):
    def __init__(self, arity: int) -> None:
        super().__init__()


class Lazy(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))

    def forward(self, x):
        return self.net(x)


class Prior(nn.Module):
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.k = latent_dim

    def forward(self):
        return torch.zeros(self.k)


class PriorOfScalars(Prior):
    def forward(self):
        return Normal(torch.zeros(self.k), 1.0)


class Twice(Independent):
    def log_prob(self, value):
        return 2 * super().log_prob(value)


class PriorTwice(Prior):
    def forward(self):
        return Twice(Normal(torch.zeros(self.k), torch.ones(self.k)), 1)


class Squares(nn.Module):
    arity, outer = 1, Twice

    def __init__(self, shape) -> None:
        super().__init__()
        self.dims = len(shape)

    def forward(self, raw):
        return self.outer(Normal(raw.squeeze(-1), torch.ones_like(raw.squeeze(-1))), self.dims)


class NormalSquares(Squares):
    outer = Independent


class PerPixel(Squares):
    def forward(self, raw):
        return Normal(raw.squeeze(-1), 1.0)


class NoArity(nn.Module):
    def forward(self, raw):
        return raw


class Posterior(DiagonalPosterior):
    def reparametrize(self, q, noise):
        return super().reparametrize(q, noise)[0]


class NoSizes(nn.Module):
    def forward(self, raw, parametrization):
        return raw


class LocationAlone(nn.Module):
    def forward(self, loc, log_scale):
        return loc


class Decoder(nn.Module):
    def __init__(self, latent_dim: int, shape) -> None:
        super().__init__()
        self.shape, self.net = tuple(shape), nn.Linear(latent_dim, math.prod(shape))

    def forward(self, z, likelihood):
        return likelihood(self.net(z).unflatten(-1, self.shape))


class EachExample(Bound):
    samples = 1

    def forward(self, terms, weights, rate):
        return terms.distortion.mean(0) + terms.rate


class NoDraws(nn.Module):
    def forward(self, terms, weights, rate):
        return terms.distortion.mean()


class WithoutRate(Bound):
    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, terms, weights, rate):
        return terms.distortion.mean()


class Negative(Schedule):
    def forward(self, t):
        return -1.0


class Rates(Transform):
    def forward(self, terms, target):
        return terms.rate


class Extra(nn.Module):
    def forward(self, terms):
        return terms.rate


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)


class Raw(Amortized):
    def forward(self, model, x):
        return model.raw(x)


def nothing(params):
    return None


def three(optimizer):
    return 3


class NoCallback:
    pass


class NoLabels:
    pass
"""

WANTED = {
    "encoder=OneMore": "encoder=OneMore: wrong_parts.OneMore.forward gave float32 (3, 33); wanted a float tensor (3, 32)",
    "encoder=NoModule": "encoder: wrong_parts.NoModule gives a NoModule, no torch.nn.Module: derive it from torch.nn.Module",
    "encoder=Raises": "wrong_parts.Raises.forward raised RuntimeError: size mismatch, got input (3), mat (3x32), vec (7) (",
    "encoder=Detached": "wrong_parts.Detached.forward gave a tensor without a gradient",
    "encoder=Guessed": "encoder.out_features: a value is needed (set encoder.out_features=...); a constructor of encoder is "
    "handed shape, latent_dim, outputs, by these names",
    "encoder=AsksForArity": "encoder: wrong_parts.AsksForArity asks for arity, which is handed to decoder alone; ",
    "encoder=Lazy": "encoder: wrong_parts.Lazy has a layer LazyLinear (net.1.weight), whose size is unknown",
    "decoder=Decoder": "wrong_parts.Decoder.forward gave float32 (1, 3, 1, 8, 8); wanted for the likelihood a tensor",
    "prior=Prior": "wrong_parts.Prior.forward gave float32 (16,); wanted a torch distribution with batch shape () and event shape (16,)",
    "prior=PriorOfScalars": "gave Normal with batch shape (16,) and event shape (); wanted a torch distribution",
    "prior=PriorTwice": "prior=PriorTwice: wrong_parts.PriorTwice breaks a law of its kind (vae_lab.testing.check_prior): the density integrates to 0.07",
    "likelihood=Squares": "breaks a law of its kind (vae_lab.testing.check_likelihood): the density integrates to 0.28",
    "likelihood=PerPixel": "wrong_parts.PerPixel.forward gave Normal with batch shape (1, 3, 1, 8, 8) and event shape ()",
    "likelihood=NoArity": "likelihood: wrong_parts.NoArity has no `arity`",
    "posterior=Posterior": "wrong_parts.Posterior.reparametrize gave float32 (3, 16); wanted a float tensor (1, 3, 16)",
    "posterior=NoSizes": "wrong_parts.NoSizes has no `outputs`: derive it from vae_lab.models.posteriors.Posterior",
    "parametrization=LocationAlone": "wrong_parts.LocationAlone.forward gave float32 (3, 16); wanted location and log-scale",
    "bound=EachExample": "wrong_parts.EachExample.forward gave float32 (3,); wanted a float tensor (), a scalar, the loss",
    "bound=NoDraws": "wrong_parts.NoDraws has no `draws`: derive it from vae_lab.objectives.bounds.Bound",
    "beta=Negative": "wrong_parts.Negative.forward(0) gave -1.0; wanted a finite number, at least 0",
    "rate=Rates": "wrong_parts.Rates.forward gave float32 (3,); wanted a float tensor (), a scalar",
    "regularizer=Extra": "wrong_parts.Extra.forward gave float32 (3,); wanted a float tensor (), a scalar",
    "corruption=Flat": "wrong_parts.Flat.forward gave float32 (3, 64); wanted a tensor of the shape of x, (3, 1, 8, 8)",
    "inference=Raw": "wrong_parts.Raw.forward gave float32 (3, 32); wanted a torch distribution",
    "labels=NoLabels": "labels: wrong_parts.NoLabels has no `encoder`: derive it from vae_lab.models.labels.Ignored",
    "optimizer=nothing": "wrong_parts.nothing gave None; wanted a torch.optim.Optimizer",
    "scheduler=three": "wrong_parts.three gave 3; wanted a scheduler of torch.optim.lr_scheduler, or None",
    "callbacks=NoCallback": "wrong_parts.NoCallback gave a NoCallback; wanted a pytorch_lightning.Callback",
}
PARTLY = ("regularizer", "callbacks")


def write(folder: Path, name: str, code: str, *chosen: str) -> None:
    """A module, and options whose names are those of its classes."""
    (folder / f"{name}.py").write_text(code)
    for group, option in (words.split("=") for words in chosen):
        file = folder / "options" / group / f"{option}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        indent = f"{option}:\n  " if group in PARTLY else ""
        file.write_text(f"# Own\n{indent}_target_: {name}.{option}\n")


@pytest.fixture
def here(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(in_tmp))
    monkeypatch.delitem(sys.modules, "wrong_parts", raising=False)
    return in_tmp


@pytest.mark.parametrize("words", WANTED)
def test_a_wrong_part_costs_one_line(words: str, here: Path, lab: Lab) -> None:
    write(here, "wrong_parts", CODE, words)
    own = ["--config-dir=options", words, *(["dataset.binarization=none"] if words.startswith("likelihood") else [])]
    said = lab("check", *own)
    assert said.code == 2
    assert WANTED[words] in said.err
    assert said.err.count("\n") == 1
    assert said.err.startswith("vae-lab: ")
    assert lab("train", *own) == said
    assert not (here / "runs").exists()


def test_the_place_of_an_error_is_that_of_the_person_s_own_line(here: Path, lab: Lab) -> None:
    write(here, "wrong_parts", CODE, "encoder=Raises")
    line = CODE.splitlines().index("        return self.net(x) @ torch.ones(7)") + 1
    assert f"({here}/wrong_parts.py:{line})" in lab("check", "--config-dir=options", "encoder=Raises").err


def test_what_is_right_passes_and_an_objective_that_breaks_a_law_is_a_warning(here: Path, lab: Lab) -> None:
    """A density of squares that has its normaliser, and a bound that leaves the rate out, as an autoencoder does."""
    write(here, "wrong_parts", CODE, "encoder=Encoder", "likelihood=NormalSquares", "bound=WithoutRate")
    right = ["--config-dir=options", "encoder=Encoder", "likelihood=NormalSquares", "dataset.binarization=none"]
    said = lab("check", *right)
    assert (said.code, said.err) == (0, "")
    said = lab("check", "--config-dir=options", "bound=WithoutRate")
    assert said.code == 0
    assert said.err.startswith("warning: bound=WithoutRate: wrong_parts.WithoutRate breaks a law of its kind")


BROKEN = {
    "broken_name": ("x = nnn.Linear\n", "NameError: name 'nnn' is not defined ({here}/broken_name.py:1)"),
    "broken_syntax": (
        "\ndef f(:\n",
        "SyntaxError: invalid syntax (broken_syntax.py, line 2) ({here}/broken_syntax.py:2)",
    ),
    "broken_import": ("import nosuchpackage\n", "No module named 'nosuchpackage' ({here}/broken_import.py:1)"),
    "broken_class": ("class Encoders: pass\n", "the module broken_class has no Encoder (did you mean 'Encoders'?)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_class_that_cannot_be_imported_is_answered_with_its_place(name: str, here: Path, lab: Lab) -> None:
    code, wanted = BROKEN[name]
    write(here, name, code, "encoder=Encoder")
    said = lab("check", "--config-dir=options", "encoder=Encoder")
    text = f"encoder._target_: {name}.Encoder cannot be imported: "
    assert said.code == 2
    assert said.err.startswith(f"vae-lab: {text}")
    assert wanted.format(here=here) in said.err
    assert said.err.count("\n") == 1


def test_a_module_of_the_working_directory_that_python_does_not_see(
    in_tmp: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    write(in_tmp, "unseen_parts", CODE, "encoder=Encoder")
    said = lab("check", "--config-dir=options", "encoder=Encoder")
    assert "Python finds no module unseen_parts; unseen_parts.py lies here" in said.err
    assert "PYTHONPATH=. vae-lab" in said.err
    assert said.err.count("\n") == 1


FILES = {
    "typo": (b"# x\n_target_: wrong_parts.Encoder\nwidths: [3\nother: 4\n", "line 4: "),
    "latin": (b"_target_: wrong_parts.Encoder\n# Caf\xe9\n", "line 2: byte 35 is not UTF-8; save the file as UTF-8"),
    "classless": (b"width: 3\n", "no _target_: an option of encoder names its class, as in _target_: module.Class"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_option_file_that_cannot_be_read_costs_one_line(name: str, here: Path, lab: Lab) -> None:
    content, wanted = FILES[name]
    write(here, "wrong_parts", CODE, f"encoder={name}")
    (here / "options" / "encoder" / f"{name}.yaml").write_bytes(content)
    for command in ("check", "train"):
        said = lab(command, "--config-dir=options", f"encoder={name}")
        assert said.code == 2
        assert wanted in said.err
        assert f"options/encoder/{name}.yaml" in said.err
        assert said.err.count("\n") == 1
    assert lab("check", "--config-dir=options", "encoder=linear").code == 0, "it is nobody else's trouble"


def test_options_shows_those_of_a_folder_of_one_s_own(here: Path, lab: Lab) -> None:
    write(here, "wrong_parts", CODE, "encoder=Encoder")
    said = lab("options", "encoder", "--config-dir=options")
    assert (said.code, said.err) == (0, "")
    assert "  Encoder: Own\n" in said.out
    assert "  Encoder: Own\n" not in lab("options", "encoder").out
    assert lab("options", "encodr", "--config-dir", "options").err.endswith("(did you mean 'encoder'?)\n")
