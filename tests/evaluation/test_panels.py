"""Pictures of x of any number of channels: every pixel stands where it is said to, and drawing costs no number."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_kinds import ARRAYS, MLP
from small_runs import Lab

import vae_lab
from vae_lab.evaluation.panels import panel, visible

DRAWN = ["decoder=mlp", *(word for word in (*ARRAYS, *MLP) if not word.startswith("evaluation.figures"))]


@pytest.mark.parametrize(("channels", "across"), [(2, 2), (4, 2), (5, 3), (6, 3), (9, 3), (10, 4), (17, 5)])
def test_each_channel_is_a_grey_picture_in_its_place(channels: int, across: int) -> None:
    x = torch.rand(3, channels, 4, 6, generator=torch.Generator().manual_seed(0))
    seen = visible(x)
    assert seen.shape == (3, 1, -(-channels // across) * 4, across * 6)
    for c in range(channels):
        top, left = 4 * (c // across), 6 * (c % across)
        assert torch.equal(seen[:, 0, top : top + 4, left : left + 6], x[:, c])


@pytest.mark.parametrize("channels", range(1, 8))
def test_a_panel_shows_the_pixels(channels: int) -> None:
    """The nearest of 256 levels, black to white, four pixels wide with a margin of one; what lies beyond is cut off."""
    x = 3 * torch.rand(16, channels, 5, 4, generator=torch.Generator().manual_seed(1)) - 1
    picture = Image.open(io.BytesIO(panel(x)))
    assert picture.mode == ("RGB" if channels == 3 else "L")
    pixels = np.asarray(picture)[::4, ::4].reshape(*(side // 4 for side in picture.size[::-1]), -1)
    height, width = visible(x).shape[-2:]
    first_of_second_row = pixels[height + 2 + 1 : 2 * (height + 2) - 1, 1 : 1 + width]
    expected = (visible(x)[8].clamp(0, 1) * 255).round().movedim(0, -1).numpy()
    assert np.array_equal(first_of_second_row, expected)


def test_a_large_picture_is_enlarged_less() -> None:
    assert Image.open(io.BytesIO(panel(torch.zeros(16, 1, 1000, 1000)))).size == (2 * 8 * 1002, 2 * 2 * 1002)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_run_on_any_number_of_channels_has_its_pictures(channels: int, lab: Lab, in_tmp: Path) -> None:
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, channels, 6, 5)).astype(np.float32))
    said = lab("train", *DRAWN)
    assert (said.code, said.err) == (0, "")
    names = {path.name for path in Path("runs/solo").glob("*/figures/*")}
    assert names == {"originals.png", "reconstructions.png", "shuffled.png", "samples.png"}


def test_drawing_that_fails_costs_a_line_and_no_number(lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("Cannot handle this data type")

    np.save("x.npy", np.random.default_rng(0).random((60, 6, 5), dtype=np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(vae_lab.evaluation.panels.Image, "fromarray", broken)
        said = lab("train", *DRAWN)
    assert (said.code, said.out.count("left out"), said.err) == (0, 1, "")
    assert ": pictures left out, since drawing failed (TypeError: Cannot handle this data type)\n" in said.out
    (file,) = Path("runs/solo").glob("*/result.json")
    result = json.loads(file.read_text())
    assert result["status"] == "completed"
    lab("train", *DRAWN, "rerun=true")
    assert json.loads(file.read_text())["metrics"] == result["metrics"]
