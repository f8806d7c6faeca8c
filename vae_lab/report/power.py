"""The differences that a design of so many settings and seeds can show, before it is run and after."""

from vae_lab.amounts import counted
from vae_lab.report.simultaneous import detectable, full_layout
from vae_lab.report.words import number

POWER = 0.8
SEEDS = (3, 5, 10, 20)


def power_of(settings: int, references: int, seeds: int, sd: float | None = None) -> str:
    """Says which difference from the reference a study shows four times in five, with its seeds and with more.

    Arguments:
        sd: of one run, in nats; without it differences are told in standard deviations of a run.
    """
    if seeds < 2:
        return "with one seed no difference can be shown"
    more = [count for count in SEEDS if count > seeds][:3]
    sizes = {n: detectable(full_layout(settings, n, references), POWER) for n in (seeds, *more)}
    unit = "standard deviations of a run" if sd is None else f"nats, where runs scatter by {number(sd)} nats"
    scale = 1.0 if sd is None else sd
    others = ", ".join(f"{number(size * scale)} with {n}" for n, size in sizes.items() if n != seeds)
    rest = f" ({others})" if others else ""
    return (
        f"{counted(seeds, 'seed')} would show, four times in five, a difference of "
        f"{number(sizes[seeds] * scale)} {unit}{rest}."
    )
