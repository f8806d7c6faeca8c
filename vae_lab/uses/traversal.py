"""Traversal: what each latent does to x."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.errors import RequestError
from vae_lab.evaluation.interpolate import length
from vae_lab.evaluation.panels import mean_of, png, visible
from vae_lab.evaluation.traverse import Usage, decoded, moved, usage
from vae_lab.finished import Run
from vae_lab.settings import Count, NonNegativeInt
from vae_lab.uses.use import Answer, Steps

_BATCH, _SIDE = 500, 64
Tail = Annotated[float, Interval(gt=0, lt=0.5)]


@dataclass(frozen=True)
class Traverse:
    """One latent at a time goes through quantiles of the aggregate posterior (of draws from q(z|x), one for each example of the
    split), the others staying where they are: the latents in the order of their rates on the split, the rate beside each.

    `length` is that of the way in x, Euclidean, of the decoder's mean; of draws with the same noise where there is no mean.
    Where the rate does not split over latents the variance of the posterior means orders them and stands beside. A model that
    is told labels has those of the examples, and decodes at that of the one that is moved.

    Arguments:
        example: the row of the split whose mean of q(z|x) is moved; None: the origin. split: of the rates and quantiles too.
        latents: how many are shown, the most used ones. steps: quantiles, from `tail` to 1 - `tail` in equal steps.
        seed: of the draws.
    """

    example: NonNegativeInt | None = 0
    split: SplitName = "test"
    latents: Count = 10
    steps: Steps = 7
    tail: Tail = 0.05
    seed: int = 0
    takes_labelled: ClassVar[bool] = True

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        start, y = self._start(run, dataset)
        model = run.model.given(y)
        found = usage(run.model, dataset.batches(self.split, _BATCH), self.seed)
        levels = torch.linspace(self.tail, 1 - self.tail, self.steps, dtype=torch.float64)
        values = {j: found.draws[:, j].double().quantile(levels).to(start) for j in found.order()[: self.latents]}
        ways = {j: decoded(model, moved(start, j, at), self.seed) for j, at in values.items()}
        titles = ["latent", "rate", "variance", "length", *(f"z_at_{level:.4g}" for level in levels.tolist())]
        rows = [[*_told(found, j).values(), length(x), *values[j].tolist()] for j, x in ways.items()]
        numbers: dict[str, Any] = {
            "examples": len(found.draws),
            # by rank: which latent it is differs from seed to seed, and the report has means over them
            "latents": {
                f"rank_{i}": {"latent": f"z{latent}", **dict(zip(titles[1:4], told, strict=True))}
                for i, (latent, *told) in enumerate((row[:4] for row in rows), 1)
            },
        }
        kind = "draw" if mean_of(model.decode(start[None])) is None else "mean"
        charts = {kind: _chart(found, levels, ways)} if len(run.config["spec"]["shape"]) == 3 else {}
        return Answer(numbers, charts=charts, tables={"latents": [titles, *rows]})

    def _start(self, run: Run, dataset: Dataset) -> tuple[Tensor, Tensor | None]:
        """Where the latents start, (k,), and the label of the example, ()."""
        if self.example is None and run.model.labelled:
            raise RequestError("traverse.example: null given; this run's model is told labels, and the origin has none")
        if self.example is None:
            return torch.zeros(run.config["latent_dim"]), None
        size = dataset.spec().sizes[self.split]
        if self.example >= size:
            raise RequestError(
                f"traverse.example: {self.example} given; the {self.split} split has {size} examples, from 0"
            )
        x, y, *_ = next(iter(dataset.batches(self.split, self.example + 1)))
        label = None if y is None else y[-1]
        return run.encode(x[-1:], label)[0], label


def _told(found: Usage, latent: int) -> dict[str, Any]:
    rate = None if found.rates is None else float(found.rates[latent])
    return {"latent": latent, "rate": rate, "variance": float(found.variances[latent])}


def _chart(found: Usage, levels: Tensor, ways: Mapping[int, Tensor]) -> Mapping[str, Any]:
    """A row of images a latent, its rate written beside it, its quantiles below."""
    rows, columns = [_title(found, latent) for latent in ways], [f"{level:.4g}" for level in levels.tolist()]
    cells = [
        {"latent": row, "quantile": column, "url": _url(image)}
        for row, x in zip(rows, ways.values(), strict=True)
        for column, image in zip(columns, x, strict=True)
    ]
    return {
        "data": {"values": cells},
        "mark": {"type": "image", "width": _SIDE, "height": _SIDE},
        "width": {"step": _SIDE + 4},
        "height": {"step": _SIDE + 4},
        "config": {"view": {"stroke": None}},
        "encoding": {
            "url": {"field": "url", "type": "nominal"},
            "x": {"field": "quantile", "type": "ordinal", "sort": columns, "axis": {"labelAngle": 0, "domain": False, "ticks": False}},
            "y": {"field": "latent", "type": "ordinal", "sort": rows, "title": None, "axis": {"domain": False, "ticks": False}},
        },
    }  # fmt: skip


def _title(found: Usage, latent: int) -> str:
    if found.rates is None:
        return f"z{latent}: variance {float(found.variances[latent]):.3g}"
    return f"z{latent}: {float(found.rates[latent]):.2f} nats"


def _url(image: Tensor) -> str:
    """An image (channels, height, width) as a PNG inside an address."""
    (shown,) = visible(image[None])
    return f"data:image/png;base64,{base64.b64encode(png(shown, -(-2 * _SIDE // max(shown.shape[1:])))).decode()}"
