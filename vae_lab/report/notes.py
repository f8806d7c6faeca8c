"""What a reader must know before trusting the numbers: anything in which the runs were not alike, or not done."""

from collections.abc import Callable, Iterator, Mapping

from vae_lab.amounts import counted
from vae_lab.metrics import information_doubt
from vae_lab.report.cells import Row, Study
from vae_lab.report.convergence import RISE
from vae_lab.search.importance import described

NEEDED = ("test/elbo", "test/rate", "test/nll")
CODE = ("vae_lab", "commit")
MACHINE = ("device", "precision", "threads", "compile")
ERRORS = 3  # standard errors by which a Monte Carlo bound may cross the other


def notes(study: Study, is_live: bool = False) -> list[str]:
    """Warnings, most serious first; empty for a study in which every run is alike and done. What a study that still
    runs has not done yet is no matter for a warning."""
    checks = (
        _missing,
        _pruned,
        _numberless,
        _crossed,
        _doubtful,
        _unfinished,
        _code,
        _evaluation,
        _machine,
        _steps,
        _tuning,
        _shared,
        _elsewhere,
        _requests,
        _units,
        _importance,
    )
    left = checks[1:-3] if is_live else checks
    return [note for check in left for note in check(study)]


def name_of(row: Row) -> str:
    """A run as the reader knows it: `vanilla seed=0`."""
    return f"{row.cell} {row.over_text}".strip()


def _missing(study: Study) -> Iterator[str]:
    if missing := {row.signature for row in study.missing}:
        yield f"{counted(len(missing), 'run')} of {len(study.runs)} gave no numbers and are listed as failures."


def _importance(study: Study) -> Iterator[str]:
    """Of a search, what it has noted at its end."""
    yield from (f"{line}." for line in described(study.facts.get("importance") or {}))


def _pruned(study: Study) -> Iterator[str]:
    pruned = sum(row.is_pruned for row in study.runs)
    if pruned:
        yield f"{counted(pruned, 'run')} of {len(study.runs)} pruned by the search before the end: no failures, and no figures."


def _numberless(study: Study) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for row in study.rows:
        lacking = [name for name in NEEDED if row.value(name) is None]
        if row.is_completed and lacking:
            found.setdefault(", ".join(lacking), []).append(name_of(row))
    for lacking_names, names in found.items():
        yield f"Completed, but with no number for {lacking_names}: {_some(names)}."


def _crossed(study: Study) -> Iterator[str]:
    if names := [name_of(row) for row in study.runs if _is_crossed(row)]:
        yield f"The lower bound on mutual information exceeds the rate by more than its error: {_some(names)}."


def _is_crossed(row: Row) -> bool:
    low, high = row.value("test/mutual_information"), row.value("test/rate")
    error = row.value("test/mutual_information_se") or 0.0
    return low is not None and high is not None and low > high + ERRORS * error + 1e-6


def _doubtful(study: Study) -> Iterator[str]:
    doubts: dict[str, list[str]] = {}
    for row in study.runs:
        if doubt := doubt_of(row):
            doubts.setdefault(doubt, []).append(name_of(row))
    for doubt, names in doubts.items():
        yield f"Mutual information and marginal KL on test cannot be trusted ({doubt}): {_some(names)}."


def doubt_of(row: Row) -> str:
    """The reason why a run's mutual information on test cannot be trusted, if it cannot."""
    return information_doubt(lambda name: row.value(f"test/{name}"), row.nested("details", "test", "examples"))


def _unfinished(study: Study) -> Iterator[str]:
    judged = [(name_of(row), row.trend) for row in study.runs if row.is_completed and row.trend]
    if rising := [name for name, trend in judged if trend.is_rising]:
        yield (
            f"Not converged: val/elbo still rose by more than {RISE} nats over the last fifth of training (of its learning "
            f"rate, where that decays) in {counted(len(rising), 'run')} ({_some(rising)}). More training could change what is shown."
        )
    if falling := [name for name, trend in judged if trend.is_falling]:
        yield (
            f"Not converged: val/elbo still fell by more than {RISE} nats over the last fifth of training (of its learning "
            f"rate, where that decays) in {counted(len(falling), 'run')} ({_some(falling)}): overfitting, or a weight or a constraint still on its way. "
            "More training would change what is shown."
        )
    unjudged = [row for row in study.runs if row.is_completed and row.trend is None]
    if unjudged:
        yield f"{counted(len(unjudged), 'run')} logged too few validations (or not the learning rate, which changed) to judge whether training had converged."


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _differ(study: Study, what: Callable[[Row], str]) -> str:
    """`a (3 runs), b (1 run: vanilla seed=0)` where completed runs differ in something, or else nothing."""
    groups: dict[str, list[str]] = {}
    for row in study.runs:
        if row.is_completed:
            groups.setdefault(what(row), []).append(name_of(row))
    fewest = min(groups.values(), key=len, default=[])
    told = [
        f"{value} ({counted(len(names), 'run')}{f': {_some(names)}' if names is fewest else ''})"
        for value, names in groups.items()
    ]
    return "; ".join(told) if len(groups) > 1 else ""


def _code(study: Study) -> Iterator[str]:
    if told := _differ(study, lambda row: " at commit ".join(str(row.nested("environment", name)) for name in CODE)):
        yield f"The runs were made by different code: vae_lab {told}. Their numbers may not be comparable."


def _evaluation(study: Study) -> Iterator[str]:
    if told := _differ(study, lambda row: str(row.nested("evaluation", "hash"))):
        yield f"The runs were evaluated under different settings, by their hash: {told}. Evaluate them alike again."


def _machine(study: Study) -> Iterator[str]:
    for name in MACHINE:
        if told := _differ(study, lambda row: str(row.nested("environment", name) or "unknown")):  # noqa: B023
            yield f"The runs differ in {name}: {told}."


def _steps(study: Study) -> Iterator[str]:
    if told := _differ(study, lambda row: f"{row.nested('timing', 'steps')} updates"):
        yield f"Not the same budget: {told}."
    inner = {
        arm.name: {int(row.nested("timing", "inner_steps") or 0) for row in arm.chosen.completed} for arm in study.arms
    }
    if some := [f"{name} {min(counts)} to {max(counts)}" for name, counts in inner.items() if any(counts)]:
        yield f"Not the same work: between its updates an arm took further steps of its encoder: {_some(some)}."


def _tuning(study: Study) -> Iterator[str]:
    if len({len(arm.cells) for arm in study.arms}) > 1:
        tuned = [f"{arm.name} {len(arm.cells)}" for arm in study.arms if len(arm.cells) > 1]
        others = "; every other arm 1" if len(tuned) < len(study.arms) else ""
        yield f"Settings tried, and so training spent, differ between arms: {', '.join(tuned)}{others}."


def _shared(study: Study) -> Iterator[str]:
    users: dict[str, list[str]] = {}
    for row in study.rows:
        users.setdefault(row.signature, []).append(row.cell)
    for cells in dict.fromkeys(tuple(dict.fromkeys(found)) for found in users.values()):
        if len(cells) > 1:
            yield f"{' and '.join(cells)} share runs: their settings come to the same."


def _elsewhere(study: Study) -> Iterator[str]:
    if study.elsewhere:
        yield f"Not in this report: {'; '.join(study.elsewhere)}."


def _requests(study: Study) -> Iterator[str]:
    asked = study.facts.get("reference")
    if asked and asked not in {arm.name for arm in study.arms}:
        yield f"study.reference names {asked}, which is no arm here; compared with {study.reference.name} instead."
    if str(study.facts.get("select")).startswith("test/"):
        yield f"study.select asked for {study.facts['select']}; a strength is never chosen on test: by {study.select}."
    if any(len(arm.cells) > 1 and not arm.chosen.values(study.select) for arm in study.arms):
        yield f"An arm of several settings has no {study.select} to choose by; its first setting stands."


def _units(study: Study) -> Iterator[str]:
    specs = [spec for row in study.runs if isinstance(spec := row.settings.get("spec"), Mapping)]
    if any(spec.get("log_units") for spec in specs):
        yield (
            "The tables are standardised: nats are of x in the units of the file; likelihood.sigma, the sd of noise, and errors "
            "and lengths in x are in standard deviations of a column."
        )
