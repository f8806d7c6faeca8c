"""The verdict: which arm keeps the latent code in use, and what that costs in likelihood, in sentences that the numbers
support.

Two questions an arm, against the reference, in an order fixed beforehand (`study.primary`): by default first its `test/rate`,
and then its cost, in NLL or ELBO, of the arms alone whose rate is shown to differ. The intervals of a question hold
together (`simultaneous`), so that a study of identical arms makes any claim at most one time in twenty: without a claim on the
first question there is none on the second. Only an interval that excludes zero is a claim.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vae_lab.amounts import counted
from vae_lab.report.beside import predictions
from vae_lab.report.cells import Arm, Cell, Runs, Study, distinct_keys
from vae_lab.report.power import power_of
from vae_lab.report.simultaneous import half_widths, noise_sd
from vae_lab.report.statistics import LEVEL, Difference, difference_within
from vae_lab.report.words import interval, number

NO_PLAN = "without a plan (plan.json) nothing says that these runs are comparable, nor with which."
NLL_TOLERANCE = 0.05  # nats by which NLL may move from K/10 to K samples and still count as converged
LEAST_ESS = 10  # effective samples: with fewer, what K/10 and K miss alike can be more than they differ by
COLLAPSED_SHARE = 1 / 2  # of the units active, at most
COLLAPSED_RATE = 2 / 3  # of the control's rate, at most


@dataclass(frozen=True)
class Comparison:
    """One arm against the reference. `cost` is in nats worse (positive: the arm is worse) of `measure`, NLL or ELBO.

    The second question, which is likelihood unless `leads_with_likelihood`, has an interval only where the first is a claim.
    """

    arm: Arm
    rate: Difference
    cost: Difference
    measure: str
    looseness: float | None  # nats by which NLL still moves from K/10 to K samples, the larger of the two arms
    leads_with_likelihood: bool = False

    @property
    def first(self) -> Difference:
        """The difference in the first question, positive where the arm has more rate, or a better likelihood."""
        return self.cost.negated() if self.leads_with_likelihood else self.rate

    @property
    def unasked(self) -> str | None:
        """The column of the question that is not asked of this arm, `rate` or `cost`; None where both are asked."""
        if self.first.is_shown:
            return None
        return "rate" if self.leads_with_likelihood else "cost"

    @property
    def is_winner(self) -> bool:
        """Whether the arm is claimed to be better than the reference in anything: more rate, or likelihood gained."""
        return (self.rate.is_shown and (self.rate.mean or 0) > 0) or (self.cost.is_shown and (self.cost.mean or 0) < 0)

    @property
    def is_claim(self) -> bool:
        """Whether anything is claimed, in either direction."""
        return self.rate.is_shown or self.cost.is_shown


def compare(study: Study) -> list[Comparison]:
    """Every remedy against the reference; the intervals of all of them hold together."""
    if not study.remedies:
        return []
    widths = {name: _widths(study, f"test/{name}") for name in ("rate", "nll", "elbo")}
    keys = distinct_keys(settings_compared(study))
    return [_against(study, arm, widths, keys) for arm in study.remedies]


def settings_compared(study: Study) -> tuple[Cell, ...]:
    """Every setting that was tried of the reference, the chosen one first, then of the remedies; those that share all runs
    with one before count once. Validation and test share the luck of a training, so that what is chosen by the one
    is flattered in the other: a claim about the chosen setting holds over all of them."""
    chosen = study.reference.chosen
    remedies = [cell for arm in study.remedies for cell in arm.cells]
    distinct = {cell.runs: cell for cell in reversed((chosen, *remedies, *study.reference.cells))}
    cells = tuple(reversed(distinct.values()))
    ours = [cell for cell in cells if cell.arm == study.reference.name]
    return (*ours, *(cell for cell in cells if cell.arm != study.reference.name))


def _measured(study: Study, metric: str) -> tuple[list[Cell], np.ndarray]:
    """The settings compared that have numbers, and the numbers: (settings, seeds), NaN where a run has none."""
    cells = [cell for cell in settings_compared(study) if cell.values(metric)]
    keys = distinct_keys(settings_compared(study))
    return cells, np.array([[cell.values(metric).get(key, np.nan) for key in keys] for cell in cells])


def _widths(study: Study, metric: str) -> dict[Runs, float]:
    """Half of the interval of each setting against the chosen reference, by its runs."""
    cells, values = _measured(study, metric)
    references = sum(cell.arm == study.reference.name for cell in cells)
    if not references or references == len(cells) or cells[0] is not study.reference.chosen:
        return {}
    halves = half_widths(values, references)[0]
    return {cell.runs: float(half) for cell, half in zip(cells[references:], halves, strict=True)}


def _against(study: Study, arm: Arm, widths: Mapping[str, Mapping[Runs, float]], keys: Collection[str]) -> Comparison:
    reference, leads = study.reference.chosen, study.leads_with_likelihood
    rate, nll, elbo = (
        difference_within(pairs(arm.chosen, reference, f"test/{name}", keys), widths[name].get(arm.chosen.runs))
        for name in ("rate", "nll", "elbo")
    )
    loose = _looseness(arm.chosen, reference)
    is_nll = (nll_ranks(nll, loose) and _has_samples(arm.chosen, reference)) or elbo.mean is None
    cost, measure = (nll, "NLL") if is_nll else (elbo.negated(), "ELBO")
    if leads:
        return Comparison(arm, rate if cost.is_shown else rate.unasked, cost, measure, loose, True)
    return Comparison(arm, rate, cost if rate.is_shown else cost.unasked, measure, loose)


def pairs(ours: Cell, theirs: Cell, metric: str, keys: Collection[str] | None = None) -> list[float]:
    """Differences over the seeds that both completed, of `keys` or, without them, of those with distinct runs."""
    kept = distinct_keys((ours, theirs)) if keys is None else keys
    a, b = ours.values(metric), theirs.values(metric)
    return [a[key] - b[key] for key in a if key in b and key in kept]


def _looseness(*cells: Cell) -> float | None:
    moves = [_mean_move(cell) for cell in cells]
    known = [move for move in moves if move is not None]
    return max(known) if len(known) == len(moves) else None


def _mean_move(cell: Cell) -> float | None:
    """Nats by which the NLL estimate falls from K/10 to K importance samples, mean over seeds."""
    full, tenth = cell.values("test/nll"), cell.values("test/nll_tenth")
    moves = [abs(tenth[key] - full[key]) for key in full if key in tenth]
    return sum(moves) / len(moves) if moves else None


def _has_samples(*cells: Cell) -> bool:
    """Whether the importance weights of every arm spread over enough samples."""
    sizes = [cell.summary("test/ess").mean for cell in cells]
    return all(size is None or size >= LEAST_ESS for size in sizes)


def nll_ranks(difference: Difference, looseness: float | None) -> bool:
    """Whether NLL may rank the two arms: from K/10 to K samples its estimates move by at most a quarter of half the interval,
    or have converged. Importance sampling is tighter where the posterior has collapsed, so a looser NLL would favour
    collapse. The measure is chosen without a look at the difference itself, so that a claim in it holds as often as it says."""
    if difference.mean is None or looseness is None:
        return False
    return looseness <= max((difference.half_width or 0.0) / 4, NLL_TOLERANCE)


@dataclass(frozen=True)
class Statement:
    """A sentence of the verdict, or the start of one with what it says of each arm."""

    text: str
    items: tuple[str, ...] = ()
    is_aside: bool = False

    def __str__(self) -> str:
        return f"{self.text}: {'; '.join(self.items)}." if self.items else self.text


def verdict(study: Study, comparisons: Sequence[Comparison]) -> list[Statement]:
    """What the numbers support, in a few sentences; each claim with its interval and n. A study of predictions asks
    whether they come true, and nothing else."""
    agreement = _agreement(study)
    if agreement:
        return [agreement]
    found = [
        _state(study, comparisons),
        *_claims(study, comparisons),
        _brackets(study, comparisons),
        _power(study, comparisons),
    ]
    said = [statement for statement in found if statement]
    return said or [Statement("No verdict: " + ("there is nothing to compare." if study.is_planned else NO_PLAN))]


def _agreement(study: Study) -> Statement | None:
    rows = [row for row in predictions(study) if row["difference"] is not None]
    if not rows:
        return None
    worst = max(rows, key=lambda row: abs(row["difference"]))
    return Statement(
        f"Over {counted(len(rows), 'predicted figure')}, measured and predicted differ by at most "
        f"{number(abs(worst['difference']), 3)} ({worst['label']}, {worst['metric']}: predicted "
        f"{number(worst['value'], 3)}, measured {number(worst['measured'].mean, 3)}, n={worst['measured'].n})."
    )


def is_collapsed(study: Study) -> bool | None:
    """Whether the reference leaves half or more of its units inactive and, where there is a control, keeps at most two
    thirds of the control's rate; None where that cannot be told."""
    cell = study.reference.chosen
    active = cell.summary("test/active_units").mean
    if active is None or not cell.latents:
        return None
    return active <= COLLAPSED_SHARE * cell.latents and _keeps_little(study) is not False


def _keeps_little(study: Study) -> bool | None:
    """Whether the reference keeps at most two thirds of the rate of the first control; None without one."""
    arms = (study.reference, *study.controls[:1])
    rates = [arm.chosen.summary("test/rate").mean for arm in arms]
    return (
        rates[0] <= COLLAPSED_RATE * rates[1]
        if len(rates) > 1 and rates[0] is not None and rates[1] is not None
        else None
    )


def _state(study: Study, comparisons: Sequence[Comparison]) -> Statement | None:
    collapsed = is_collapsed(study)
    if collapsed is None or not comparisons:
        return None
    facts = f"{_use(study.reference)}{''.join(f', against {_use(arm)} in {arm.name}' for arm in study.controls[:1])}"
    name = study.reference.name
    if collapsed:
        rule = (
            "" if study.controls else f" by this rule alone, that {1 - COLLAPSED_SHARE:.0%} of its units are inactive"
        )
        return Statement(f"The reference {name} has collapsed{rule}: {facts}.")
    if _keeps_little(study):
        return Statement(
            f"The reference {name} has not collapsed outright, but keeps little of the control's rate: {facts}."
        )
    return Statement(f"The reference {name} has not collapsed ({facts}), so there is little for a remedy to mend.")


def _use(arm: Arm) -> str:
    return f"{_active(arm.chosen)} at a rate of {number(arm.chosen.summary('test/rate').mean)} nats"


def _active(cell: Cell) -> str:
    latents = f" of {cell.latents}" if cell.latents else ""
    return f"{number(cell.summary('test/active_units').mean, 1)}{latents} units active"


def _claims(study: Study, comparisons: Sequence[Comparison]) -> list[Statement | None]:
    name = study.reference.name
    if comparisons and not study.reference.chosen.completed:
        return [Statement(f"No verdict: the reference {name} has no completed run.")]
    keep, more, less, what = ("keep", "more rate", "less rate", "rate")
    if study.leads_with_likelihood:
        keep, more, less, what = ("have", "a better likelihood", "a worse likelihood", "likelihood")
    better = [c for c in comparisons if c.first.is_shown and (c.first.mean or 0) > 0]
    worse = [c for c in comparisons if c.first.is_shown and (c.first.mean or 0) < 0]
    same = [c for c in comparisons if not c.first.is_shown and c.first.low is not None]
    rest = [c for c in comparisons if c.first.low is None]
    none = Statement(f"No arm is shown to {keep} {more} than {name}.") if comparisons and not better else None
    return [
        none,
        _listed(f"Shown to {keep} {more} than {name}", better, _describe),
        _listed(f"Shown to {keep} {less} than {name}", worse, _describe),
        _listed(f"No difference in {what} from {name} shown", same, _describe),
        _listed(
            "No claim, for want of three pairs of runs whose differences vary",
            rest,
            lambda c: f"{c.arm.label} (n={c.first.n})",
        ),
    ]


def _listed(start: str, comparisons: Sequence[Comparison], tell: Callable[[Comparison], str]) -> Statement | None:
    return Statement(start, tuple(tell(c) for c in comparisons)) if comparisons else None


def _describe(c: Comparison) -> str:
    """One arm in a sentence of the verdict: the first question, and the second where the first is a claim."""
    unit = f"nats of {c.measure}" if c.leads_with_likelihood else "nats"
    size = f"by {number(abs(c.first.mean or 0))} {unit} " if c.first.is_shown else ""
    head = f"{c.arm.label} {size}{_span(c.first)}"
    active = _active(c.arm.chosen)
    if not c.first.is_shown:
        return f"{head}, {active} (n={c.first.n})"
    second = _rate(c) if c.leads_with_likelihood else _cost(c)
    n = c.rate.n if c.leads_with_likelihood else c.cost.n
    count = f" (n={c.first.n})" if c.first.n != n else ""
    return f"{head}{count}, {active}, {second} (n={n})"


def _cost(c: Comparison) -> str:
    if c.cost.low is None:
        return "its cost in likelihood unknown"
    if not c.cost.is_shown:
        return f"no difference in {c.measure} shown {_span(c.cost)}"
    verb = "at a cost of" if (c.cost.mean or 0) > 0 else "with a gain of"
    return f"{verb} {number(abs(c.cost.mean or 0))} nats of {c.measure} {_span(c.cost)}"


def _rate(c: Comparison) -> str:
    if not c.rate.is_shown:
        return f"no difference in rate shown {_span(c.rate)}"
    verb = "more" if (c.rate.mean or 0) > 0 else "less"
    return f"with {number(abs(c.rate.mean or 0))} nats {verb} rate {_span(c.rate)}"


def _span(difference: Difference) -> str:
    """The interval; of a claimed difference, that of its size."""
    is_fall = difference.is_shown and (difference.mean or 0) < 0
    ends = difference.negated() if is_fall else difference
    return interval(ends.low, ends.high)


def _brackets(study: Study, comparisons: Sequence[Comparison]) -> Statement | None:
    if not any(c.first.low is not None for c in comparisons):
        return None
    loose = (
        " Cost is in ELBO where NLL has too few effective samples, or still moves with their number by more than "
        f"{NLL_TOLERANCE} nats and a quarter of half its interval."
    )
    tried = len(settings_compared(study))
    first, second, which = (
        ("rate", "likelihood", "rate is")
        if not study.leads_with_likelihood
        else ("likelihood", "rate", "likelihood is")
    )
    return Statement(
        f"In brackets: {LEVEL:.0%} intervals of differences paired over seeds; of each question they hold together over all "
        f"{counted(tried, 'setting')} tried, with noise that may differ between settings. Of the arms, the question is first "
        f"{first}; {second} is asked only of those whose {which} shown to differ. Where no difference is shown, brackets are "
        "of the arm minus the reference, and for likelihood of nats worse. They cover the luck of training, on one fixed "
        "test split and one draw of the evaluation's noise, and assume that the luck of a seed adds to each run, and noise that "
        "is not far from normal. Arms are compared with the reference only, not with one another."
        + (loose if any(c.measure == "ELBO" for c in comparisons) else ""),
        is_aside=True,
    )


def _power(study: Study, comparisons: Sequence[Comparison]) -> Statement | None:
    """What difference this design could show in its first question, and which more seeds would."""
    if not any(c.first.low is not None for c in comparisons):
        return None
    metric = f"test/{comparisons[0].measure.lower()}" if study.leads_with_likelihood else "test/rate"
    cells, values = _measured(study, metric)
    runs = min(c.first.n for c in comparisons if c.first.low is not None)
    references = sum(cell.arm == study.reference.name for cell in cells)
    sd = noise_sd(values)
    if not sd > 0:
        return None
    return Statement(f"Power in {metric}: {power_of(len(cells), references, runs, sd)}", is_aside=True)
