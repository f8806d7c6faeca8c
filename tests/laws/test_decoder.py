"""The laws of decoders."""

import pytest
import torch
from law_options import every, node_of
from torch import Tensor, nn

from vae_lab.testing import check_decoder, dependence, make


@every("decoder")
def test_a_decoder_keeps_its_laws(name: str) -> None:
    check_decoder(node_of("decoder", name))


def documented_field(height: int, width: int, receptive_field: int) -> Tensor:
    """Which pixels each pixel sees by the words of PixelCNNDecoder's docstring: so many to the left in its own row, and
    so many rows up, there one less to either side."""
    rows, columns = torch.arange(height * width) // width, torch.arange(height * width) % width
    up, left = rows[:, None] - rows, columns[:, None] - columns
    own_row = (up == 0) & (left >= 1) & (left <= receptive_field)
    return own_row | ((up >= 1) & (up <= receptive_field) & (left.abs() <= receptive_field - 1))


@pytest.mark.parametrize(("receptive_field", "layers"), [(1, 2), (2, 1), (3, 2), (5, 2), (4, 1), (9, 3)])
def test_a_pixelcnn_sees_exactly_its_receptive_field(receptive_field: int, layers: int) -> None:
    torch.manual_seed(0)
    shape = (1, 6, 7)
    settings = {"receptive_field": receptive_field, "layers": layers, "channels": 6}
    decoder = make(node_of("decoder", "pixelcnn", **settings), shape=list(shape), latent_dim=2, arity=2)
    assert torch.equal(dependence(decoder, shape, 2), documented_field(6, 7, receptive_field))


# ---- skip connections

FED = {"mlp": ["net.layers.0", "net.layers.1", "net.layers.2"],
       "conv": ["net.0.layers.0", "net.0.layers.1", "shifts.0", "shifts.1"],
       "pixelcnn": ["shifts.0", "layers.0.z_to_left", "layers.1.z_to_left", "shifts.1", "shifts.2"]}  # fmt: skip
"""The parts of each decoder, at its default depth, through which z enters a layer, in order."""

ours = pytest.mark.parametrize("name", FED)


@every("decoder", "skip")
def test_a_decoder_with_skip_keeps_its_laws(name: str) -> None:
    check_decoder(node_of("decoder", name, skip=True))


def logits(name: str, decoder: nn.Module, z: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Raw parameters of p(x|z), for one x."""
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    result: Tensor = decoder.conditional(x, z) if name == "pixelcnn" else decoder.raw(z)  # type: ignore[operator]
    return result


def make_seeded(name: str, **settings: bool) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = make(node_of("decoder", name, **settings), shape=[1, 6, 7], latent_dim=3, arity=1)
    return module


def built(name: str, **settings: bool) -> nn.Module:
    module = make_seeded(name, **settings)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # shifts start at zero
    return module


@ours
def test_without_skip_a_decoder_has_what_it_always_had(name: str) -> None:
    keys = {"mlp": "net.0 net.2 net.4", "conv": "net.0.0 net.0.2 net.3 net.5"}
    always = [f"{key}.{kind}" for key in keys.get(name, "").split() for kind in ("weight", "bias")]
    found = list(built(name).state_dict())
    assert found == always or (name == "pixelcnn" and not any(key.startswith("shifts") for key in found))
    assert any("shifts" in key or "layers" in key for key in set(built(name, skip=True).state_dict()) - set(found))


@ours
def test_shifts_start_at_zero_and_leave_the_draws_alone(name: str) -> None:
    """A PixelCNN with skip connections starts as the one without, weight by weight."""
    with_skip, plain = (make_seeded(name, skip=skip).state_dict() for skip in (True, False))
    for key in with_skip:
        if "shifts" in key:
            assert not with_skip[key].any()
        elif name == "pixelcnn":
            assert torch.equal(with_skip[key], plain[key])


@pytest.mark.parametrize(("name", "place"), [(name, place) for name, places in FED.items() for place in places])
def test_z_reaches_every_layer_by_a_way_of_its_own(name: str, place: str) -> None:
    """With every other entrance of z closed, the output depends on z through this one alone."""
    decoder, z = built(name, skip=True), torch.randn(2, 3)
    with torch.no_grad():
        for other in FED[name]:
            if other != place:
                decoder.get_submodule(other).weight[:, -3:] = 0  # the columns that z meets
    first, second = logits(name, decoder, z, (1, 6, 7)).unbind(0)
    assert not torch.allclose(first, second, atol=1e-4)
    with torch.no_grad():
        decoder.get_submodule(place).weight[:, -3:] = 0
    first, second = logits(name, decoder, z, (1, 6, 7)).unbind(0)
    torch.testing.assert_close(first, second)  # some processors multiply two rows of a matrix in two ways


@ours
def test_z_is_seen_behind_a_first_layer_that_is_cut(name: str) -> None:
    decoder, z = built(name, skip=True), torch.randn(2, 3)
    with torch.no_grad():
        decoder.get_submodule(FED[name][0]).weight.zero_()
    first, second = logits(name, decoder, z, (1, 6, 7)).unbind(0)
    assert not torch.allclose(first, second, atol=1e-4)
