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
    """The means of q(z|x) of a split by their first two principal components, coloured by label where the data have labels.
    With one latent there is one component, drawn as a strip for each label.

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
        labels = [None] * len(batch.x) if batch.y is None else batch.y.tolist()
        points, shares = principal_plane(run.encode(batch.x, batch.y).double().cpu().numpy())
        told = {f"pc{i + 1}": None if shares is None else float(shares[i]) for i in range(points.shape[1])}
        titles = ["row", "label", *told]
        rows = [[i, label, *point] for i, (label, point) in enumerate(zip(labels, points.tolist(), strict=True))]
        numbers: dict[str, Any] = {"examples": len(rows), "variance_share": told}
        chart = _chart([dict(zip(titles, row, strict=True)) for row in rows], told, batch.y is not None)
        return Answer(numbers, charts={"pca": chart}, tables={"points": [titles, *rows]})


def _chart(points: list[dict[str, Any]], shares: dict[str, float | None], labelled: bool) -> dict[str, Any]:
    colours = "category10" if len({point["label"] for point in points}) <= 10 else "tableau20"
    x, *rest = ({"field": name, "type": "quantitative", "title": _axis(name, share)} for name, share in shares.items())
    y = rest[0] if rest else {"field": "label", "type": "nominal", "title": "label" if labelled else None}
    colour = {"color": {"field": "label", "type": "nominal", "scale": {"scheme": colours}}} if labelled else {}
    return {
        "data": {"values": points},
        "mark": {"type": "point", "filled": True, "size": 12, "opacity": 0.6} if rest else {"type": "tick"},
        "width": 480,
        "height": 480 if rest else {"step": 24},
        "encoding": {"x": x, "y": y, **colour},
    }


def _axis(name: str, share: float | None) -> str:
    component = f"principal component {name[2:]}"
    return component if share is None else f"{component} ({100 * share:.1f} % of the variance)"
