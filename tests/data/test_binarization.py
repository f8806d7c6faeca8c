"""The probability of a drawn pixel, and which draws are fixed."""

from collections.abc import Callable

import pytest
import torch

from vae_lab.data import DataError, Dataset
from vae_lab.data.binarization import draw, fixed, uniform_levels
from vae_lab.data.dataset import kind_after
from vae_lab.distributions.streams import stream

GOLDEN = [172, 107, 59, 81, 127, 233, 220, 196]
HOWS = ("dynamic", "static", "threshold", "none")


@pytest.mark.parametrize("levels", [2, 3, 16, 100, 129, 200, 255])
def test_levels_are_drawn_uniformly(levels: int) -> None:
    n = 400_000
    counts = torch.bincount(uniform_levels(n, levels, stream(0, "test", levels)).long(), minlength=levels)
    assert len(counts) == levels
    chi2 = float(((counts - n / levels) ** 2 / (n / levels)).sum())
    assert chi2 < levels - 1 + 5 * (2 * levels) ** 0.5


@pytest.mark.parametrize("levels", [16, 255])
def test_a_pixel_is_one_with_the_probability_of_its_level(levels: int) -> None:
    n = 20_000
    x = torch.arange(levels + 1, dtype=torch.uint8).repeat(n, 1)
    p = torch.arange(levels + 1) / levels
    drawn = draw(x, levels, stream(0, "test"))
    assert drawn.dtype == torch.float32
    assert (drawn.mean(0) - p).abs().le(5 * (p * (1 - p) / n).sqrt()).all()  # so 0 and 1 are exact
    grey = draw(p.repeat(n, 1), 1, stream(0, "test"))
    assert (grey.mean(0) - p).abs().le(5 * (p * (1 - p) / n).sqrt()).all()


def test_pixels_and_batches_are_drawn_independently() -> None:
    x = torch.full((4000, 16), 8, dtype=torch.uint8)
    a, b = (draw(x, 16, stream(0, "test", counter)) for counter in (0, 1))
    correlation = torch.corrcoef(torch.cat([a, b], 1).T) - torch.eye(32)
    assert float(correlation.abs().max()) < 5 / 4000**0.5


def test_the_threshold_is_one_half() -> None:
    assert fixed(torch.tensor([0, 127, 128, 255], dtype=torch.uint8), 255, "threshold", 0, "train").tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert fixed(torch.tensor([8, 9], dtype=torch.uint8), 16, "threshold", 0, "train").tolist() == [False, True]
    assert fixed(torch.tensor([0.5, 0.6]), 1, "threshold", 0, "train").tolist() == [False, True]


@pytest.mark.parametrize("how", HOWS)
def test_only_dynamic_training_is_redrawn(how: str, make: Callable[..., Dataset]) -> None:
    loader = make("digits", binarization=how).batches("train", 1197, shuffle=True)
    epochs = []
    for _ in range(2):
        batch = next(iter(loader))
        assert batch.index is not None
        epochs.append(batch.x[batch.index.argsort()])
    assert torch.equal(*epochs) == (how != "dynamic")


@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_val_and_test_follow_their_own_seed(how: str, make: Callable[..., Dataset]) -> None:
    def val(**settings: int) -> torch.Tensor:
        return next(iter(make("digits", binarization=how, **settings).batches("val", 300))).x

    assert torch.equal(val(), val())
    assert not torch.equal(val(), val(binarization_seed=1))


def test_val_is_never_redrawn(make: Callable[..., Dataset]) -> None:
    loader = make("digits").batches("val", 300, shuffle=True)
    a, b = next(iter(loader)), next(iter(loader))
    assert a.index is not None
    assert b.index is not None
    assert torch.equal(a.x[a.index.argsort()], b.x[b.index.argsort()])


def test_grey_is_level_over_levels(make: Callable[..., Dataset]) -> None:
    data = make("digits", binarization="none")
    assert torch.equal(next(iter(data.batches("val", 300))).x, data.load("val").x.float() / 16)
    assert data.spec().kind == "unit"


def test_real_x_has_no_level_to_draw_from() -> None:
    assert kind_after("real", "none") == "real"
    with pytest.raises(DataError, match=r"^dataset.binarization=static needs x in \[0, 1\].*binarization=none$"):
        kind_after("real", "static")


def test_split_names_are_checked(make: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match="there is no split 'dev': use train, val or test"):
        make("digits").load("dev")


def test_the_first_draws_are_what_they_always_were() -> None:
    """A change here changes every stored result: raise the numerics version."""
    assert uniform_levels(8, 255, stream(0, "golden")).tolist() == GOLDEN
    x = torch.full((8,), 128, dtype=torch.uint8)
    assert draw(x, 255, stream(0, "golden")).tolist() == [float(r < 128) for r in GOLDEN]
