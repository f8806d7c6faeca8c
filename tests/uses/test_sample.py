"""New examples: from the model's own distribution, and told from copies."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from small_kinds import KINDS, Make
from small_runs import Lab, Said

import vae_lab
from vae_lab.evaluation.generate import nearest


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_new_examples(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("sample", run, "count=7")
    assert (said.code, said.err) == (0, "")
    numbers = json.loads((run / "uses" / "sample.json").read_text())["numbers"]
    loaded = vae_lab.load(run)
    found, data = loaded.sample(7), loaded.dataset()
    train, test = (next(iter(data.batches(split, 10_000))).x for split in ("train", "test"))
    assert found.draw.shape == (7, *train.shape[1:])
    assert (found.mean is None) == (kind == "autoregressive")
    tree = cKDTree(train.flatten(1).double().numpy())
    for name, x in (("samples", found.draw), ("test", test[:7])):
        distances, _ = tree.query(x.flatten(1).double().numpy())
        told = numbers["nearest_training_distance"]
        assert (told[name], told[f"{name}_least"]) == pytest.approx((distances.mean(), distances.min()), abs=1e-5)
    names = {Path(line).stem for line in said.out.splitlines() if line.endswith(".png")}
    expected = {"sample_draw", "sample_nearest"} | ({"sample_mean"} if found.mean is not None else set())
    assert names == (expected if train.dim() == 4 else set())


def test_samples_of_a_linear_model_have_its_covariance(made: Make) -> None:
    """x = W z + b + sigma e with z and e standard normal: mean b and covariance W W^T + sigma^2 I."""
    loaded = vae_lab.load(made("vectors"))
    n = 40_000
    found = loaded.sample(n)
    with torch.no_grad():
        origin = loaded.model.decode(torch.zeros(1, found.z.shape[1])).mean[0]
        w = loaded.model.decode(torch.eye(found.z.shape[1])).mean - origin
        variance = loaded.model.decode(torch.zeros(1, found.z.shape[1])).variance[0]
    covariance = (w.T @ w + variance.diag()).double().numpy()
    x = found.draw.double().numpy()
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(x.mean(0) - origin.numpy()).max() < 5 * sd.max() / np.sqrt(n)
    spread = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / n)  # of an entry of the sample covariance (Isserlis)
    assert (np.abs(np.cov(x.T) - covariance) / spread).max() < 5


def test_the_same_seed_draws_the_same_whatever_was_drawn_before(made: Make) -> None:
    loaded = vae_lab.load(made("binary"))
    first = loaded.sample(5, seed=3)
    torch.rand(7)
    again = loaded.sample(5, seed=3)
    assert torch.equal(first.z, again.z)
    assert torch.equal(first.draw, again.draw)
    assert not torch.equal(first.z, loaded.sample(5, seed=4).z)


def test_copies_lie_at_distance_zero_from_what_they_copy() -> None:
    others = torch.randn(3000, 2, 5, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([0, 17, 1023, 1024, 2999])
    found = nearest(others[rows], others)
    assert torch.equal(found.rows, rows)
    assert found.distances.tolist() == pytest.approx([0] * 5, abs=1e-6)


def test_of_equal_neighbours_the_first_is_named() -> None:
    assert nearest(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).rows.tolist() == [0]


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    assert lab("sample", run, "count=-1") == Said(
        2, "", "vae-lab: sample.count: -1 given; must be a whole number, at least 1, at most 100000\n"
    )
    assert lab("sample").err == "vae-lab: sample: which run? vae-lab sample RUN [option=value ...]\n"
    assert lab("sample", run, "count=1000000000").code == 2
    assert lab("sample", "count=3", run).code == 0
    with pytest.raises(ValueError, match="0 samples asked for"):
        vae_lab.load(run).sample(0)
