"""The names of everything that is measured, in one place. `docs/metrics.md` explains each with its formula."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from vae_lab.errors import RequestError, listed, nearest

ACTIVE_THRESHOLD = 0.01
"""The variance of a posterior mean above which a latent counts as active (Burda et al. 2016, section 5.2)."""


class Metric(NamedTuple):
    """What a figure is, its unit, and which way is better (None where neither is)."""

    meaning: str
    unit: str
    better: str | None = None


METRICS: dict[str, Metric] = {
    "loss": Metric("the trained objective, bent as its settings say", "nats"),
    "beta": Metric("the weight of the rate in the loss", ""),
    "elbo": Metric("-(rate + distortion) at beta = 1", "nats", "max"),
    "rate": Metric("KL(q(z|x) || p(z))", "nats"),
    "distortion": Metric("-E_q log p(x|z)", "nats", "min"),
    "nll": Metric("minus the importance-weighted bound of K samples", "nats", "min"),
    "nll_tenth": Metric("the same from the first K/10 samples", "nats", "min"),
    "ess": Metric("effective sample size of nll, of K", "samples", "max"),
    "elbo_amortized": Metric("elbo with the q of the encoder alone, where inference refines it", "nats", "max"),
    "active_units": Metric(f"latents whose posterior mean varies by more than {ACTIVE_THRESHOLD}", "latents"),
    "mutual_information": Metric("plug-in lower bound of I(x; z), at most the rate, which is the upper one", "nats"),
    "marginal_kl": Metric("upper bound of KL(q(z) || p(z)): rate - plug-in; 0 is the lower one", "nats"),
}
_AVERAGES = [name for name in METRICS if name not in ("loss", "beta", "active_units")]
METRICS |= {
    f"{name}_se": Metric(f"standard error of {name} over examples and draws", METRICS[name].unit) for name in _AVERAGES
}
METRICS |= {
    f"{name}_mcse": Metric(f"Monte Carlo standard error of {name}, over draws alone", "nats")
    for name in ("elbo", "rate", "distortion", "nll")
}
SPLITS = ("val", "test")


def reported() -> list[str]:
    """The names under which a finished run holds its figures."""
    return [f"{split}/{name}" for split in SPLITS for name in METRICS]


def better(metric: str) -> str:
    """Which way a validation figure that something is chosen by is better: `max` or `min`. Errors: `RequestError` for one
    of which neither way is."""
    known = {f"val/{name}": each.better for name, each in METRICS.items() if each.better}
    if metric not in known:
        raise RequestError(
            f"{metric} given, of which neither way is better; allowed: {listed(known)}{nearest(metric, known)}"
        )
    return known[metric]


DOUBTED = ("mutual_information", "marginal_kl")
FEWEST_EXAMPLES = 30
"""Of fewer a standard error is off by a seventh and more, and the aggregate posterior is a sum of few bumps."""
_NOISY, _CAP = (
    0.05,
    0.05,
)  # nats: the standard error above which noise misleads; the distance within which a cap is reached


def information_bound(plug_in: float, rate: float) -> float:
    """The plug-in mutual information cut to what it can be, between 0 and the rate of the same examples.

    Without noise it is the mean of KL(q(z|x_n) || q(z)), which is not negative, and the rate less KL(q(z) || p(z)) with q(z)
    of these very examples (Hoffman and Johnson 2016): what lies outside is the noise of the draws.

    Example:
        >>> information_bound(0.58, 0.43), information_bound(0.40, 0.43), information_bound(-0.01, 0.43)
        (0.43, 0.4, 0.0)
    """
    return min(max(plug_in, 0.0), max(rate, 0.0))


def information_doubt(figure: Callable[[str], Any], examples: int | None) -> str:
    """Says why the mutual information of a split, and the marginal KL that follows from it, cannot be trusted; empty where
    they can. Older results hold it uncut.

    Arguments:
        figure: gives a figure of the split by its name, None where there is none. examples: of the split.

    Example:
        >>> information_doubt({"mutual_information": 0.43, "mutual_information_se": 0.2, "rate": 0.43}.get, 20)
        'noise took it to the rate, which it cannot exceed; fewer than 30 examples'
        >>> information_doubt({"mutual_information": 5.70, "mutual_information_se": 0.0, "rate": 9.0}.get, 300)
        'at its cap, ln 300'
    """
    bound, error, rate = figure("mutual_information"), figure("mutual_information_se") or 0.0, figure("rate")
    if bound is None or rate is None:
        return ""
    reasons = {
        "noise took it to the rate, which it cannot exceed": bound >= rate and error > _NOISY,
        "noise took it to 0, which it cannot be below": bound <= 0 and error > _NOISY,
        f"fewer than {FEWEST_EXAMPLES} examples": examples is not None and examples < FEWEST_EXAMPLES,
        f"at its cap, ln {examples}": bool(examples) and bound > math.log(examples or 1) - _CAP,
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)
