"""What the runs were put to (`vae-lab USE RUN`), as panels of the page: the numbers of each use by arm, and its pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vae_lab.report.cells import Arm, Row
from vae_lab.report.pictures import LARGEST_CHART, Room, address, image_of
from vae_lab.settings import flatten


@dataclass(frozen=True)
class Panel:
    """One use: its numbers by name, the arms that have any, and the first run's pictures of each."""

    use: str
    options: tuple[str, ...]  # as they were asked for, one text for all runs if all were asked alike
    numbers: tuple[str, ...]  # those that some run has
    arms: tuple[Arm, ...]
    pictures: tuple[tuple[Arm, Row, dict[str, str]], ...]

    def metric(self, number: str) -> str:
        return f"{self.use}/{number}"

    def alike(self, arm: Arm, number: str) -> str:
        """What is no figure to be averaged (a text, a count): as it is, where it is the same for all of an arm's runs."""
        said = {
            flatten(row.used[self.use]["numbers"]).get(number) for row in arm.chosen.completed if self.use in row.used
        }
        if len(said) > 1 and any(isinstance(one, str) for one in said):
            return "they differ"
        (only,) = said if len(said) == 1 else (None,)
        return "" if only is None or isinstance(only, float) else str(only)


def panels(arms: Sequence[Arm]) -> list[Panel]:
    """A panel for each use that a completed run of a chosen setting was put to, in the order of their names."""
    names = sorted({use for arm in arms for row in arm.chosen.completed for use in row.used})
    room = Room()
    return [_panel(use, arms, room) for use in names]


def _panel(use: str, arms: Sequence[Arm], room: Room) -> Panel:
    rows = [row for arm in arms for row in arm.chosen.completed if use in row.used]
    there = tuple(arm for arm in arms if any(use in row.used for row in arm.chosen.completed))
    options = dict.fromkeys(
        " ".join(f"{k}={'null' if v is None else v}" for k, v in flatten(row.used[use].get("options") or {}).items())
        for row in rows
    )
    told = (item for row in rows for item in flatten(row.used[use]["numbers"]).items())
    numbers = dict.fromkeys(name for name, value in told if value is not None)
    return Panel(use, tuple(options), tuple(numbers), there, tuple(_pictures(use, there, room)))


def _pictures(use: str, arms: Sequence[Arm], room: Room) -> Iterator[tuple[Arm, Row, dict[str, str]]]:
    """For each arm the pictures of its first run as data addresses, which are empty for those that the page does not take."""
    for arm in arms:
        row = next(row for row in arm.chosen.completed if use in row.used)
        names = [Path(str(file)).stem for file in row.used[use].get("files") or [] if str(file).endswith(".png")]
        images = {name: image for name in names if (image := image_of(row, name, LARGEST_CHART))}
        taken = {name: address(image) for name, image in images.items()} if room.takes(images) else {}
        if names:
            yield arm, row, {name[len(use) + 1 :]: taken.get(name, "") for name in names}
