"""What of a study goes on its page: all of it, or of a study of thousands of runs as much as a browser can open."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vae_lab.amounts import counted
from vae_lab.report.cells import Arm, Cell, Row, Study
from vae_lab.report.verdict import Comparison

ARMS, CELLS, RUNS = 100, 300, 1000
PAIRED_ARMS = 60  # every pair of them is compared: 1770 pairs
COLORED = 8  # as many as there are colours
FIRST = 6  # coloured at the start where there are more arms than colours


@dataclass(frozen=True)
class Shown:
    """The arms, the cells and the runs of a page, and in `left_out` what it does not have."""

    study: Study
    comparisons: Sequence[Comparison]

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """In the study's order; of too many, the reference, the controls and the best by the metric of choice."""
        arms = self.study.arms
        if len(arms) <= ARMS:
            return arms
        kept = {self.study.reference.name, *(arm.name for arm in self.study.controls)}
        kept |= {arm.name for arm in self._best(arms)[: ARMS - len(kept)]}
        return tuple(arm for arm in arms if arm.name in kept)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Those chosen first, so that an arm's position is that of its cell; then, while there is room, the others."""
        chosen = [arm.chosen for arm in self.arms]
        others = [cell for arm in self.arms for cell in arm.cells if cell is not arm.chosen]
        return tuple([*chosen, *others][: max(CELLS, len(chosen))])

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The runs that the tables list one by one."""
        if len(self.study.rows) <= RUNS:
            return self.study.rows
        return tuple(row for cell in self.cells for row in cell.rows)[:RUNS]

    @cached_property
    def colored(self) -> tuple[Arm, ...]:
        """The arms that have a colour before the reader chooses: all that are not reference or control where there are
        few, else those shown to keep more rate than the reference, the cheapest first."""
        plain = {self.study.reference.name, *(arm.name for arm in self.study.controls)} if self.study.is_planned else ()
        others = [arm for arm in self.arms if arm.name not in plain]
        if len(others) <= COLORED:
            return tuple(others)
        kept = [c for c in self.comparisons if c.rate.is_shown and (c.rate.mean or 0.0) > 0]
        cheap = [c.arm for c in sorted(kept, key=lambda c: c.cost.mean or 0.0)]
        return tuple(cheap or self._best(others))[:FIRST]

    def _best(self, arms: Sequence[Arm]) -> list[Arm]:
        sign = -1.0 if self.study.is_higher_better else 1.0
        means = {arm.name: arm.chosen.summary(self.study.select).mean for arm in arms}
        return sorted(arms, key=lambda arm: sign * mean if (mean := means[arm.name]) is not None else float("inf"))

    @property
    def left_out(self) -> list[str]:
        """What the page does not have, in a sentence each."""
        found = (
            ("arm", len(self.arms), len(self.study.arms), f"the best by {self.study.select}"),
            ("setting", len(self.cells), sum(len(arm.cells) for arm in self.study.arms), "those chosen first"),
            ("run", len(self.rows), len(self.study.rows), "in the table of runs"),
        )
        return [
            f"Shown: {shown} of {counted(all_, noun)} ({how}); results.csv has every run."
            for noun, shown, all_, how in found
            if shown < all_
        ]
