"""Traversal: on the linear model everything is known; every kind of data; its chart."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest
from small_kinds import KINDS, Make
from small_runs import Lab, Said

import vae_lab
from vae_lab.data.linear_gaussian import LinearGaussian
from vae_lab.estimators import linear
from vae_lab.evaluation.interpolate import length
from vae_lab.evaluation.traverse import decoded, moved, usage
from vae_lab.models import VAE
from vae_lab.models.decoders import LinearDecoder
from vae_lab.models.encoders import LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior

PLACES = [3, 0, 4]  # of the three active latents, the most used first
DATA = LinearGaussian(train_size=8000)


@pytest.fixture(scope="module")
def planted() -> VAE:
    """The optimum of the linear VAE on the data, its active latents at `PLACES`."""
    w = torch.zeros(5, 5, dtype=torch.float64)
    w[:, PLACES] = DATA.weight()
    variance = DATA.noise / (w.square().sum(0) + DATA.noise)
    posterior, shape = DiagonalPosterior(5), [5]
    encoder, decoder = LinearEncoder(shape, posterior.outputs), LinearDecoder(5, shape, 1)
    with torch.no_grad():
        decoder.net.weight.copy_(w)
        decoder.net.bias.zero_()
        encoder[1].weight.copy_(torch.cat([w.T / (w.square().sum(0) + DATA.noise)[:, None], torch.zeros(5, 5)]))
        encoder[1].bias.copy_(torch.cat([torch.zeros(5), 0.5 * variance.log()]))
    likelihood = GaussianLikelihood(shape, DATA.noise**0.5)
    return VAE(encoder, Plain(), posterior, decoder, likelihood, StandardNormalPrior(5)).eval()


def test_latents_come_in_the_order_of_the_closed_form_rates(planted: VAE) -> None:
    found = usage(planted, DATA.batches("train", 300))
    truth = linear.optimum(DATA.spectrum, 5, DATA.noise).rates
    assert found.rates is not None
    assert found.order()[:3] == PLACES
    assert found.rates[found.order()].tolist() == pytest.approx(truth.tolist(), abs=1e-5)
    assert found.variances[[1, 2]].tolist() == [0, 0]


def test_the_draws_are_those_of_the_aggregate_posterior(planted: VAE) -> None:
    """At the optimum each latent's aggregate is the prior itself; of the means alone it would be narrower."""
    found = usage(planted, DATA.batches("train", 300))
    for j in range(5):
        assert kstest(found.draws[:, j].double().numpy(), "norm").pvalue > 1e-3
    means = planted.encode(next(iter(DATA.batches("train", 8000))).x).mean[:, PLACES[2]]
    assert kstest(means.detach().double().numpy(), "norm").pvalue < 1e-6


def test_a_latent_moves_x_by_its_column_and_an_inactive_one_not_at_all(planted: VAE) -> None:
    start, values = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.tensor([-1.3, 0.2, 2.2])
    w = planted.decoder.net.weight.detach()  # type: ignore[union-attr]
    for j in range(5):
        x = decoded(planted, moved(start, j, values))
        torch.testing.assert_close(x[1:] - x[:-1], torch.tensor([[1.5], [2.0]]) * w[:, j])  # type: ignore[index]
        assert length(x) == pytest.approx(3.5 * float(w[:, j].norm()), rel=1e-5)  # type: ignore[index]
    assert [length(decoded(planted, moved(start, j, values))) for j in (1, 2)] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_traversed(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("traverse", run, "steps=3", "tail=0.1", "example=2")
    assert (said.code, said.err) == (0, "")
    numbers = json.loads((run / "uses" / "traverse.json").read_text())["numbers"]
    result, loaded = json.loads((run / "result.json").read_text()), vae_lab.load(run)
    rates = result["details"]["test"]["rate_per_dimension"]
    told = numbers["latents"]
    assert numbers["examples"] == result["details"]["test"]["examples"]
    assert list(told) == ["rank_1", "rank_2"]
    assert [one["latent"] for one in told.values()] == [f"z{j}" for j in np.argsort(rates)[::-1]]
    assert [one["rate"] for one in told.values()] == pytest.approx(sorted(rates, reverse=True))
    x = next(iter(loaded.dataset().batches("test", 3))).x[2:]
    start = loaded.encode(x)[0]
    with (run / "uses" / "traverse_latents.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        z = moved(start, int(row["latent"]), torch.tensor([float(row[f"z_at_{q}"]) for q in ("0.1", "0.5", "0.9")]))
        assert float(row["length"]) == pytest.approx(length(decoded(loaded.model, z)), rel=1e-4)
    pictures = {path.stem for path in (run / "figures").glob("traverse_*.png")}
    name = "traverse_draw" if kind == "autoregressive" else "traverse_mean"
    assert pictures == (set() if kind == "vectors" else {name})
    for path in pictures:
        with Image.open(run / "figures" / f"{path}.png") as picture:
            assert picture.width > 2 * 3 * 64


def test_the_chart_shows_the_images_beside_their_rates(made: Make, lab: Lab) -> None:
    """Of a decoder that says grey to everything."""
    from vae_lab.uses.traversal import Traverse

    loaded = vae_lab.load(made("grey"))
    with torch.no_grad():
        for parameter in loaded.model.decoder.parameters():
            parameter.zero_()
        parameter.fill_(0.5)  # the last one is the bias of x
    answer = Traverse(latents=1, steps=3)(loaded, loaded.dataset())
    cells = answer.charts["mean"]["data"]["values"]
    told = answer.numbers["latents"]["rank_1"]
    assert {cell["latent"] for cell in cells} == {f"{told['latent']}: {told['rate']:.2f} nats"}
    assert [cell["quantile"] for cell in cells] == ["0.05", "0.5", "0.95"]
    with Image.open(io.BytesIO(base64.b64decode(cells[0]["url"].partition(",")[2]))) as picture:
        assert picture.getextrema() == (128, 128)
        assert picture.width / picture.height == pytest.approx(7 / 9)


def test_from_python_one_latent_takes_the_values_and_the_others_stay(made: Make) -> None:
    run = vae_lab.load(made("grey"))
    x = next(iter(run.dataset().batches("test", 3))).x[2]
    z = run.encode(x[None])
    found = run.traverse(x, 1, [-1.0, float(z[0, 1]), 2.0])
    with torch.no_grad():
        for one, value in zip(found, (-1.0, float(z[0, 1]), 2.0), strict=True):
            at = z.clone()
            at[0, 1] = value
            assert torch.allclose(one, run.model.decode(at).mean[0], atol=1e-6)
    assert torch.allclose(found[1], run.reconstruct(x[None]).mean[0], atol=1e-6)  # type: ignore[index]
    with pytest.raises(ValueError, match="latent 2 asked for; there are 2, from 0"):
        run.traverse(x, 2, [0.0])
    with pytest.raises(ValueError, match="this model takes a tensor"):
        run.traverse(x[None], 0, [0.0])


def test_a_rate_that_does_not_split_leaves_the_order_to_the_variance_of_the_means(lab: Lab, in_tmp: Path) -> None:
    words, _ = KINDS["vectors"]
    assert lab("train", *words, "prior=mixture").code == 0
    (run,) = Path("runs/solo").iterdir()
    assert lab("traverse", run, "example=null").code == 0
    told = json.loads((run / "uses" / "traverse.json").read_text())["numbers"]["latents"]
    assert {one["rate"] for one in told.values()} == {None}
    variances = json.loads((run / "result.json").read_text())["details"]["test"]["variances"]
    assert [one["variance"] for one in told.values()] == pytest.approx(sorted(variances, reverse=True))


WRONG = [
    ("example=50", "traverse.example: 50 given; the test split has 50 examples, from 0"),
    ("tail=0.5", "traverse.tail: 0.5 given; must be a number, above 0, below 0.5"),
    ("steps=1", "traverse.steps: 1 given; must be a whole number, at least 2"),
    ("latents=0", "traverse.latents: 0 given; must be a whole number, at least 1"),
]


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    for word, text in WRONG:
        assert lab("traverse", run, word) == Said(2, "", f"vae-lab: {text}\n")
    assert not (run / "uses").exists()
