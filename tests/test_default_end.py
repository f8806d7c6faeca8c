"""A run that is given no end has a sensible one, written out, and no run that has one is renamed."""

import re
from pathlib import Path

import pytest
from small_runs import UNENDING, Lab
from test_docs import ROOT

from vae_lab import compose
from vae_lab.build import updates_of, with_end
from vae_lab.data.spec import Spec
from vae_lab.request import Requests, request


def spec(train: int) -> Spec:
    return Spec((1,), "real", {"train": train, "val": 10, "test": 10}, None)


@pytest.mark.parametrize("train", [1, 90, 1257, 6000, 60_000])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_twenty_epochs_or_three_thousand_updates(train: int, accumulate: int) -> None:
    """The fewest epochs that have both, by counting."""
    trainer = {"max_epochs": None, "max_steps": None, "accumulate_grad_batches": accumulate}
    settings = {"batch_size": 100, "trainer": trainer}
    batches = max(1, train // 100)
    steps_of_an_epoch = len(range(0, batches, accumulate))
    epochs = next(n for n in range(20, 10_000) if n * steps_of_an_epoch >= 3000)
    assert updates_of(with_end(settings, spec(train)), spec(train)) == epochs * steps_of_an_epoch
    assert updates_of(settings, spec(train)) == 20 * steps_of_an_epoch  # of a stored run
    for given in ({"max_epochs": 2}, {"max_steps": 7}):
        ended = {**settings, "trainer": {**trainer, **given}}
        assert with_end(ended, spec(train)) == ended


def test_the_end_is_in_the_name_as_if_it_was_typed(in_tmp: Path) -> None:
    """4 updates an epoch, so 750 epochs; 400 updates an epoch are 20 epochs, whose names stay as they were."""
    checked = Requests()
    for seed in (0, 1):
        open_, typed = (
            checked(compose(*UNENDING, f"seed={seed}", *more)) for more in ((), ("trainer.max_epochs=750",))
        )
        assert open_.settings["trainer"]["max_epochs"] == 750
        assert open_.directory == typed.directory
    large = [word for word in UNENDING if not word.startswith("dataset.train_size")]
    asked = request(compose(*large, "dataset.train_size=20000"))
    assert asked.settings["trainer"]["max_epochs"] is None
    assert asked.directory.signature == "7ef3d6dd85"  # of 2c9623a


def test_the_first_command_of_the_readme_trains_to_an_end(lab: Lab, in_tmp: Path) -> None:
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("vae-lab train "))
    words = line.partition("#")[0].split()[2:]
    settings = request(compose(*words)).settings
    assert settings["trainer"]["max_epochs"] * 9 == 3006
    said = lab("train", *UNENDING, "trainer.max_epochs=3")
    assert re.match(r".*trains 12 updates \(3 epochs\)\n", said.out)
