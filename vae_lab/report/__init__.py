"""One page a study: which arm keeps the latent code in use, by how much, with what spread over seeds, at what cost.

It reads run directories only (`vae_lab.store`) and never needs a model.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from vae_lab.report.cells import Study
    from vae_lab.report.verdict import Comparison, Statement

__all__ = ["Report", "build", "live_page", "print_table", "study_folders", "write"]

PAGE, TABLE = "report.html", "results.csv"


@dataclass(frozen=True)
class Report:
    """What a report says; each part is made when it is asked for."""

    study: "Study"
    live: dict[str, Any] | None = None  # of a study that runs: how far it is (`live.state`)

    @cached_property
    def comparisons(self) -> "list[Comparison]":
        """Every remedy against the reference; none while the study runs."""
        from vae_lab.report.verdict import compare

        return [] if self.live else compare(self.study)

    @cached_property
    def verdict(self) -> "list[Statement]":
        """The sentences that the numbers support."""
        from vae_lab.report.verdict import verdict

        return verdict(self.study, self.comparisons)

    @cached_property
    def notes(self) -> list[str]:
        """What a reader must know before trusting the numbers."""
        from vae_lab.report.notes import notes

        return notes(self.study, self.live is not None)

    @property
    def csv(self) -> str:
        """The content of `results.csv`."""
        from vae_lab.report.table import results_csv

        return results_csv(self.study)

    @cached_property
    def html(self) -> str:
        """The content of `report.html`: one file that asks nothing of the network."""
        from vae_lab.report.page import render

        return render(self)


def build(path: Path, plan: "Mapping[str, Any] | None" = None) -> Report:
    """Reads a study's folder, or any folder of run directories.

    Arguments:
        plan: of a launch that reports on its own cells; by default that of the last one.

    Errors: `reading.NoReport`, a `RequestError`.
    """
    from vae_lab.report.reading import read

    return Report(read(Path(path), plan=plan))


def live_page(folder: Path, plan: "Mapping[str, Any] | None" = None) -> "AbstractContextManager[None]":
    """Keeps the page of a study's folder up to date while the block runs: `with report.live_page(folder): ...`."""
    from vae_lab.report.live import kept_up_to_date

    return kept_up_to_date(Path(folder), plan)


def write(path: Path, report: Report | None = None) -> tuple[Path, Path]:
    """Writes `report.html` and `results.csv` into a study's folder, atomically, and returns where they are."""
    from vae_lab import store

    report, folder = report or build(path), Path(path)
    store.write_atomically(folder / TABLE, report.csv)
    store.write_atomically(folder / PAGE, report.html)
    return folder / PAGE, folder / TABLE


def print_table(path: Path, report: Report | None = None) -> None:
    """Prints the table, the verdict and the notes on the terminal."""
    from vae_lab.report.table import print_rich

    report = report or build(path)
    print_rich(report.study, report.comparisons, [*map(str, report.verdict)], report.notes)


def study_folders(path: Path) -> list[Path]:
    """The folders to report on: `path` itself, or the studies in it where it is no study but holds some (`runs/`)."""
    from vae_lab.report import reading

    return reading.study_folders(Path(path))
