"""Under bf16-mixed only the networks are in bfloat16: rate, distortion and loss are float32, and near those of float32."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_combinations import SMALL, Steps

from vae_lab.config import composer
from vae_lab.options import groups
from vae_lab.request import request
from vae_lab.training.step import loss_of, terms_of

GREY = ["dataset.binarization=none"]
WORDS = [
    *([f"likelihood={name}", *(GREY if name != "bernoulli" else [])] for name in groups()["likelihood"]),
    *([f"parametrization={name}"] for name in groups()["parametrization"]),
    ["encoder=conv", "decoder=conv"],
    ["decoder=pixelcnn", "bound=iwae"],
    ["prior=mixture"],
    ["inference=semi_amortized"],
    ["regularizer=[mmd,dip]"],
    ["labels=given"],
]


@pytest.fixture(scope="module")
def compose() -> Iterator[Any]:
    with composer() as compose:
        yield compose


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_what_is_summed_is_float32(words: list[str], compose: Any) -> None:
    steps = Steps(request(compose([*SMALL, *words])))
    module: Any = steps.module.train()
    batch = next(iter(steps.batches))
    inputs = module.step_inputs(batch, torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    full = terms_of(module.model, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(2)
        mixed = terms_of(module.model, inputs)
        assert loss_of(module.model, module.objective, inputs).loss.dtype == torch.float32
    assert mixed.rate.dtype == mixed.distortion.dtype == mixed.log_w.dtype == torch.float32
    torch.testing.assert_close(mixed.elbo, full.elbo, rtol=0.02, atol=0.1)
