"""A form read from source is the form of the imported class, and wrong values are answered from it: without torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vae_lab.annotations import Unreadable, read
from vae_lab.catalog import allowed
from vae_lab.forms import Form, imported, written
from vae_lab.options import _targets_in
from vae_lab.places import packaged

OURS = sorted(
    {
        target
        for file in packaged("conf").rglob("*.yaml")
        for target in _targets_in(file)
        if target.startswith("vae_lab.")
    }
)


def schema(form: Form) -> dict[str, tuple[str, bool]]:
    """What each argument may be, in words, and if it must be given."""
    return {name: (allowed(hint), default is ...) for name, (hint, default) in form.own.items()}


@pytest.mark.parametrize("target", OURS)
def test_the_source_says_what_the_class_takes(target: str) -> None:
    source, real = written("", target), imported("", target)
    assert schema(source) == schema(real)
    assert source.complete == (not real.further)


@pytest.mark.parametrize("target", ["torch.nn.Linear", "vae_lab.models.nothing.Here", "vae_lab.models.priors.Nothing"])
def test_what_is_not_ours_or_not_there_is_left_to_an_import(target: str) -> None:
    with pytest.raises(Unreadable):
        read(target)
    assert not written("", target).complete


WRONG: list[tuple[str, str]] = [
    ("check seed=-1", "seed: -1 given"),
    ("train latent_dim=0", "latent_dim: 0 given"),
    ("check optimizer.lr=abc", "optimizer.lr: 'abc' given"),
    ("check evaluation.checkpoint=beste", "evaluation.checkpoint: 'beste' given"),
    ("check rate=free_bits rate.granularity=dims", "rate.granularity: 'dims' given"),
    ("check decoder=pixelcnn decoder.layers=x", "decoder.layers: "),
    ("check dataset=arrays", "dataset.path: a value is needed"),
    ("check dataset=mnist dataset.binarization=no", "dataset.binarization: 'no' given"),
    ("check trainer.precision=nonsense", "trainer.precision: 'nonsense' given"),
    ("check logger=wandb logger.mode=foo", "logger.mode: 'foo' given"),
    ("check +encoder.nosuch=1", "encoder.nosuch: no such key"),
    ("check +prior._target_=os.system", "prior._target_"),
    ("check -m beta=linear beta.warmup=0.5,0", "beta.warmup: 0 given"),
    ("train -m hydra/sweeper=optuna latent_dim=-1,2", "latent_dim: -1 given"),
    ("study collapse_digits seed=-1", "seed: -1 given"),
    ("probe nowhere train_count=0", "probe.train_count: 0 given"),
    ("sample nowhere cuont=3", "sample.cuont: no such key"),
    ("evaluate nowhere evaluation.nll_samples=0", "evaluation.nll_samples: 0 given"),
    ("evaluate nowhere seed=1", "seed: evaluate takes evaluation.*"),
]
ALL = """
import contextlib, io, json, sys
from vae_lab.cli import main

said = []
for line in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(line.split())
        except SystemExit as end:
            said.append([end.code, err.getvalue(), sorted({"torch", "pytorch_lightning"} & set(sys.modules))])
print(json.dumps(said))
"""


def test_wrong_values_are_answered_without_torch(in_tmp: Path) -> None:
    lines = [line for line, _ in WRONG]
    done = subprocess.run([sys.executable, "-c", ALL, json.dumps(lines)], capture_output=True, text=True, check=True)
    answers: list[tuple[int, str, list[Any]]] = json.loads(done.stdout)
    for (line, text), (code, err, heavy) in zip(WRONG, answers, strict=True):
        assert (code, heavy) == (2, []), (line, err)
        assert text in err, (line, err)
        assert err.count("\n") == 1, (line, err)
