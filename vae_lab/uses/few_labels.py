"""Semi-supervised learning: what a model of x is worth where few labels are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import MinLen
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.build import build
from vae_lab.data.dataset import Dataset
from vae_lab.data.mnist import MNIST
from vae_lab.distributions import stream, stream_seed
from vae_lab.errors import RequestError
from vae_lab.evaluation.semi_supervised import Fit, accuracy, balanced, classifier, fit_m2, fit_supervised, m2
from vae_lab.finished import Run
from vae_lab.models.likelihoods import OptimalGaussianLikelihood, SharedGaussianLikelihood
from vae_lab.settings import Count, NonNegative, Positive
from vae_lab.uses import few_labels_chart
from vae_lab.uses.use import Answer
from vae_lab.uses.watch import watched

LIVE, SOME = 0.1, 5000  # the least standard deviation of a latent that M1 hands on, over so many training examples
Method = Literal["supervised", "m1", "m1_svm", "m2", "m1_m2"]

# Errors on MNIST and their spread, by method and number of labels, of Kingma et al. (2014), Table 1, as other publications
# quote them. Their M1 has a transductive SVM, which sees the unlabelled codes too. What nobody here has read is left out.
PUBLISHED: Mapping[tuple[int, Method], tuple[float, float | None]] = {
    (100, "m1_svm"): (0.1182, None),
    (600, "m1_svm"): (0.0572, None),
    (1000, "m1_svm"): (0.0424, None),
    (3000, "m1_svm"): (0.0349, None),
    (100, "m2"): (0.1197, 0.0171),
    (100, "m1_m2"): (0.0333, 0.0014),
}


@dataclass(frozen=True)
class Task:
    """What every method is given: labels of a few rows, and how examples are shown.

    Attributes:
        x, z: rows and the number of an update to x, (B, d), or to draws of q(z|x), (B, k); means: rows to its means.
        y: (n,), of which only those of `rows` may be read. test: x, means of q(z|x), labels.
        likelihood: makes p(x|z) on vectors.
    """

    x: Callable[[np.ndarray, int], Tensor]
    z: Callable[[np.ndarray, int], Tensor]
    means: Callable[[np.ndarray], Tensor]
    y: Tensor
    rows: np.ndarray
    test: tuple[Tensor, Tensor, Tensor]
    likelihood: Callable[[int], nn.Module]
    classes: int
    fit: Fit

    @property
    def n(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class SemiSupervised:
    """Learning from few labels (Kingma et al. 2014): the share of test examples that each method gets wrong, over several
    draws of which labels are known, as many of each class.

    * `supervised`: a net on x, trained on the labelled examples alone: what every other method has to beat.
    * `m1`, `m1_svm`: logistic regression, and a support vector machine, on means of this run's q(z|x).
    * `m2`: a classifier and a conditional VAE trained together on all x, the label summed out where it is not known.
    * `m1_m2`: the same on draws of this run's q(z|x) instead of x.

    Arguments:
        label_counts: how many labels are known. draws: of which. methods: which of them.
        updates: of the net, of M2 and of M1 + M2, by Adam. batch_size: labelled, and unlabelled, examples of an update, at
            most. lr: Adam's. alpha: weight of the classifier's own loss (the paper: 0.1).
        seed: of the draws, and of what is trained.
    """

    label_counts: Annotated[list[Count], MinLen(1)] = (100,)  # type: ignore[assignment]
    draws: Count = 3
    methods: Annotated[list[Method], MinLen(1)] = ("supervised", "m1", "m1_svm", "m2", "m1_m2")  # type: ignore[assignment]
    updates: Count = 10_000
    batch_size: Count = 20
    lr: Positive = 3e-3
    alpha: NonNegative = 5.0
    seed: int = 0

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        classes = dataset.spec().labels
        if classes is None:
            raise RequestError("semi_supervised: this run's dataset has no labels")
        drawn = {count: [self._rows(dataset, count, draw) for draw in range(self.draws)] for count in self.label_counts}
        errors: dict[tuple[int, Method], list[float]] = {}
        for count, every in drawn.items():
            for draw, rows in enumerate(every):
                task = self._task(run, dataset, rows, draw)
                for name in self.methods:
                    seen = partial(watched, what=f"{count} labels, draw {draw}: {name}")
                    with torch.random.fork_rng():
                        torch.manual_seed(stream_seed(self.seed, name, draw))
                        right = METHODS[name](replace(task, fit=replace(task.fit, watched=seen)))
                    errors.setdefault((count, name), []).append(round(1 - right, 9))
        published = PUBLISHED if isinstance(dataset, MNIST) else {}
        return self._answer(errors, published)

    def _answer(
        self,
        errors: Mapping[tuple[int, Method], list[float]],
        published: Mapping[tuple[int, Method], tuple[float, float | None]],
    ) -> Answer:
        numbers: dict[str, Any] = {f"labels_{count}": {} for count in self.label_counts}
        table: list[list[Any]] = [["labels", "method", "error", "spread", "published", "published_spread"]]
        for (count, name), found in errors.items():
            numbers[f"labels_{count}"][name] = told = _told(found)
            table.append([count, name, *told.values(), *published.get((count, name), (None, None))])
        draws = [[count, name, i, error] for (count, name), found in errors.items() for i, error in enumerate(found)]
        chart = few_labels_chart.errors(
            [{"labels": count, "method": name, "error": error} for count, name, _, error in draws],
            [
                {"labels": count, "method": name, "error": error}
                for (count, name), (error, _) in published.items()
                if (count, name) in errors
            ],
            self.methods,
        )
        tables: dict[str, Sequence[Sequence[Any]]] = {
            "errors": table,
            "draws": [["labels", "method", "draw", "error"], *draws],
        }
        return Answer(numbers, charts={"errors": chart}, tables=tables)

    def _rows(self, dataset: Dataset, count: int, draw: int) -> np.ndarray:
        y = dataset.load("train").y
        assert y is not None
        try:
            return balanced(y.numpy(), count, stream_seed(self.seed, "labels", draw))
        except ValueError as error:
            raise RequestError(f"semi_supervised.label_counts: {error}") from error

    def _task(self, run: Run, dataset: Dataset, rows: np.ndarray, draw: int) -> Task:
        sizes, classes = dataset.spec().sizes, dataset.spec().labels
        train = dataset.batches("train", sizes["train"], seed=draw, shuffle=True)
        test = dataset.known(next(iter(dataset.batches("test", sizes["test"]))))
        assert train.y is not None
        assert test.y is not None
        assert classes is not None
        spread = run.encode(next(iter(dataset.batches("train", SOME))).x).std(0)
        live = spread >= spread.max().clamp(max=LIVE)  # of a collapsed model what varies most: nothing is no code

        def x(rows: np.ndarray, number: int) -> Tensor:
            return train.shown(torch.from_numpy(rows), number).x

        @torch.no_grad()
        def q(rows: np.ndarray, number: int) -> Distribution:
            return run.model.encode(x(rows, number))

        def z(rows: np.ndarray, number: int) -> Tensor:
            noise = run.model.noise(len(rows), 1, stream(self.seed, "m1", number))
            return run.model.posterior.reparametrize(q(rows, number), noise)[0][:, live]

        return Task(
            lambda rows, number: x(rows, number).flatten(1).float(),
            z,
            lambda rows: q(rows, 0).mean[:, live],
            train.y,
            rows,
            (test.x.flatten(1).float(), run.encode(test.x)[:, live], test.y),
            lambda size: _summed_out(build(run.config["likelihood"], shape=[size])),
            classes,
            Fit(self.updates, self.batch_size, self.lr, self.alpha, seed=stream_seed(self.seed, "fit", draw)),
        )


def _summed_out(likelihood: nn.Module) -> nn.Module:
    """The likelihood that M2 has for the run's: a scale that is the best one for a batch would be that of the errors at all
    labels alike, however unlikely, and another for each batch; it is learned by gradient instead."""
    if isinstance(likelihood, OptimalGaussianLikelihood):
        return SharedGaussianLikelihood([1])  # of vectors, whatever their length
    return likelihood


def _told(errors: list[float]) -> dict[str, float | None]:
    """The mean over draws, and their standard deviation where there are several."""
    spread = float(np.std(errors, ddof=1)) if len(errors) > 1 else None
    return {"error": float(np.mean(errors)), "spread": spread}


def _supervised(task: Task) -> float:
    x, _, y = task.test
    net = classifier(x.shape[1], task.classes)
    fit_supervised(net, task.x, task.rows, task.y, task.fit)
    return accuracy(net, x, y)


def _m1(make: Callable[[], Any], task: Task) -> float:
    """A classifier of scikit-learn on means of q(z|x)."""
    _, z, y = task.test
    return float(make().fit(task.means(task.rows).numpy(), task.y[task.rows].numpy()).score(z.numpy(), y.numpy()))


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _machine() -> Any:
    from sklearn.svm import SVC

    return SVC()


def _m2_on(features: int, draw: Callable[[np.ndarray, int], Tensor], likelihood: nn.Module, task: Task) -> float:
    x, y = task.test[features], task.test[2]
    model = m2(x.shape[1], task.classes, likelihood)
    fit_m2(model, draw, task.rows, task.y, task.n, task.fit)
    return accuracy(model.classifier, x, y)


METHODS: Mapping[str, Callable[[Task], float]] = {
    "supervised": _supervised,
    "m1": lambda task: _m1(_linear, task),
    "m1_svm": lambda task: _m1(_machine, task),
    "m2": lambda task: _m2_on(0, task.x, task.likelihood(task.test[0].shape[1]), task),
    "m1_m2": lambda task: _m2_on(1, task.z, SharedGaussianLikelihood([task.test[1].shape[1]]), task),
}
