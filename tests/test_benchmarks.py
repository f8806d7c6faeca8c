"""What the benchmarks compare is the same: networks, loss and NLL of the bare loop are the lab's."""

import pytest
import torch
from torch import nn

from benchmarks.contenders import bare, floor
from benchmarks.contenders.lab import words_of
from benchmarks.contenders.nets import DRAWS, IMPORTANCE, nets
from benchmarks.loops import parts
from vae_lab import compose
from vae_lab.config import resolve
from vae_lab.evaluation.nll import importance_nll
from vae_lab.models import VAE, Batch
from vae_lab.objectives import Objective

X = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1)).round()


def both(model: str) -> tuple[VAE, Objective, nn.Module, nn.Module]:
    """The lab's parts, and the bare networks with the same weights."""
    vae, objective, _ = parts(resolve(compose(*words_of(model, "6"))))
    encoder, decoder = nets(model)
    for mine, theirs in ((vae.encoder, encoder), (vae.decoder, decoder)):
        theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
    return vae, objective, encoder, decoder


@pytest.mark.parametrize("model", ["vae", "conv", "iwae"])
def test_the_bare_loop_minimises_what_the_lab_does(model: str) -> None:
    vae, objective, encoder, decoder = both(model)
    samples = DRAWS.get(model, 1)
    assert samples == objective.samples
    torch.manual_seed(3)
    noise = torch.randn(samples, len(X), 50)
    torch.manual_seed(3)
    theirs = bare.loss_of(encoder, decoder, X, samples)
    mine = objective(vae.terms(Batch(X), noise), objective.coefficients(0))
    torch.testing.assert_close(theirs, mine, rtol=1e-5, atol=1e-3)


def test_the_bare_nll_estimates_what_the_labs_does() -> None:
    """Of the first weights, whose importance weights vary little."""
    vae, _, encoder, decoder = both("nll")
    torch.manual_seed(4)
    assert abs(bare.nll_of(encoder, decoder, X) - float(importance_nll(vae, [Batch(X)], IMPORTANCE).nll.mean())) < 0.5


def test_the_floor_is_the_products_of_a_step() -> None:
    """Six linear layers: each a product forward, and two backward but for the first, which asks nothing of x."""
    calls = floor.products("vae", 20)
    assert len(calls) == 6 + 6 + 5
    for call in calls:
        call()
