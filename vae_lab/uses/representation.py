"""Representation: what the code is worth to somebody who has labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.dataset import Dataset
from vae_lab.errors import RequestError
from vae_lab.evaluation.probe import Accuracy, linear_probe, neighbours
from vae_lab.finished import Run
from vae_lab.models import Batch
from vae_lab.settings import Count
from vae_lab.uses.use import Answer

CLASSIFIERS = {"linear_probe": linear_probe, "neighbours": neighbours}


@dataclass(frozen=True)
class Probe:
    """How well labels can be read off the means of q(z|x), by a linear classifier and by the five nearest neighbours, both
    trained on the train split and asked about the test split; beside them the same on x itself, and the share of the most
    frequent label, which is what a code that says nothing gives.

    Arguments:
        train_count, test_count: how many examples of either split are used, the first ones.
    """

    train_count: Count = 10_000
    test_count: Count = 10_000

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        train, test = (
            dataset.known(next(iter(dataset.batches(split, count))))
            for split, count in (("train", self.train_count), ("test", self.test_count))
        )
        labels, test_labels = _labels(train), _labels(test)
        if len(np.unique(labels)) < 2:
            raise RequestError(
                f"probe.train_count: {self.train_count} given; these examples have one label, and two are needed to tell apart"
            )
        numbers: dict[str, Any] = {"train_examples": len(labels), "test_examples": len(test_labels)}
        seen = train.x, test.x
        for name, (a, b) in {"z": tuple(map(run.encode, seen)), "x": seen}.items():
            features = _flat(a), _flat(b)
            numbers[name] = {
                kind: _told(classify(features[0], labels, features[1], test_labels))
                for kind, classify in CLASSIFIERS.items()
            }
        most = np.bincount(labels).argmax()
        numbers["most_frequent_label"] = float((test_labels == most).mean())
        return Answer(numbers)


def _labels(batch: Batch) -> np.ndarray:
    if batch.y is None:
        raise RequestError("probe: this run's dataset has no labels")
    labels: np.ndarray = batch.y.cpu().numpy()
    return labels


def _flat(x: Tensor) -> np.ndarray:
    features: np.ndarray = x.flatten(1).to(torch.float64).cpu().numpy()
    return features


def _told(accuracy: Accuracy) -> dict[str, float]:
    return {"accuracy": accuracy.share, "standard_error": accuracy.error}
