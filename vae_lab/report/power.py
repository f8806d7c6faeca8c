"""The differences that a design of so many settings and runs can show, before it is run and after."""

from vae_lab.report.simultaneous import FEWEST, detectable, full_layout
from vae_lab.report.words import number

POWER = 0.8
RUNS = (3, 5, 10, 20)


def power_of(settings: int, references: int, runs: int, sd: float | None = None) -> str:
    """Says which difference from the reference a study shows four times in five, with its runs a setting and with more.

    Arguments:
        runs: of each setting, one a seed.
        sd: of one run, in nats; without it differences are told in standard deviations of a run.
    """
    if runs < FEWEST:
        return f"with fewer than {FEWEST} runs of a setting no difference can be shown"
    counts = (runs, *[count for count in RUNS if count > runs][:3])
    sizes = {n: detectable(full_layout(settings, n, references), POWER) for n in counts}
    unit = "standard deviations of a run" if sd is None else f"nats, if every setting scatters by {number(sd)} nats"
    scale = 1.0 if sd is None else sd
    others = ", ".join(f"{number(size * scale)} with {n}" for n, size in sizes.items() if n != runs)
    rest = f" ({others})" if others else ""
    return (
        f"{runs} runs of a setting would show, four times in five, a difference of "
        f"{number(sizes[runs] * scale)} {unit}{rest}."
    )
