"""Anomaly detection: how unlike the training data an example is, and whether that tells others from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from vae_lab.data.dataset import DataError, Dataset
from vae_lab.distributions import stream, stream_seed
from vae_lab.errors import RequestError, nearest
from vae_lab.evaluation.anomaly import Sampling, ScoreName, scores
from vae_lab.evaluation.detection import Detection, detection, threshold
from vae_lab.finished import Run, load
from vae_lab.identity import without_defaults
from vae_lab.models import VAE
from vae_lab.settings import Count, NonNegativeInt, Positive
from vae_lab.uses.detection_charts import histograms, roc
from vae_lab.uses.use import Answer
from vae_lab.uses.watch import watched

_BATCH, _SHOWN = 500, 8
NEEDS = {"waic": "needs runs of the same data, as runs=[RUN2,RUN3]", "complexity": "is for images in [0, 1]"}
Alarms = Annotated[float, Interval(gt=0, lt=1)]
Found = dict[ScoreName, np.ndarray]


def constant(x: Tensor) -> Tensor:
    """Each example evened out: every pixel is the mean of its channel, every coordinate that of all."""
    return x.mean((-2, -1) if x.dim() == 4 else -1, keepdim=True).expand_as(x).contiguous()


def shuffled(x: Tensor) -> Tensor:
    """The pixels (or coordinates) of each example in an order of its own: its histogram, and no structure."""
    flat = x.flatten(2) if x.dim() == 4 else x[:, None]
    order = torch.rand(len(x), 1, flat.shape[-1], generator=stream(0, "shuffled")).argsort(-1).expand_as(flat)
    return flat.gather(-1, order).view_as(x)


MADE: dict[str, Callable[[Tensor], Tensor]] = {"constant": constant, "shuffled": shuffled}
"""What normal examples can be held against with no other data at hand."""


@dataclass(frozen=True)
class Score:
    """How anomalous examples are to a run's model, and how well that tells others from test examples of what it was
    trained on: of a class that it was trained without, of another dataset, or made. New data get a score a row, and an alarm
    above a threshold with a stated rate of false alarms on the validation split.

    Arguments:
        held_out: the class of the test split that is held against the others. By default all that training did without.
        against: the file of other data, or what is made of the test examples: `constant`, `shuffled`.
        data: the file of new data.
        scores: which; by default all that the run allows.
        by: the one that the threshold is of, and that orders the pictures; by default nll, or the first of `scores` without it.
        false_alarms: the rate of alarms for normal examples.
        count: how many examples of each group are scored, the first ones; of new data all.
        samples: draws of z for each example. steps, rate: of the regret's descent. runs: further ones for `waic`, of other seeds.
        resamples: of the bootstrap. seed: of the draws and the bootstrap.
    """

    held_out: NonNegativeInt | str | None = None
    against: str | None = None
    data: str | None = None
    scores: Sequence[ScoreName] | None = None
    by: ScoreName | None = None
    false_alarms: Alarms = 0.05
    count: Count = 1000
    samples: Count = 100
    steps: Count = 100
    rate: Positive = 0.1
    runs: Sequence[str] | None = None
    resamples: Count = 1000
    seed: NonNegativeInt = 0

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        names = self._names(dataset)
        if self.by is None:
            return replace(self, by="nll" if "nll" in names else names[0])(run, dataset)
        models, groups = self._models(run), self._groups(dataset)
        known = self._identifiers(dataset, len(groups.get("data", ())))
        self._check_alarms(len(groups["validation"]))
        found = {group: self._scored(models, x, names, group) for group, x in groups.items()}
        limit = threshold(found.pop("validation")[self.by], self.false_alarms)
        numbers = {f"{group}_examples": len(x) for group, x in groups.items()}
        charts = {"histograms": histograms(found, {self.by: limit})}
        return Answer(
            {**numbers, **self._detected(found), "threshold": self._alarms(found, limit)},
            _pictures({group: (groups[group], of[self.by]) for group, of in found.items()}),
            columns=_SHOWN,
            charts={**charts, "roc": roc(found["normal"], found["others"])} if "others" in found else {**charts},
            tables={"data": self._rows(found["data"], limit, known)} if "data" in found else {},
        )

    def _check_alarms(self, validation: int) -> None:
        """Before anything is scored."""
        try:
            threshold(np.zeros(validation), self.false_alarms)
        except ValueError as error:
            raise RequestError(f"score.false_alarms: {error}; {validation} of validation are scored") from error

    def _scored(self, models: Sequence[VAE], x: Tensor, names: Sequence[ScoreName], group: str) -> Found:
        seen = partial(watched, what=f"scoring {group}")
        how = Sampling(self.samples, self.steps, self.rate, stream_seed(self.seed, group))
        return {name: of.cpu().numpy() for name, of in scores(models, x, names, how, seen).items()}

    def _detected(self, found: Mapping[str, Found]) -> dict[str, Any]:
        """Of each score its mean in every group, and how well it tells the others from the normal ones."""
        told: dict[str, Any] = {}
        for name, normal in found["normal"].items():
            told[name] = {group: float(of[name].mean()) for group, of in found.items()}
            if "others" in found:
                told[name] |= _told(detection(normal, found["others"][name], self.resamples, self.seed))
        return told

    def _alarms(self, found: Mapping[str, Found], limit: float) -> dict[str, Any]:
        assert self.by is not None
        shares = {f"alarms_{group}": float((of[self.by] > limit).mean()) for group, of in found.items()}
        return {"by": self.by, "value": limit, "false_alarms": self.false_alarms, **shares}

    def _identifiers(self, dataset: Dataset, rows: int) -> dict[str, list[str]]:
        """What the new data are known by."""
        known = {} if self.data is None else dataset.identifiers(Path(self.data).expanduser())
        if any(len(cells) != rows for cells in known.values()):
            raise RequestError(f"score.data: {self.data} has changed while it was read")
        return known

    def _rows(self, found: Found, limit: float, known: Mapping[str, list[str]]) -> list[list[Any]]:
        """A column of the data that has the title of one of ours is `data.TITLE`."""
        assert self.by is not None
        alarms = (found[self.by] > limit).astype(int).tolist()
        own: dict[str, Sequence[Any]] = {
            "row": range(len(alarms)),
            **{name: of.tolist() for name, of in found.items()},
            "alarm": alarms,
        }
        named = {f"data.{title}" if title in own else title: cells for title, cells in known.items()}
        columns = {"row": own.pop("row"), **named, **own}
        return [[*columns], *map(list, zip(*columns.values(), strict=True))]

    # ---- what is scored, and by what

    def _names(self, dataset: Dataset) -> Sequence[ScoreName]:
        spec = dataset.spec()
        lacking = {"waic"} if not self.runs else set()
        lacking |= {"complexity"} if len(spec.shape) != 3 or spec.kind == "real" else set()
        every: tuple[ScoreName, ...] = get_args(ScoreName)
        names = [name for name in every if name not in lacking] if self.scores is None else self.scores
        if not names:
            raise RequestError("score.scores: [] given; name one score at least, or null for all")
        for name in names:
            if name in lacking:
                raise RequestError(f"score.scores: {name} given, which {NEEDS[name]}")
        if self.by not in (None, *names):
            raise RequestError(f"score.by: {self.by} given; must be one of score.scores, {', '.join(names)}")
        return list(dict.fromkeys(names))

    def _models(self, run: Run) -> list[VAE]:
        paths, models = {run.path.resolve()}, [run.model]
        for path in self.runs or ():
            other = load(path, run.named[0] if run.named else None)
            if other.path.resolve() in paths:
                raise RequestError(f"score.runs: {path} is there twice; a variance is over different models")
            if other.result.get("status") != "completed":
                raise RequestError(f"score.runs: {path} has not completed; `vae-lab ls` shows its state")
            if other.model.labelled:
                raise RequestError(f"score.runs: {path} is told labels (labels=given), and new examples have none")
            if not _same_data(run, other):
                raise RequestError(f"score.runs: {path} was trained on other data than {run.path}, or otherwise split")
            paths.add(other.path.resolve())
            models.append(other.model)
        return models

    def _groups(self, dataset: Dataset) -> dict[str, Tensor]:
        """Examples of validation, normal ones of test, the others and the new data, where there are any."""
        seen = _classes(dataset, "train")
        normal = _first(dataset, "test", seen, self.count)
        others = self._others(dataset, normal, seen)
        new = None if self.data is None else _read("data", self.data, dataset)
        if others is None and new is None:
            raise RequestError(
                "score: there is nothing to tell apart, since this run was trained on every class: give held_out= (of a run "
                "trained with dataset.without), against= or data="
            )
        every = {
            "validation": _first(dataset, "val", seen, self.count),
            "normal": normal,
            "others": others,
            "data": new,
        }
        found = {group: x for group, x in every.items() if x is not None}
        if not min(map(len, found.values())):
            raise RequestError("score: val and test need examples of the classes that the run was trained on")
        return found

    def _others(self, dataset: Dataset, normal: Tensor, seen: Tensor | None) -> Tensor | None:
        if self.against is not None and self.held_out is not None:
            raise RequestError("score: held_out and against given; examples are held against one other group at a time")
        if self.against in MADE:
            made = MADE[self.against](normal)
            return made.round() if dataset.spec().kind == "binary" else made
        if self.against is not None:
            return _read("against", self.against, dataset)[: self.count]
        new = self._new_classes(dataset, seen)
        return _first(dataset, "test", new, self.count) if len(new) else None

    def _new_classes(self, dataset: Dataset, seen: Tensor | None) -> Tensor:
        """The classes of the test split that training has not seen, or the one of them that is asked for."""
        there = _classes(dataset, "test")
        if there is None or seen is None:
            if self.held_out is None:
                return torch.empty(0)
            raise RequestError(f"score.held_out: {self.held_out} given; this run's dataset has no labels")
        if self.held_out is None:
            return there[~torch.isin(there, seen)]
        labels = {dataset.class_name(label): label for label in there.tolist()}
        label = labels.get(str(self.held_out))
        if label is None:
            listed = ", ".join(labels)
            raise RequestError(f"score.held_out: {self.held_out} given; the classes of the test split are {listed}")
        if label in seen:
            advice = f"train one without it, dataset.without=[{self.held_out}]"
            raise RequestError(f"score.held_out: {self.held_out} given, which this run was trained on; {advice}")
        return torch.tensor([label])


def _classes(dataset: Dataset, split: str) -> Tensor | None:
    y = dataset.load(split).y
    return None if y is None or dataset.spec().labels is None else y.unique()


def _first(dataset: Dataset, split: str, classes: Tensor | None, count: int) -> Tensor:
    """The first examples of a split, of all classes where none are given."""
    parts, left = [], count
    for batch in dataset.batches(split, _BATCH):
        y = batch.y
        x = batch.x if classes is None or y is None else batch.x[torch.isin(y, classes)]
        parts.append(x[:left])
        left -= len(parts[-1])
        if not left:
            break
    return torch.cat(parts)


def _read(key: str, file: str, dataset: Dataset) -> Tensor:
    path = Path(file).expanduser()
    if not path.exists():
        made = f", or {' or '.join(MADE)}{nearest(file, MADE)}" if key == "against" else ""
        raise RequestError(f"score.{key}: {file} given; must be a file or a folder that there is{made}")
    try:
        return dataset.examples(path)
    except DataError as error:
        raise RequestError(f"score.{key}: {error}") from error


def _same_data(run: Run, other: Run) -> bool:
    a, b = ((without_defaults(one.config["dataset"]), one.config["spec"]) for one in (run, other))
    return a == b


# ---- what is told


def _told(found: Detection) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ("auroc", "aupr", "fpr95"):
        value, low, high = getattr(found, name)
        told |= {name: value, f"{name}_low": low, f"{name}_high": high}
    _, low, high = found.auroc
    told["others_are"] = (
        "ranked more normal" if high < 0.5 else "ranked more anomalous" if low > 0.5 else "not told apart"
    )
    return told


def _pictures(groups: Mapping[str, tuple[Tensor, np.ndarray]]) -> dict[str, Tensor]:
    """Of each group of images, with their scores, a row of the least anomalous and one of the most."""
    shown = {}
    for group, (x, of) in groups.items():
        if x.dim() == 4:
            order = np.argsort(of, kind="stable")
            rows = order if len(x) < _SHOWN else np.concatenate([order[:_SHOWN], order[-_SHOWN:]])
            shown[group] = x[torch.from_numpy(rows)].clamp(0, 1)
    return shown
