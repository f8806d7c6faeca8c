"""The laws of decoders."""

import pytest
import torch
from law_options import every, node_of
from torch import Tensor

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
