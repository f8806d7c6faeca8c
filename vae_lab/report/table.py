"""The table of a study, as `results.csv` and on the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vae_lab.amounts import visible
from vae_lab.csv_text import csv_text
from vae_lab.report import words
from vae_lab.report.cells import Row, Study
from vae_lab.report.shown import Shown
from vae_lab.report.statistics import Difference, Summary
from vae_lab.report.verdict import Comparison
from vae_lab.store import LOG

NAME = 24  # columns that an arm's name gets, at most, before it is folded
FAILURES = 20  # lines of the terminal, at most
WIDE = 118  # columns of a terminal on which a figure and its spread fit on one line


def results_csv(study: Study) -> str:
    """One row a run and cell, chosen or not, with every metric exactly as `result.json` has it; empty for null."""
    titles = ["arm", "cell", *study.varied_names, *study.over_names, "signature", "status", *study.metric_names]
    return csv_text([titles, *(_record(study, row) for row in study.rows)])


def _record(study: Study, row: Row) -> list[object]:
    over = [row.over.get(name) for name in study.over_names]
    return [
        row.arm,
        row.cell,
        *(row.varied.get(name) for name in study.varied_names),
        *over,
        row.signature,
        row.status,
        *(row.metrics.get(name) for name in study.metric_names),
    ]


def summary_text(summary: Summary, digits: int = 2, join: str = " ") -> str:
    """Mean and spread: `-21.03 ±0.12`."""
    spread = "" if summary.sd is None else f"{join}±{words.number(summary.sd, digits)}"
    return words.number(summary.mean, digits) + spread


def difference_text(difference: Difference, join: str = " ") -> str:
    """A difference with its interval: `+1.90 [1.20, 2.60]`."""
    if difference.mean is None:
        return words.NOTHING
    return f"{difference_mean(difference)}{join}{words.interval(difference.low, difference.high)}"


def difference_mean(difference: Difference) -> str:
    """A difference without its interval: `+1.90`."""
    return words.NOTHING if difference.mean is None else words.number(difference.mean, sign=True)


def print_rich(study: Study, comparisons: Sequence[Comparison], verdict: Sequence[str], notes: Sequence[str]) -> None:
    """The table, the verdict and what a reader must know, on the terminal; plain where it is none."""
    console = Console(highlight=False, emoji=False, markup=False)
    join = " " if console.width >= WIDE else "\n"
    shown = Shown(study, comparisons)
    console.print(_table(shown, {c.arm.name: c for c in comparisons}, join))
    failures = [
        f"{row.status}: {row.arm} {row.over_text}: {row.error} ({row.run.path / LOG})"
        for row in study.missing[:FAILURES]
    ]
    if left := len(study.missing) - len(failures):
        failures.append(f"... and {left} more, all of them on the page")
    for line in (
        *verdict,
        *(f"Note: {note}" for note in [*notes, *(line for line in shown.left_out if " arms (" in line)]),
        *failures,
    ):
        console.print(visible(line), soft_wrap=not console.is_terminal)


def _table(shown: Shown, comparisons: dict[str, Comparison], join: str) -> Table:
    study = shown.study
    table = Table(
        title=visible(study.name), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left"
    )
    reference = visible(study.reference.name)
    table.add_column("arm", overflow="fold", min_width=min(max(len(arm.name) for arm in shown.arms), NAME))
    heads = (f"rate minus\n{reference}", f"cost against\n{reference}") if comparisons else ()
    chosen_by = () if study.is_planned else tuple(study.objectives)
    for head in ("n", *(name.replace("/", "/\n") for name in chosen_by), "elbo", "nll", "rate", "active", *heads):
        table.add_column(head, justify="right", overflow="fold")
    for arm in shown.arms:
        cell = arm.chosen
        label = visible(f"{arm.name}{join}{words.strength(cell.strength)}".strip())
        names = (*chosen_by, "test/elbo", "test/nll", "test/rate")
        figures = [summary_text(cell.summary(name), join=join) for name in names]
        active = summary_text(cell.summary("test/active_units"), 1, join)
        compared = _compared(study, arm.name, comparisons.get(arm.name), join) if comparisons else ()
        table.add_row(label, str(len(cell.completed)), *figures, active, *compared)
    return table


def _compared(study: Study, name: str, compared: Comparison | None, join: str) -> tuple[str, str]:
    if compared is None:
        return ("reference" if name == study.reference.name else "control"), ""
    rate, cost = (difference_text(difference, join) for difference in (compared.rate, compared.cost))
    if compared.measure != "NLL":
        cost = f"{cost}{join}({compared.measure})"
    mean = difference_mean(compared.rate if compared.unasked == "rate" else compared.cost)
    unasked = f"{mean}{join}(not asked)"
    return unasked if compared.unasked == "rate" else rate, unasked if compared.unasked == "cost" else cost
