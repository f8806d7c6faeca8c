"""The point of a trial: a function of the seed, its place in the search, and the trials before it."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

MEMORY = "drawn"
"""The attribute of a trial that keeps what its sampler noted as it drew: of the trial (the generation of a genetic
algorithm), and of the study (parents, a place in a sequence)."""


def draw(
    sampler: BaseSampler, like: optuna.Study, space: Mapping[str, BaseDistribution], before: Sequence[FrozenTrial]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of the next trial, and what the sampler noted with them.

    The sampler sees a study of its own, which holds the trials before in the order of their places, numbered from 0: what
    was asked again after a kill, under whatever number, is to it what an uncut search has. What it noted at each of them
    is there, since it is made for each trial.
    """
    view = optuna.create_study(
        study_name=like.study_name, directions=like.directions, sampler=sampler, pruner=like.pruner
    )
    for trial in before:
        memory = trial.user_attrs.get(MEMORY, {})
        view.add_trial(_seen(trial, memory.get("trial", trial.system_attrs)))
        _note(view, memory.get("study", {}))
    noted = view._storage.get_study_system_attrs(view._study_id)
    drawn = view.ask(dict(space))
    now = view._storage.get_study_system_attrs(view._study_id)
    new = {key: value for key, value in now.items() if noted.get(key) != value}
    return drawn.params, {"trial": view.get_trials(deepcopy=False)[-1].system_attrs, "study": new}


def _note(study: optuna.Study, facts: Mapping[str, Any]) -> None:
    for key, value in facts.items():
        study._storage.set_study_system_attr(study._study_id, key, value)


def _seen(trial: FrozenTrial, noted: Mapping[str, Any]) -> FrozenTrial:
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return create_trial(
        state=trial.state,
        values=trial.values if ended else None,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs={key: value for key, value in noted.items() if key != "fixed_params"},
        intermediate_values=trial.intermediate_values if ended else {},
    )
