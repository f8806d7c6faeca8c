"""Generation: new examples, how far they are from the data, and whether they are copies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.data.dataset import Dataset
from vae_lab.distributions import stream, stream_seed, tempered
from vae_lab.errors import RequestError, first_line
from vae_lab.evaluation.densities import Flow, GaussianMixture, LatentDensity, Prior, codes
from vae_lab.evaluation.distances import frechet_distance, kernel_distance
from vae_lab.evaluation.features import FEATURES, Features, Named
from vae_lab.evaluation.generate import Nearest, nearest
from vae_lab.evaluation.inception import Inception
from vae_lab.evaluation.neighbourhoods import Neighbourhoods, neighbourhoods
from vae_lab.finished import Run
from vae_lab.settings import Count, NonNegativeInt
from vae_lab.uses.use import Answer, Drawn, as_rows

SHOWN, _BATCH = 16, 500
Temperature = Annotated[float, Interval(gt=0, le=100)]
Density = Literal["prior", "gaussian_mixture", "flow"]


@dataclass(frozen=True)
class Sample:
    """New examples: z from the prior, the mean of p(x|z) and a draw from it, and beside each draw the training example
    nearest to it, so that a memorised one is seen.

    Draws, means and test examples are each measured against as many training examples, on declared features: what the test
    examples have is what examples that the model has not seen come to, and no model need be better.

    Arguments:
        count: how many are drawn and measured. seed: of the draws, and of which examples they are measured against.
        temperature: the scale of z, times this; p(x|z) stays as it is.
        density: what z is drawn from: the prior, or a mixture or a flow fitted to the codes of the train split, which is no
            part of the model. components: of that mixture.
        features: that distances are measured on. weights: the file of those of Inception.
        neighbours: the k of precision, recall, density and coverage.
        label: of a model that is told labels, the class of all draws, by its name or number; null: classes as frequent as in
            the train split.
    """

    count: Drawn = 500
    seed: int = 0
    temperature: Temperature = 1.0
    density: Density = "prior"
    components: Count = 10
    features: Named = "auto"
    weights: str | None = None
    neighbours: Count = 5
    label: NonNegativeInt | str | None = None
    takes_labelled: ClassVar[bool] = True

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        y = self._labels(run, dataset)
        way, density = self._density(run, dataset)
        cooled = None if density is None else self._tempered(density)
        features = self._features(dataset)
        made = run.sample(self.count, self.seed, self.temperature if cooled is None else 1.0, cooled, y)
        if not made.draw.isfinite().all():
            raise RequestError(f"sample: {run.path} draws what is no number: its training has diverged")
        train, like, test = self._rows(dataset, "train")[0], self._like(dataset, "train"), self._like(dataset, "test")
        n = min(self.count, len(like), len(test))
        drawn = torch.arange(n) if y is None else _mixed(self.count, self.seed)[:n]
        mean = None if made.mean is None else made.mean[drawn]
        reference, apart = features(like[:n]), {"draw": made.draw[drawn], "mean": mean, "test": test[:n]}
        copied = nearest(made.draw, train)
        near = Nearest(copied.rows[drawn], copied.distances[drawn])
        numbers = {
            "samples": self.count,
            "density": f"{self.density} ({way.note})",
            **({"latent_log_density": None} if density is None else self._on_codes(run, dataset, density)),
            "nearest_training_distance": _told(samples=near, test=nearest(test[:n], train)),
            "features": features.declared,
            "measured": n,
            **{k: None if x is None else self._apart(reference, features(x)) for k, x in apart.items()},
        }
        if made.draw.dim() != 4:
            means = {} if made.mean is None else {"mean": made.mean}
            return Answer(numbers, tables=as_rows(dataset, {"draw": made.draw, **means}))
        shown = {"draw": made.draw, "nearest": train[copied.rows]} | ({} if made.mean is None else {"mean": made.mean})
        rows = torch.linspace(0, self.count - 1, min(SHOWN, self.count)).long()  # of labels in order some of each
        first = rows if y is not None else torch.arange(min(SHOWN, self.count))
        return Answer(numbers, {name: x[first].clamp(0, 1) for name, x in shown.items()})

    def _labels(self, run: Run, dataset: Dataset) -> Tensor | None:
        """A label for each draw of a model that is told labels, in rising order."""
        if not run.model.labelled:
            if self.label is not None:
                raise RequestError(
                    f"sample.label: {self.label} given; this run's model is told no labels (labels=given is)"
                )
            return None
        if self.density != "prior":
            raise RequestError(f"sample.density: {self.density} given; with labels z is drawn from the model's prior")
        y = next(iter(dataset.batches("train", dataset.spec().sizes["train"]))).y
        assert y is not None
        if self.label is None:
            rows = torch.randint(len(y), (self.count,), generator=stream(self.seed, "sample labels"))
            return y[rows].sort().values
        return torch.full((self.count,), self._number(dataset, y))

    def _number(self, dataset: Dataset, y: Tensor) -> int:
        """That of the label asked for, by the name of its class before its number."""
        names = {dataset.class_name(label): label for label in y.unique().tolist()}
        number = names.get(str(self.label), self.label)
        if not isinstance(number, int) or number not in names.values():
            raise RequestError(f"sample.label: {self.label} given; the labels are {', '.join(names)}")
        return number

    def _density(self, run: Run, dataset: Dataset) -> tuple[LatentDensity, Distribution | None]:
        ways: dict[Density, LatentDensity] = {
            "prior": Prior(),
            "gaussian_mixture": GaussianMixture(self.components, self.seed),
            "flow": Flow(self.seed),
        }
        if run.model.labelled:
            return ways[self.density], None  # p(z|y) is the model's own
        try:
            return ways[self.density], ways[self.density](run.model, dataset.batches("train", _BATCH))
        except ValueError as error:
            raise RequestError(f"sample.density: {self.density} given; {first_line(error)}") from error

    def _tempered(self, density: Distribution) -> Distribution:
        try:
            return tempered(density, self.temperature)
        except TypeError as error:
            raise RequestError(f"sample.temperature: {self.temperature} given; {first_line(error)}") from error

    def _features(self, dataset: Dataset) -> Features:
        ways: dict[Named, Callable[[Dataset], Features]] = {**FEATURES, "inception": Inception(self.weights)}
        if self.weights is not None and self.features != "inception":
            raise RequestError(
                f"sample.weights: {self.weights} given; features={self.features} reads no file (inception does)"
            )
        try:
            return ways[self.features](dataset)
        except ValueError as error:
            raise RequestError(f"sample.features: {error}") from error

    def _rows(self, dataset: Dataset, split: str) -> tuple[Tensor, Tensor | None]:
        """x and labels of a split, of the classes that training has seen, in random order: a file may be sorted."""
        x, y, *_ = dataset.known(next(iter(dataset.batches(split, dataset.spec().sizes[split]))))
        order = torch.randperm(len(x), generator=stream(self.seed, f"sample against {split}"))
        return x[order], None if y is None else y[order]

    def _like(self, dataset: Dataset, split: str) -> Tensor:
        """What draws are measured against: draws of one label against examples of that label."""
        x, y = self._rows(dataset, split)
        x = x if self.label is None or y is None else x[y == self._number(dataset, y)]
        if not len(x):
            raise RequestError(f"sample: the {split} split has no example of what was trained on, or of this label")
        return x

    def _on_codes(self, run: Run, dataset: Dataset, density: Distribution) -> dict[str, dict[str, float]]:
        """The mean log density, nats, of one draw from q(z|x) of each test example, and its standard error."""
        known = map(dataset.known, dataset.batches("test", _BATCH))
        z = codes(run.model, known, stream_seed(self.seed, "held out"))
        with torch.no_grad():
            under: dict[str, Distribution] = {"prior": run.model.prior(), self.density: density}
            logs = {name: p.log_prob(z).double() for name, p in under.items()}
        errors = {name: float(log.std() / len(log) ** 0.5) for name, log in logs.items() if len(log) > 1}
        means = {name: float(log.mean()) for name, log in logs.items()}
        return {"latent_log_density": means, "latent_log_density_error": errors}

    def _apart(self, reference: Tensor, found: Tensor) -> dict[str, float | None]:
        kernel = kernel_distance(reference, found)
        near = neighbourhoods(reference, found, self.neighbours)
        return {
            "frechet_distance": frechet_distance(reference, found),
            "kernel_distance": kernel and kernel.value,
            "kernel_distance_error": kernel and kernel.error,
            **(near._asdict() if near else dict.fromkeys(Neighbourhoods._fields)),
        }


def _mixed(count: int, seed: int) -> Tensor:
    """Rows of draws in random order: they are in that of their labels, and the first of them, or a block, have few."""
    return torch.randperm(count, generator=stream(seed, "sample order"))


def _told(**found: Nearest) -> dict[str, float]:
    """The mean and the least distance of each."""
    return {
        key: float(value)
        for name, near in found.items()
        for key, value in {name: near.distances.mean(), f"{name}_least": near.distances.min()}.items()
    }
