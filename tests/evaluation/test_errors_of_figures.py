"""The errors beside the figures, against the spread of the figures themselves; and figures that cannot be trusted."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vae_lab.distributions import diagonal
from vae_lab.evaluation import Evaluation, evaluate
from vae_lab.metrics import METRICS, information_bound, information_doubt
from vae_lab.models import VAE, Batch
from vae_lab.models.decoders import LinearDecoder
from vae_lab.models.encoders import LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import MixturePrior, StandardNormalPrior

D, K, N, REPEATS = 3, 2, 60, 120
AVERAGES = ["elbo", "rate", "distortion", "nll", "nll_tenth", "ess", "mutual_information", "marginal_kl"]
DRAWN = ["elbo", "rate", "distortion", "nll"]
NEAR = 5 / math.sqrt(2 * REPEATS)
"""Five standard errors of the ratio of a standard deviation over repeats to the true one."""


def model(prior: str, scale: float = 0.6, slope: float = 1.0) -> VAE:
    torch.manual_seed(0)
    priors = {"mixture": partial(MixturePrior, components=3), "normal": StandardNormalPrior}
    encoder, decoder = LinearEncoder([D], 2 * K), LinearDecoder(K, [D], 1)
    made = VAE(encoder, Plain(), DiagonalPosterior(K), decoder, GaussianLikelihood([D], 1.0), priors[prior](K))
    with torch.no_grad():
        encoder[1].weight[:K] *= slope
        encoder[1].weight[K:] = 0.0
        encoder[1].bias[K:] = math.log(scale)
    return made.eval()


class Source:
    def __init__(self, n: int = N, seed: int = 0) -> None:
        self.x = torch.randn(n, D, generator=torch.Generator().manual_seed(seed))

    def batches(self, split: str, batch_size: int, device: torch.device | str = "cpu") -> list[Batch]:
        return [Batch(part) for part in self.x.split(batch_size)]


def figures(made: VAE, source: Source, **settings: Any) -> tuple[dict[str, float], dict[str, Any]]:
    metrics, details = evaluate(made, source, Evaluation(**{"nll_samples": 20} | settings), splits=("test",))
    return {name.removeprefix("test/"): value for name, value in metrics.items()}, details["test"]


def spreads(repeats: list[dict[str, float]], names: list[str]) -> Tensor:
    return torch.tensor([[row[name] for name in names] for row in repeats], dtype=torch.float64).std(0)


@pytest.mark.parametrize(("prior", "draws"), [("mixture", 1), ("mixture", 3), ("normal", 1)])
def test_the_monte_carlo_error_is_the_spread_over_seeds_of_the_evaluation(prior: str, draws: int) -> None:
    made, source = model(prior), Source()
    repeats = [figures(made, source, seed=seed, elbo_samples=draws)[0] for seed in range(REPEATS)]
    spread = spreads(repeats, DRAWN)
    if prior == "normal":  # the rate is a closed form
        assert spread[1] == repeats[0]["rate_mcse"] == 0
    stated = torch.tensor([[row[f"{name}_mcse"] for name in DRAWN] for row in repeats]).mean(0)
    for name, one, other in zip(DRAWN, stated.tolist(), spread.tolist(), strict=True):
        assert one == pytest.approx(other, rel=NEAR), name


def test_the_standard_error_is_the_spread_over_new_examples_and_draws() -> None:
    made = model("mixture")
    repeats = [figures(made, Source(seed=seed), seed=seed)[0] for seed in range(REPEATS)]
    spread = spreads(repeats, AVERAGES)
    stated = torch.tensor([[row[f"{name}_se"] for name in AVERAGES] for row in repeats]).mean(0)
    for name, one, other in zip(AVERAGES, stated.tolist(), spread.tolist(), strict=True):
        assert one == pytest.approx(other, rel=NEAR), name
        assert f"{name}_se" in METRICS
    assert {f"{name}_mcse" for name in DRAWN} <= METRICS.keys()


def test_one_example_or_one_draw_has_no_error() -> None:
    """A standard error of 0 would say that the figure is exact."""
    alone, _ = figures(model("mixture"), Source(1))
    assert all(math.isnan(alone[f"{name}_se"]) for name in AVERAGES)
    once, _ = figures(model("mixture"), Source(), nll_samples=1)
    assert all(math.isnan(once[f"{name}_mcse"]) for name in DRAWN)


# ---- the interval of the mutual information


@pytest.mark.parametrize("prior", ["mixture", "normal"])
def test_the_interval_of_few_examples_is_never_upside_down(prior: str) -> None:
    """One draw each: where the aggregate is nearly the prior, a good part of these would lie above the rate."""
    made = model(prior, 0.9, slope=0.6)
    for seed in range(60):
        found, details = figures(made, Source(12, seed), seed=seed, nll_samples=2)
        assert 0 <= found["mutual_information"] <= max(found["rate"], 0)
        assert found["marginal_kl"] >= 0
        assert found["marginal_kl"] == pytest.approx(max(found["rate"], 0) - found["mutual_information"])
        assert "fewer than 30 examples" in details["doubts"]["mutual_information"]
        assert details["doubts"]["marginal_kl"] == details["doubts"]["mutual_information"]


def test_what_noise_has_taken_beyond_a_bound_is_told_and_what_it_has_not_is_trusted() -> None:
    made, cut = model("normal", 0.9, slope=0.6), 0
    for seed in range(40):
        found, details = figures(made, Source(40, seed), seed=seed, nll_samples=2)
        is_cut = found["mutual_information"] in (0.0, found["rate"])
        assert bool(details["doubts"]) == is_cut
        cut += is_cut
    assert 0 < cut < 40
    assert figures(made, Source(2000), nll_samples=2)[1]["doubts"] == {}


def test_a_code_that_says_more_than_the_examples_can_show_is_told() -> None:
    found, details = figures(model("normal", scale=1e-4), Source(100), nll_samples=2)
    assert found["mutual_information"] == pytest.approx(math.log(100), abs=1e-3)
    assert details["doubts"]["mutual_information"] == "at its cap, ln 100"


def test_the_bound_that_is_cut_is_exact_where_nothing_is_drawn() -> None:
    """Mean KL(q_n || q) by quadrature lies between 0 and the mean KL(q_n || p), whatever p is: the cut loses nothing."""
    grid = torch.linspace(-12, 12, 20001, dtype=torch.float64)[:, None]
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 15):
        loc, log_scale = torch.randn(2, n, 1, generator=generator, dtype=torch.float64)
        q, p = diagonal(loc, 0.3 * log_scale), diagonal(loc[0] + 1, log_scale[0])
        log_q = torch.stack([diagonal(loc[i], 0.3 * log_scale[i]).log_prob(grid) for i in range(n)])
        mixture = MixtureSameFamily(Categorical(torch.ones(n)), Independent(Normal(q.mean, q.stddev), 1))
        step = float(grid[1] - grid[0])
        information, rate = (
            float((log_q.exp() * (log_q - other.log_prob(grid))).sum() * step / n) for other in (mixture, p)
        )
        assert information_bound(information, rate) == pytest.approx(information, abs=1e-9)


def test_uncut_results_of_older_runs_are_doubted() -> None:
    older = {"mutual_information": 0.58, "mutual_information_se": 0.2, "rate": 0.43}
    assert "cannot exceed" in information_doubt(older.get, None)
    assert information_doubt({"mutual_information": 0.4, "mutual_information_se": 0.02, "rate": 0.43}.get, 300) == ""
    assert information_doubt({}.get, 300) == ""
