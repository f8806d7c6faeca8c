"""A map of the latent space: where the examples lie in it, by label."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.errors import RequestError
from vae_lab.evaluation.pca import principal_plane
from vae_lab.finished import Run
from vae_lab.uses.use import Answer

Points = Annotated[int, Ge(2)]


@dataclass(frozen=True)
class LatentMap:
    """The means of q(z|x) of a split by their first two principal components, coloured by class where the data have labels,
    with one length for one unit on both axes, so that the picture is as wide as the code is. With one latent there is one
    component, drawn as a strip for each class.

    `variance_share` of each component says how much of the code the map shows. A model that is told labels has those of the
    examples: its map shows what of x they do not say.

    Arguments:
        split: of which examples. count: how many, the first ones.
    """

    split: SplitName = "test"
    count: Points = 2000
    takes_labelled: ClassVar[bool] = True

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        batch = next(iter(dataset.batches(self.split, self.count)))
        if len(batch.x) < 2:
            raise RequestError(f"map.split: {self.split} given; it has one example, and a map needs two")
        names = {} if batch.y is None else {label: dataset.class_name(label) for label in batch.y.unique().tolist()}
        labels = [None] * len(batch.x) if batch.y is None else [names[label] for label in batch.y.tolist()]
        points, shares = principal_plane(run.encode(batch.x, batch.y).double().cpu().numpy())
        told = {f"pc{i + 1}": None if shares is None else float(shares[i]) for i in range(points.shape[1])}
        titles = ["row", "label", *told]
        rows = [[i, label, *point] for i, (label, point) in enumerate(zip(labels, points.tolist(), strict=True))]
        numbers: dict[str, Any] = {"examples": len(rows), "variance_share": told}
        chart = _chart([dict(zip(titles, row, strict=True)) for row in rows], told, [*names.values()])
        return Answer(numbers, charts={"pca": chart}, tables={"points": [titles, *rows]})


def _chart(points: list[dict[str, Any]], shares: dict[str, float | None], classes: list[str]) -> dict[str, Any]:
    """The points, one length for one unit on both axes; the classes in their order, which is not that of their names."""
    side = 1.05 * max(high - low for low, high in (_ends(points, name) for name in shares)) or 1.0
    x, *rest = (
        {**_scaled(_ends(points, name), side), "field": name, "title": _axis(name, shares[name])} for name in shares
    )
    strips = {"field": "label", "type": "nominal", "sort": classes, "title": "label" if classes else None}
    colours = {"domain": classes, "scheme": "category10" if len(classes) <= 10 else "tableau20"}
    colour = {"color": {"field": "label", "type": "nominal", "scale": colours}} if classes else {}
    return {
        "data": {"values": points},
        "mark": {"type": "point", "filled": True, "size": 12, "opacity": 0.6} if rest else {"type": "tick"},
        "width": 480,
        "height": 480 if rest else {"step": 24},
        "encoding": {"x": x, "y": rest[0] if rest else strips, **colour},
    }


def _ends(points: list[dict[str, Any]], name: str) -> tuple[float, float]:
    values = [point[name] for point in points]
    return min(values), max(values)


def _scaled(ends: tuple[float, float], side: float) -> dict[str, Any]:
    """An axis that is so long, with the values in its middle."""
    middle = sum(ends) / 2
    return {"type": "quantitative", "scale": {"domain": [middle - side / 2, middle + side / 2], "nice": False}}


def _axis(name: str, share: float | None) -> str:
    component = f"principal component {name[2:]}"
    return component if share is None else f"{component} ({100 * share:.1f} % of the variance)"
