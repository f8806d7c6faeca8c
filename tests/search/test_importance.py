"""The importance of a search's settings: right where it is planted, and said with its number of trials."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from small_searches import Search

from vae_lab.report import build
from vae_lab.search.importance import described, importance

SPACE = {"x": FloatDistribution(0, 1), "still": FloatDistribution(0, 1), "kind": CategoricalDistribution(("a", "b"))}


def study(direction: str, trials: int) -> optuna.Study:
    """A full grid of settings, of which the objective is x alone."""
    made = optuna.create_study(direction=direction)
    for i in range(trials):
        params = {"x": i / trials, "still": (i * 7 % trials) / trials, "kind": "ab"[i % 2]}
        made.add_trial(optuna.trial.create_trial(params=params, distributions=SPACE, value=params["x"]))
    return made


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_decides_has_the_greatest_share(direction: str) -> None:
    facts = importance(study(direction, 200), ["val/elbo"])
    shares = facts["shares"]["val/elbo"]
    assert facts["trials"] == 200
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert next(iter(shares)) == "x"
    assert shares["x"] > 0.8
    (line,) = described(facts)
    assert line.startswith("Importance of the settings for val/elbo (PED-ANOVA, 200 completed trials): x 0.")


def test_few_trials_are_said_and_one_setting_has_none() -> None:
    (line,) = described(importance(study("maximize", 20), ["val/elbo"]))
    assert "20 completed trials; fewer than 100 trials, so a hint and no more" in line
    alone = optuna.create_study()
    for i in range(30):
        alone.add_trial(optuna.trial.create_trial(params={"x": i / 30}, distributions={"x": SPACE["x"]}, value=i))
    assert importance(alone, ["val/elbo"]) == {} == importance(optuna.create_study(), ["val/elbo"])
    assert described({}) == []


def test_a_search_notes_it_and_its_report_says_it(search: Search, in_tmp: Path) -> None:
    said = search("latent_dim=1,2", "optimizer.lr=0.1,0.001", "hydra/sweeper/sampler=brute_force")
    assert (said.code, said.err) == (0, "")
    (line,) = (line for line in said.out.splitlines() if line.startswith("Importance"))
    assert "4 completed trials; fewer than 100" in line
    noted = json.loads((in_tmp / "runs" / "quest" / "search.json").read_text())
    assert set(noted["importance"]["shares"]["val/elbo"]) == {"latent_dim", "optimizer.lr"}
    assert f"{line}." in build(in_tmp / "runs" / "quest").notes
    other = search("latent_dim=1,3")
    assert other.code == 2
    assert other.err.endswith("give this one a name of its own (study.name=quest_2)\n")
