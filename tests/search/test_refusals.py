"""A mistake in a search is told in one line before the first run."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small_runs import TINY, Lab
from small_searches import Search, command

from hydra_plugins.hydra_vae_lab_grid import GridSweeper
from vae_lab.errors import RequestError
from vae_lab.places import packaged
from vae_lab.search.settings import checked, pruner_of, sampler_of
from vae_lab.search.space import split
from vae_lab.search.study import note, open_study, total

DIM = "latent_dim=1,2"
MISTAKES = [
    (["optimizer.lr=interval(-1,1)"], "optimizer.lr=-1.0: optimizer.lr: -1.0 given; must be a number, above 0"),
    (["optimizer.lr=tag(lg,interval(1e-3,1))"], "optimizer.lr=tag(lg,interval(1e-3,1)): lg: no such tag; allowed: log (did you mean 'log'?)"),
    ([], "hydra/sweeper=optuna: a search needs something to choose, as in latent_dim=4,8,16"),
    ([DIM, "hydra.sweeper.n_trial=3"], "hydra.sweeper.n_trial: Hydra has no such key; vae-lab train --cfg hydra shows those it has (did you mean 'hydra.sweeper.n_trials'?)"),
    ([DIM, "hydra.sweeper.n_trials=8", "hydra.sweeper.n_trials=9"], "hydra.sweeper.n_trials is there twice: hydra.sweeper.n_trials=8 and hydra.sweeper.n_trials=9"),
    ([DIM, "hydra.sweeper.sampler.n_startup_trial=3"], "hydra.sweeper.sampler.n_startup_trial: Hydra has no such key; vae-lab train --cfg hydra shows those it has (did you mean 'hydra.sweeper.sampler.n_startup_trials'?)"),
    (["prior=normal,mixtur"], "prior=mixtur: no such option; allowed: mixture, normal (did you mean 'mixture'?)"),
    ([DIM, "hydra/sweeper/sampler=tpee"], "hydra/sweeper/sampler=tpee: no such option; allowed: brute_force, gp, nsgaii, nsgaiii, random, tpe (did you mean 'tpe'?)"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text"), MISTAKES)
def test_a_mistaken_search_costs_one_line_and_no_run(words: list[str], text: str, search: Search, in_tmp: Path) -> None:
    said = search(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"vae-lab: {text}\n"
    assert not list(in_tmp.glob("runs/*/*/config.yaml"))


GRIDS = [
    (["hydra/sweeper=vae_lab_grid"], "hydra/sweeper=vae_lab_grid: no such option; allowed: basic, optuna"),
    (["hydra.sweeper.max_batch_size=4"], "hydra.sweeper.max_batch_size=4: the sweeper of a grid has no settings; how many runs go side by side is the launcher's, and a search is hydra/sweeper=optuna"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text"), GRIDS)
def test_a_grid_s_own_sweeper_is_no_person_s(words: list[str], text: str, search: Search, in_tmp: Path) -> None:
    """`check` says what the launch does."""
    for verb in ("check", "train"):
        said = search(line=[verb, "-m", *TINY, "seed=0,1", *words])
        assert (said.code, said.out, said.err) == (2, "", f"vae-lab: {text}\n")


def test_a_sweep_without_tasks_is_an_error(in_tmp: Path) -> None:
    with pytest.raises(RequestError, match="hydra/sweeper=vae_lab_grid: "):
        GridSweeper().sweep([])


DATABASES = (
    "must be a URL of sqlite, postgresql, mysql, as in sqlite:///trials.db, or null for a journal beside the runs"
)
SETTINGS = [
    (["hydra.sweeper.n_trials=0"], ["val/elbo"], "hydra.sweeper.n_trials: 0 given; must be "),
    (["hydra.sweeper.study_name=a/b"], ["val/elbo"], "hydra.sweeper.study_name: 'a/b' given; must "),
    (["+hydra.sweeper.sampler.multi=true"], ["val/elbo"], "hydra.sweeper.sampler.multi: no such key; TPESampler has"),
    (["hydra/sweeper/pruner=percentile", "hydra.sweeper.pruner.percentile=101"], ["val/elbo"], "hydra.sweeper.pruner: PercentilePruner: Percentile must be between 0 and 100"),
    (["hydra.sweeper.sampler._target_=os.system"], ["val/elbo"], "hydra.sweeper.sampler._target_: os.system given; allowed: optuna.samplers."),
    (["hydra.sweeper.storage=postgre://me:secret@x"], ["val/elbo"], f"hydra.sweeper.storage: postgre://... given; {DATABASES} (did you mean 'postgresql'?)"),
    (["hydra.sweeper.storage=trials.db"], ["val/elbo"], f"hydra.sweeper.storage: 'trials.db' given; {DATABASES}"),
    ([], ["test/elbo"], "optimized_metric: test/elbo given; a search chooses, and what chooses must not see test: use val/elbo, and read test of what was chosen"),
    ([], ["val/nll", "val/active_units"], "hydra.sweeper.direction: a value is needed: neither way is better for val/active_units by itself (maximize or minimize, one for each of optimized_metric)"),
    (["hydra.sweeper.direction=minimize"], ["val/nll", "val/elbo"], "hydra.sweeper.direction: 1 given; optimized_metric has 2: val/elbo, val/nll"),
    (["hydra/sweeper/pruner=median"], ["val/nll", "val/elbo"], "hydra/sweeper/pruner: MedianPruner given with 2 objectives; Optuna cuts trials of searches with one objective only: leave the pruner out"),
]  # fmt: skip


def node(*words: str) -> dict[str, Any]:
    """What Hydra hands to the sweeper."""
    with initialize_config_dir(str(packaged("conf")), version_base="1.3"):
        chosen = ["hydra/sweeper=optuna", "hydra.sweeper.study_name=quest", *words]
        found = OmegaConf.to_container(compose("config", chosen, return_hydra_config=True).hydra.sweeper)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items() if not str(key).startswith("_")}


@pytest.mark.parametrize(("words", "objectives", "text"), SETTINGS)
def test_a_mistaken_setting_is_told_in_one_line(words: list[str], objectives: list[str], text: str) -> None:
    with pytest.raises(RequestError) as error:
        checked(node(*words), objectives)
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)


def test_what_chooses_must_not_see_test(search: Search, in_tmp: Path) -> None:
    said = search(DIM, "optimized_metric=test/elbo")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert not list(in_tmp.glob("runs/*/*/config.yaml"))


def test_a_grid_of_trials_must_be_finite() -> None:
    settings, _ = checked(node("hydra/sweeper/sampler=brute_force"), ["val/elbo"])
    assert total(settings, split(["a=1,2,3", "b=range(0,4)"])[1]) == 12
    assert total(settings, split(["a=1,2,3", "b=range(0,9)"])[1]) == 20  # hydra.sweeper.n_trials
    with pytest.raises(
        RequestError, match=r"^a=interval\(0.1,1\): brute_force tries every point; an interval has too many"
    ):
        total(settings, split(["a=interval(0.1,1)"])[1])


def test_another_search_of_the_same_name_is_refused(search: Search, in_tmp: Path) -> None:
    assert search(DIM, "hydra.sweeper.n_trials=1").code == 0
    said = search(DIM, "seed=1")
    assert said.code == 2
    assert said.err.startswith("vae-lab: hydra.sweeper.study_name: quest is a search already, with ")
    assert said.err.endswith("; give this one a name of its own (study.name=quest_2)\n")
    settings, _ = checked(node(), ["val/elbo"])
    folder = in_tmp / "runs" / "quest"
    for identity, text in [
        ({"space": ["latent_dim=1,2,3"]}, "with latent_dim=1,2 for its space, not latent_dim=1,2,3"),
        ({"objectives": ["val/nll (minimize)"]}, "with val/elbo (maximize) for its objectives, not val/nll (minimize)"),
    ]:
        with pytest.raises(RequestError, match=re.escape(text)):
            open_study(settings, ["maximize"], folder, identity)


def test_a_search_keeps_its_trials_in_one_place(search: Search, in_tmp: Path) -> None:
    one = [DIM, "hydra.sweeper.n_trials=1"]
    assert search(*one, "hydra.sweeper.storage=sqlite:///p1.db").code == 0
    noted = json.loads((in_tmp / "runs/quest/search.json").read_text())
    words = noted.pop("command")
    assert words.startswith("vae-lab train -m hydra/sweeper=optuna ")
    assert words in (in_tmp / "runs/quest/report.html").read_text()
    assert noted.pop("importance") == {}  # of one trial nothing can be said
    assert noted == {"objectives": {"val/elbo": "max"}, "trials": 1, "storage": "sqlite:///p1.db"}
    said = search(*one)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        "vae-lab: hydra.sweeper.storage: search.journal asked for, and the search in runs/quest keeps"
    )
    assert "sqlite:///p1.db" in said.err
    assert said.err.count("\n") == 1
    assert search(line=["check", *command(*one)[1:]]) == said
    assert not (in_tmp / "runs/quest/search.journal").exists()


def test_no_storage_is_asked_for_in_words_too(search: Search, in_tmp: Path) -> None:
    said = search(DIM, "hydra.sweeper.n_trials=1", "hydra.sweeper.storage=null")
    assert (said.code, said.err) == (0, "")
    assert json.loads((in_tmp / "runs/quest/search.json").read_text())["storage"] == "search.journal"


def test_a_password_is_noted_nowhere(in_tmp: Path) -> None:
    url = "postgresql://me:secret@host/db?password=secret"
    settings, _ = checked(node(f"hydra.sweeper.storage='{url}'"), ["val/elbo"])
    note(settings, {"val/nll": "minimize"}, in_tmp, 3, "vae-lab train")
    text = (in_tmp / "search.json").read_text()
    assert "postgresql://me:***@host/db" in text
    assert "secret" not in text


def test_a_refused_search_leaves_no_folder(search: Search, in_tmp: Path) -> None:
    said = search("optimizer.lr=interval(0.1,1)", "hydra/sweeper/sampler=brute_force")
    assert said.code == 2
    assert "brute_force tries every point; an interval has too many" in said.err
    assert search(DIM, "hydra.sweeper.storage=nosuch://x").code == 2
    assert not (in_tmp / "runs").exists()


def test_a_search_has_no_study_s_folder(small: Path, lab: Lab) -> None:
    said = lab("train", "-m", "hydra/sweeper=optuna", "experiment=small", "arm=plain", DIM)
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "vae-lab: hydra.sweeper.study_name: small is a study, and runs/small its folder; give the search a name of its own "
        "(study.name=NAME)\n"
    )
    assert not (small / "runs").exists()


OPTIONS = sorted(packaged("conf").glob("hydra/sweeper/*/*.yaml"))


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_sampler_and_pruner_can_be_had_by_name(file: Path) -> None:
    bound = ["hydra.sweeper.pruner.lower=0"] if file.stem == "threshold" else []
    settings, directions = checked(node(f"hydra/sweeper/{file.parent.name}={file.stem}", *bound), ["val/elbo"])
    assert directions == ["maximize"]
    assert isinstance(sampler_of(settings, 1), optuna.samplers.BaseSampler)
    assert isinstance(pruner_of(settings), optuna.pruners.BasePruner)


def test_a_single_run_that_is_no_search_has_one_metric_or_several(search: Search) -> None:
    said = search(line=["check", *TINY, "optimized_metric=[val/elbo,val/ell]"])
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith("vae-lab: optimized_metric")
    assert search(line=["check", *TINY, "optimized_metric=[val/elbo,val/nll]"]).code == 0


def test_a_search_without_a_name_is_refused(lab: Lab, in_tmp: Path) -> None:
    said = lab("train", "-m", *TINY, "hydra/sweeper=optuna", "seed=1,2")
    assert said.code == 2
    assert said.err == "vae-lab: a search needs a name of its own: study.name=NAME (solo is where single runs are)\n"
    assert not (in_tmp / "runs" / "solo").exists()
