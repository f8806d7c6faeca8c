"""Amounts that no machine holds are refused in one line before anything is allocated; nothing that could run is."""

from pathlib import Path

import pytest
import yaml
from small_runs import TINY, Lab

from vae_lab import capacity, compose
from vae_lab.errors import RequestError
from vae_lab.request import request

HUGE = 10**12
IMPOSSIBLE = [
    "threads=100000",
    "trainer.devices=100000",
    "-m seed=0,1 hydra/launcher=joblib hydra.launcher.n_jobs=100000",
    f"latent_dim={HUGE}",
    f"latent_dim={HUGE**2}",
    f"batch_size={HUGE}",
    "encoder=mlp encoder.hidden=[1000000000]",
    f"encoder=mlp encoder.hidden=[{HUGE},{HUGE}]",
    f"prior=mixture prior.components={HUGE}",
    f"bound=iwae bound.samples={HUGE}",
    f"dataset.train_size={HUGE}",
    f"evaluation.nll_samples={HUGE}",
    f"evaluation.elbo_samples={HUGE}",
    f"evaluation.aggregate_samples={HUGE}",
]


@pytest.mark.parametrize("words", IMPOSSIBLE)
def test_an_impossible_amount_is_refused_in_one_line(words: str, lab: Lab, in_tmp: Path) -> None:
    given = [word.partition("=")[0] for word in words.split()]
    said = lab("train", *words.split(), *(word for word in TINY if word.partition("=")[0] not in given))
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert not list(in_tmp.glob("runs/**/*.json"))


def test_the_memory_of_a_model_is_that_of_its_weights_and_gradients(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bytes a parameter: a linear encoder of 5 numbers to 2 x 300, a decoder back, the numbers counted by hand."""
    words = [word for word in TINY if not word.startswith(("latent_dim", "batch_size", "dataset.test"))]
    cfg = compose(*words, "latent_dim=300", "batch_size=1", "dataset.test_size=20")
    needed = 8 * ((5 * 600 + 600) + (300 * 5 + 5))
    monkeypatch.setattr(capacity, "_room", lambda settings: needed)
    request(cfg)
    monkeypatch.setattr(capacity, "_room", lambda settings: needed - 1)
    with pytest.raises(RequestError, match=r"the model has 5,105 parameters .* needs at least 40.8 kB of memory"):
        request(cfg)


def test_a_stored_config_starts_no_impossible_threads(lab: Lab, in_tmp: Path) -> None:
    assert lab("train", *TINY).code == 0
    (config,) = in_tmp.glob("runs/solo/*/config.yaml")
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"threads": 100_000}))
    for command in ("evaluate", "reconstruct"):
        said = lab(command, str(config.parent))
        assert (said.code, said.err.startswith("vae-lab: threads: 100000 given; must be at most ")) == (2, True)
