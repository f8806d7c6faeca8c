"""PNG and JPEG files: found in a folder, and read as pixels of one size, of 8 or 16 bits."""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vae_lab.data.dataset import DataError
from vae_lab.errors import first_line

Fit = Literal["crop", "stretch"]
SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F")  # and I;16 ...: more than 8 bits a pixel
_TOP = 65535  # the level of 16 bits that means 1
_SAID_EVERY = 10.0  # seconds
_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A picture: its name below the folder, with its size and time of change, by which it is known to be the same."""

    name: str
    size: int
    changed: int


def pictures(path: Path) -> tuple[tuple[Found, ...], list[str]]:
    """The PNG and JPEG files of a folder and of those in it, in the order of their names, or a file itself; and the names of
    other files. What begins with a dot is not looked at. Raises DataError where there is none."""
    if path.is_file():
        return (_found(path, path.name),), []
    names = [*_names(path)]
    chosen = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not chosen:
        state = "has no .png, .jpg or .jpeg in it" if path.is_dir() else "is missing"
        raise DataError(f"{path} {state}: set dataset.path= to a folder of pictures")
    return tuple(_found(path / name, name) for name in chosen), sorted(set(names) - set(chosen))


def _names(path: Path) -> list[str]:
    found = []
    for folder, inner, files in os.walk(path, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(folder, name).relative_to(path).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def _found(path: Path, name: str) -> Found:
    stat = path.stat()
    return Found(name, stat.st_size, stat.st_mtime_ns)


def place(path: Path, name: str) -> Path:
    """Where a picture of a folder is, or the one file itself."""
    return path if path.is_file() else path / PurePosixPath(name)


def is_grey(file: Path) -> bool:
    """By its header: no pixel is read."""
    with _whole(file), Image.open(file) as image:
        return image.mode in _GREY or image.mode.startswith(_DEEP)


def depth(file: Path) -> Literal["8", "16", "8 of 16"]:
    """The bits a channel that are read of a picture, by its header: of a grey one all, of others 8."""
    with _whole(file), Image.open(file) as image:
        if image.mode.startswith(_DEEP):
            return "16"
        return "8 of 16" if any(";16" in str(tile.args) for tile in image.tile) else "8"


def read_picture(file: Path, size: tuple[int, int] | None, fit: Fit, grey: bool, deep: bool = False) -> np.ndarray:
    """Pixels (channels, height, width), the right way up (EXIF), on white where it is transparent: uint8, to which 16 bits
    are rounded; if `deep` float32 in [0, 1], which holds both.

    Arguments:
        size: height and width that it is brought to, or None: as it is.
        fit: `crop`: resized until it covers the size, and what is over is cut off on both sides; `stretch`: each side by itself.

    Raises DataError for a file that is no whole picture, and for one of more than 16 bits a pixel.
    """
    with _whole(file), Image.open(file) as image:
        if image.mode.startswith(_DEEP):
            return _deep_picture(image, file, size, fit, grey, deep)
        if size is not None:
            image.draft(None, (2 * max(size),) * 2)  # a large JPEG is decoded at a fraction of its size
        upright = _opaque(ImageOps.exif_transpose(image)).convert("L" if grey else "RGB")
        pixels = np.asarray(upright if size is None else _fitted(upright, size, fit))
    pixels = pixels[None] if grey else np.moveaxis(pixels, -1, 0)
    return pixels.astype(np.float32) / 255 if deep else pixels


def _deep_picture(
    image: Image.Image, file: Path, size: tuple[int, int] | None, fit: Fit, grey: bool, deep: bool
) -> np.ndarray:
    """The same of a grey picture of 16 bits. Pillow resizes such a one as floats, which may pass the ends."""
    levels = np.asarray(ImageOps.exif_transpose(image)).astype(np.float32)
    if image.mode == "F" or levels.max() > _TOP:
        raise DataError(
            f"{file} has more than 16 bits a pixel ({image.mode}): save it with 16 or 8, or all of them as an array "
            "(dataset=arrays)"
        )
    if size is not None:
        levels = np.asarray(_fitted(Image.fromarray(levels), size, fit)).clip(0, _TOP)
    pixels = levels / np.float32(_TOP) if deep else np.rint(levels / (_TOP // 255)).astype(np.uint8)
    return np.repeat(pixels[None], 1 if grey else 3, 0)


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)


def _fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    how, wanted = Image.Resampling.BICUBIC, (size[1], size[0])
    return ImageOps.fit(image, wanted, how) if fit == "crop" else image.resize(wanted, how)


def read_all(
    files: Sequence[Path],
    size: tuple[int, int] | None,
    fit: Fit,
    grey: bool,
    shape: tuple[int, ...],
    advice: str,
    deep: bool = False,
) -> np.ndarray:
    """(n, *shape), uint8, or float32 if `deep`. Raises DataError as `read_picture`, and with `advice` for a picture of another shape."""
    x = np.empty((len(files), *shape), np.float32 if deep else np.uint8)
    for row, file in enumerate(_said(files)):
        pixels = read_picture(file, size, fit, grey, deep)
        if pixels.shape != shape:
            wanted, found = (f"{height}x{width}" for _, height, width in (shape, pixels.shape))
            raise DataError(f"{file} is {found} pixels (height x width), not {wanted}: {advice}")
        x[row] = pixels
    return x


def folder_hash(path: Path, found: Iterable[Found]) -> str:
    """The SHA-256 of the names and contents of pictures, in hex."""
    digest = hashlib.sha256()
    for name in (one.name for one in found):
        digest.update(name.encode(errors="surrogateescape") + b"\0")
        digest.update(hashlib.sha256(place(path, name).read_bytes()).digest())
    return digest.hexdigest()


def _said(files: Sequence[Path]) -> Iterator[Path]:
    """The files, with a line every ten seconds."""
    last = time.monotonic()
    for count, file in enumerate(files):
        if time.monotonic() - last > _SAID_EVERY:
            last = time.monotonic()
            _log.warning("%s of %s pictures read", f"{count:,}", f"{len(files):,}")
        yield file


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{file} is no picture, whatever its name: repair or remove it") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} is no whole picture ({first_line(error)}): repair or remove it") from None
