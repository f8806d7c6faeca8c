"""The names of everything that is measured, in one place. `docs/metrics.md` explains each with its formula."""

from typing import NamedTuple

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
    "elbo_se": Metric("standard error of elbo over examples", "nats"),
    "rate": Metric("KL(q(z|x) || p(z))", "nats"),
    "distortion": Metric("-E_q log p(x|z)", "nats", "min"),
    "nll": Metric("minus the importance-weighted bound of K samples", "nats", "min"),
    "nll_se": Metric("standard error of nll over examples", "nats"),
    "nll_tenth": Metric("the same from the first K/10 samples", "nats", "min"),
    "ess": Metric("effective sample size of nll, of K", "samples", "max"),
    "elbo_amortized": Metric("elbo with the q of the encoder alone, where inference refines it", "nats", "max"),
    "active_units": Metric(f"latents whose posterior mean varies by more than {ACTIVE_THRESHOLD}", "latents"),
    "mutual_information": Metric("plug-in lower bound of I(x; z); the rate is the upper one", "nats"),
    "mutual_information_se": Metric("standard error of mutual_information over examples", "nats"),
    "marginal_kl": Metric("upper bound of KL(q(z) || p(z)): rate - plug-in; 0 is the lower one", "nats"),
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
