"""The two directions in which a code varies most."""

from typing import NamedTuple

import numpy as np


class Plane(NamedTuple):
    """Points by their first two principal components, (n, 2), or (n, 1) for one latent, and the share of the variance of
    each component, (min(n, k),), falling; None where nothing varies."""

    points: np.ndarray
    shares: np.ndarray | None


def principal_plane(z: np.ndarray) -> Plane:
    """Principal components (scikit-learn, Pearson 1901) of a code, (n, k), n at least 2: centred, not scaled."""
    from sklearn.decomposition import PCA

    if not (z != z[0]).any():
        return Plane(np.zeros((len(z), min(2, z.shape[1]))), None)
    pca = PCA(svd_solver="full").fit(z)
    return Plane(pca.transform(z)[:, :2], pca.explained_variance_ratio_)
