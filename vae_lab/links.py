"""Links out of a folder: in one from a stranger they could point at anything that the person may read or write."""

import os
from pathlib import Path

from vae_lab.errors import RequestError


def leads_out(file: Path, home: Path) -> bool:
    """Checks whether a file, or the folder in `home` that it is in, is a link out of `home`."""
    linked = os.path.islink(file) or (file.parent != home and os.path.islink(file.parent))
    return linked and not file.resolve().is_relative_to(home.resolve())


def refuse_links_out(home: Path) -> None:
    """Refuses a folder of which a part is a link out of it, before anything is written there. Errors: `RequestError`."""
    with os.scandir(home) as entries:
        out = sorted(entry.name for entry in entries if leads_out(Path(entry.path), home))
    if out:
        raise RequestError(f"{home}: {', '.join(out)}: a link out of the run, through which nothing is written")


def pictures_in(home: Path) -> list[Path]:
    """The pictures of a run that lie in its folder."""
    return [file for file in sorted((home / "figures").glob("*.png")) if not leads_out(file, home)]
