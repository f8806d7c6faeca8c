"""What the documents and the studies say is what the code holds."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from vae_lab.estimators import linear
from vae_lab.identity import TOP_LEVEL
from vae_lab.metrics import METRICS
from vae_lab.options import groups

ROOT = Path(__file__).parent.parent


def test_every_metric_is_explained() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert [name for name in METRICS if not re.search(rf"`(\w+/)?{name}`", text)] == []


def test_the_readme_names_every_option() -> None:
    text = (ROOT / "README.md").read_text()
    missing = {
        f"{group}={option}"
        for group, options in groups().items()
        if group not in ("experiment", "arm", "regularizer", "evaluation")
        for option in options
        if f"`{option}`" not in text
    }
    assert missing == set()


def test_the_identity_knows_the_defaults_of_the_primary_config() -> None:
    written = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())
    assert {key: written[key] for key in TOP_LEVEL if key in written} == {
        k: v for k, v in TOP_LEVEL.items() if k in written
    }


def test_the_readme_is_finished_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert "@@" not in text
    assert [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()] == []


EIGENVALUES, NOISE = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2]), 0.6
FLOOR = 0.25


def predictions() -> dict[str, linear.LinearOptimum]:
    best = linear.best_noise(EIGENVALUES, 3)
    return {
        "elbo": linear.optimum(EIGENVALUES, 5, NOISE),
        "beta_2": linear.optimum(EIGENVALUES, 5, NOISE, beta=2),
        "beta_half": linear.optimum(EIGENVALUES, 5, NOISE, beta=0.5),
        "two_latents": linear.optimum(EIGENVALUES, 2, NOISE),
        "shared_sigma": linear.optimum(EIGENVALUES, 3, best),
        "optimal_sigma": linear.optimum(EIGENVALUES, 3, best),
        "total_free_bits": linear.at_total_rate(EIGENVALUES, 5, NOISE, 2.3),
        "above_the_threshold": linear.optimum(EIGENVALUES, 5, 4.1),
    }


def predicted(arm: str, metric: str) -> float:
    if arm == "free_bits_diagonal":
        return float(linear.optimum(EIGENVALUES, 5, NOISE).rates.clamp(min=FLOOR)[int(metric.rpartition("/")[2])])
    truth = predictions()[arm]
    if "rate_per_dimension" in metric:
        return float(truth.rates[int(metric.rpartition("/")[2])])
    values = {"rate": truth.rate, "elbo": truth.elbo, "nll": -truth.elbo, "active_units": truth.active_units}
    return float(values[metric.partition("/")[2]])


def test_the_predictions_of_linear_truth_are_those_of_the_closed_form() -> None:
    study = yaml.safe_load((ROOT / "experiments" / "linear_truth" / "study.yaml").read_text())
    rows = study["study"]["predicted"]
    assert {row["arm"] for row in rows} == set(study["arms"])
    for row in rows:
        assert row["value"] == pytest.approx(predicted(row["arm"], row["metric"]), abs=6e-5), row
