"""Pictures of what a model does: originals, reconstructions, reconstructions from another example's z, and samples."""

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.distributions import stream_seed
from vae_lab.models import VAE, Autoencoding, Batch

COLUMNS, ROWS, SCALE = 8, 2, 4
LARGEST = 2**26  # pixels of a picture, beyond which it is enlarged less


@torch.no_grad()
def panels(model: VAE, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    """Images (n, channels, height, width) in [0, 1] by name, from the first 16 examples of `batch`.

    `shuffled` decodes each example with the next one's z. Pixels are drawn with the same random numbers in both, so a
    decoder that ignores z gives the very same picture. A model that is told labels has those of the examples. `samples` decodes the same z for every model with the same prior.
    Where the pixels are independent given z the mean of p(x|z) is shown, else a sample.
    """
    x, y = batch.x[: COLUMNS * ROWS], None if batch.y is None else batch.y[: COLUMNS * ROWS]
    at = model.given(y)
    z = at.encode(x).mean
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, "panel prior"))
        prior_z = at.draw_prior(len(x))
    return {
        "originals": x,
        "reconstructions": _decode(at, z, seed),
        "shuffled": _decode(at, z.roll(-1, 0), seed),
        "samples": _decode(at, prior_z, seed),
    }


def _decode(model: Autoencoding, z: Tensor, seed: int) -> Tensor:
    p = model.decode(z)
    mean = mean_of(p)
    if mean is not None:
        return mean.clamp(0, 1)
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, "panel pixels"))
        return p.sample().clamp(0, 1)


def mean_of(p: Distribution) -> Tensor | None:
    """The mean of p(x|z), None where it has none in closed form (an autoregressive one), or none at all: torch says NaN of
    categories."""
    try:
        mean = p.mean
    except NotImplementedError:
        return None
    return None if mean.isnan().all() else mean


def write_panels(images: dict[str, Tensor], directory: Path, columns: int = COLUMNS) -> None:
    """One PNG a panel, `columns` images a row, whole rows only where there are several."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, x in images.items():
        (directory / f"{name}.png").write_bytes(panel(x, columns))


def panel(x: Tensor, columns: int = COLUMNS) -> bytes:
    """Images (n, channels, height, width) in [0, 1] as one PNG, `columns` a row."""
    whole = _grid(visible(x.cpu().float()), columns)
    return png(whole, max(1, min(SCALE, math.isqrt(LARGEST // whole[0].numel()))))


def visible(x: Tensor) -> Tensor:
    """Images that can be seen, (n, 1 or 3, height', width'): of one channel grey, of three in colour, and of any other
    number every channel as a grey picture, in a grid that is nearly square, row by row."""
    n, channels, height, width = x.shape
    if channels in (1, 3):
        return x
    across = math.isqrt(channels - 1) + 1
    down = -(-channels // across)
    whole = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, across * down - channels), value=0.5)
    tiles = whole.reshape(n, down, across, height, width).transpose(2, 3)
    return tiles.reshape(n, 1, down * height, across * width)


def png(image: Tensor, scale: int) -> bytes:
    """An image (1 or 3, height, width), of which [0, 1] is black to white, as a PNG, its pixels kept square and sharp."""
    pixels, file = image.clamp(0, 1).mul(255).round().byte().movedim(0, -1).cpu().numpy(), io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    size = (picture.width * scale, picture.height * scale)
    picture.resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def _grid(x: Tensor, columns: int) -> Tensor:
    """(n, channels, height, width) to one image (channels, rows * height, columns * width) with a margin of a pixel."""
    x = torch.nn.functional.pad(x, (1, 1, 1, 1), value=0.5)
    rows = [torch.cat(list(row), -1) for row in x.split(columns) if len(row) == columns or len(x) < columns]
    return torch.cat(rows, -2)
