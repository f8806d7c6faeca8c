"""The PNG pictures of runs, put into the page."""

import base64

from vae_lab.links import leads_out
from vae_lab.report.cells import Arm, Row

PICTURES = {
    "originals": "originals",
    "reconstructions": "reconstructions",
    "shuffled": "from another example's z",
    "samples": "samples",
}
LARGEST, LARGEST_CHART, ALL = 70_000, 200_000, 2_500_000  # bytes of a picture, of a chart, and of a page's together


class Room:
    """How many bytes of pictures the page still takes."""

    def __init__(self, left: int = ALL) -> None:
        self.left = left

    def takes(self, images: dict[str, bytes]) -> bool:
        size = sum(map(len, images.values()))
        if size > self.left:
            return False
        self.left -= size
        return True


def pictures(arms: tuple[Arm, ...]) -> list[tuple[Arm, Row | None, dict[str, str]]]:
    """For each arm its first completed run and that run's pictures as data addresses, while there is room."""
    found, room = [], Room()
    for arm in arms:
        row = next(iter(arm.chosen.completed), None)
        images = {name: image for name in PICTURES if row and (image := image_of(row, name))}
        taken = images if room.takes(images) else {}
        found.append((arm, row, {name: address(image) for name, image in taken.items()}))
    return found


def image_of(row: Row, name: str, largest: int = LARGEST) -> bytes | None:
    """A picture of a run, if it is there and not too large."""
    path = row.run.path / "figures" / f"{name}.png"
    if leads_out(path, row.run.path) or not path.is_file() or path.stat().st_size > largest:
        return None
    return path.read_bytes()


def address(image: bytes) -> str:
    """By which a page has a picture in itself."""
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"
