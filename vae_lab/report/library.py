"""Vega-Lite, which draws the page's charts in the reader's browser, as one script that asks nothing of the network."""

import functools
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from vae_lab.store import write_atomically


@functools.cache
def drawing_library() -> str:
    """Vega, Vega-Lite and vega-embed, 0.9 MB, as `window.vegaEmbed`. To put them together takes seconds, so they are
    kept in the user's cache, by the version of the package that carries them."""
    file = _cache() / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")
    text = _bundle()
    with suppress(OSError):  # a home that cannot be written to
        write_atomically(file, text)
    return text


def _bundle() -> str:
    import vl_convert

    return f"(() => {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();\n"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae_lab"
