"""What a representation is worth to somebody who has labels: a linear classifier and nearest neighbours on it."""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 5


@dataclass(frozen=True)
class Accuracy:
    """The share of the n test examples that are classified right, and its standard error (binomial)."""

    share: float
    n: int

    @property
    def error(self) -> float:
        return float(np.sqrt(self.share * (1 - self.share) / self.n))


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Accuracy:
    """Multinomial logistic regression (scikit-learn, L2 with C = 1) on features that are standardised on the training
    examples.

    Arguments:
        train, test: (n, k); labels: (n,), whole numbers.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, labels)
    return Accuracy(float(probe.score(test, test_labels)), len(test))


def neighbours(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Accuracy:
    """The vote of the `NEIGHBOURS` nearest training examples (scikit-learn, Euclidean), on the features as they are."""
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(train, labels)
    return Accuracy(float(voters.score(test, test_labels)), len(test))
