"""How much each setting of a search had to do with its objectives."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a report says what a search has noted, and needs no Optuna
    from optuna import Study
    from optuna.trial import FrozenTrial

ENOUGH = 100
"""Completed trials. PED-ANOVA compares the best tenth with all of them: of fewer than ten, a share says little."""


def importance(study: "Study", objectives: Sequence[str]) -> dict[str, Any]:
    """For each objective the share of every setting, by PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): how far the law of a
    setting among the best tenth of the trials is from its law among all. With the number of trials that it was computed
    from; empty where there are fewer than two settings, or the trials do not tell.
    """
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    shares = {name: _shares(study, i) for i, name in enumerate(objectives)} if _varied(done) > 1 else {}
    known = {name: each for name, each in shares.items() if each}
    return {"trials": len(done), "enough": ENOUGH, "shares": known} if known else {}


def _varied(trials: "Sequence[FrozenTrial]") -> int:
    """Settings that took more than one value."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(repr(value))
    return sum(len(each) > 1 for each in values.values())


def _shares(study: "Study", objective: int) -> dict[str, float]:
    from optuna.importance import get_param_importances

    def target(trial: "FrozenTrial") -> float:
        sign = -1.0 if study.directions[objective].name == "MAXIMIZE" else 1.0
        return sign * trial.values[objective]  # the evaluator takes the least of a target as the best

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = get_param_importances(study, target=target)
    except (ValueError, RuntimeError):  # too few trials, or all alike
        return {}
    return {name: round(float(share), 4) for name, share in found.items()}


def described(facts: Mapping[str, Any]) -> list[str]:
    """A line for each objective, with a warning where the trials are few."""
    trials = facts.get("trials", 0)
    few = f"; fewer than {facts['enough']} trials, so a hint and no more" if trials < facts.get("enough", 0) else ""
    return [
        f"Importance of the settings for {name} (PED-ANOVA, {trials} completed trials{few}): "
        + ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
        for name, shares in facts.get("shares", {}).items()
    ]
