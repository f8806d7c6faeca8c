"""Representation, on data with known factors: whether there is a code for each of them."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge

from vae_lab.data.dataset import Dataset, SplitName
from vae_lab.distributions import stream_seed
from vae_lab.errors import RequestError
from vae_lab.evaluation.factor_pairs import beta_vae_score, factor_vae_score
from vae_lab.evaluation.factors import (
    BINS,
    alive,
    dci,
    entropies,
    mig,
    modularity,
    mutual_information,
    sap,
    sap_regression,
)
from vae_lab.finished import Run
from vae_lab.settings import Count
from vae_lab.uses.use import Answer

_BATCH, _FEWEST = 500, 10
Bins = Annotated[int, Ge(2)]


class Known(NamedTuple):
    """The factors that vary among the examples: their names, their values (n, f), and which are in an order, (f,)."""

    names: list[str]
    values: np.ndarray
    ordered: np.ndarray


class Measured(NamedTuple):
    """The measures by name, and codes by factors: the information as a share of the factor's entropy, and the importance."""

    numbers: dict[str, float | None]
    information: np.ndarray
    importance: np.ndarray


@dataclass(frozen=True)
class KnownFactors:
    """Measures of disentanglement of the means of q(z|x), all at most 1: `mig`, `dci`, `sap`, `modularity`, `factor_vae`,
    `beta_vae`. Beside them stands chance, the same of codes that belong to other examples, and what the factors themselves
    score as codes, which is not 1 for all of them. Factors with one value among the examples are left out.

    Arguments:
        split: of which examples. count: how many, the first ones. bins: of a code, for its information. seed: of what is drawn.
    """

    split: SplitName = "test"
    count: Count = 5000
    bins: Bins = BINS
    seed: int = 0

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        known = self._known(dataset)
        codes = self._codes(run, dataset)
        others = np.random.default_rng(stream_seed(self.seed, "chance")).permutation(len(codes))
        numbers: dict[str, Any] = {"examples": len(codes), "living_codes": int(alive(codes).sum())}
        found = self._measured(codes, known)
        numbers["z"] = found.numbers
        numbers["chance"] = self._measured(codes[others], known).numbers
        numbers["factors"] = self._measured(known.values.astype(float), known).numbers
        tables = {"information": found.information, "importance": found.importance}
        return Answer(
            numbers,
            charts={"information": _heat_map(found.information, known.names)},
            tables={
                name: [["z", *known.names], *([i, *row] for i, row in enumerate(x.tolist()))]
                for name, x in tables.items()
            },
        )

    def _known(self, dataset: Dataset) -> Known:
        """Errors: `RequestError` where there are no factors, or too few examples of a value."""
        factors = dataset.factors(self.split)
        if factors is None:
            raise RequestError(
                "factors: nobody knows what this run's data were made from; dataset=sprites has known factors"
            )
        values = factors.values[: self.count].numpy()
        names = [name for name, column in zip(factors.sizes, values.T, strict=True) if len(np.unique(column)) > 1]
        if len(names) < 2:
            raise RequestError(
                f"factors: {len(names)} of the factors {', '.join(factors.sizes)} vary among these examples, and two are needed"
            )
        values = values[:, [list(factors.sizes).index(name) for name in names]]
        for name, column in zip(names, values.T, strict=True):
            seen, counts = np.unique(column, return_counts=True)
            if counts.min() < _FEWEST:
                raise RequestError(
                    f"factors.count: {self.count} given; among these {len(values)} examples of the {self.split} split {name}="
                    f"{seen[counts.argmin()]} is there {counts.min()} times, and {_FEWEST} are needed: use more, or split=train"
                )
        return Known(names, values, np.isin(names, list(factors.ordered)))

    @torch.no_grad()
    def _codes(self, run: Run, dataset: Dataset) -> np.ndarray:
        means: list[torch.Tensor] = []
        for batch in dataset.batches(self.split, _BATCH):
            means.append(run.encode(batch.x))
            if sum(map(len, means)) >= self.count:
                break
        codes: np.ndarray = torch.cat(means)[: self.count].double().cpu().numpy()
        return codes

    def _measured(self, codes: np.ndarray, known: Known) -> Measured:
        values, ordered = known.values, known.values[:, known.ordered]
        information, entropy = mutual_information(codes, values, self.bins), entropies(values)
        trees = dci(codes, values, self.seed)
        numbers = {
            "mig": mig(information, entropy),
            "dci_disentanglement": trees.disentanglement,
            "dci_completeness": trees.completeness,
            "dci_informativeness": trees.informativeness,
            "sap": sap(codes, values, self.seed),
            "sap_regression": sap_regression(codes, ordered) if known.ordered.any() else None,
            "modularity": modularity(information[alive(codes)]),
            "factor_vae": factor_vae_score(codes, values, self.seed),
            "beta_vae": beta_vae_score(codes, values, self.seed),
        }
        return Measured(numbers, information / entropy, trees.importance)


def _heat_map(information: np.ndarray, names: list[str]) -> dict[str, Any]:
    """The share of each factor's entropy that each code says, as Vega-Lite."""
    cells = [
        {"factor": name, "z": i, "share": round(float(share), 4)}
        for i, row in enumerate(information)
        for name, share in zip(names, row, strict=True)
    ]
    place = {
        "x": {
            "field": "factor",
            "type": "nominal",
            "sort": names,
            "title": None,
            "axis": {"orient": "top", "labelAngle": 0},
        }
    }
    place["y"] = {"field": "z", "type": "ordinal", "title": "latent"}
    colour = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "range": ["white", "#08306b"]},
        "title": "I(z; factor) / H(factor)",
    }
    text = {
        "text": {"field": "share", "type": "quantitative", "format": ".2f"},
        "color": {"condition": {"test": "datum.share > 0.5", "value": "white"}, "value": "black"},
    }
    return {
        "data": {"values": cells},
        "width": {"step": 70},
        "height": {"step": 24},
        "encoding": place,
        "layer": [
            {"mark": "rect", "encoding": {"color": colour}},
            {"mark": {"type": "text", "fontSize": 11}, "encoding": text},
        ],
    }
