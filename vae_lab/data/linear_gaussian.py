"""Synthetic data on which the linear VAE has everything in closed form."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor

from vae_lab.data.dataset import DataError, Dataset, Spec, Split
from vae_lab.distributions.streams import stream
from vae_lab.settings import Generated, Positive


class LinearGaussian(Dataset):
    r"""x ~ N(mean, C) with C = U diag(eigenvalues) U^T, the data of probabilistic PCA (Tipping and Bishop 1999).

    Seen as a latent-variable model with the observation variance `noise`,

    .. math:: x = W z + \mu + \sqrt{\mathrm{noise}}\, \epsilon, \qquad
        W = U\, \mathrm{diag}\sqrt{(\lambda_i - \mathrm{noise})_+}

    If every eigenvalue is at least `noise` then this is exactly how x arises; the optimum of a linear VAE with that
    variance is this W in any case, and latents with an eigenvalue under `noise` collapse.

    With `exact`, the empirical mean and covariance (divided by n) of every split are exactly those: closed forms then
    hold on the split to float precision, not only up to sampling error.

    Arguments:
        eigenvalues: of C; as many as x has coordinates.
        noise: the observation variance of the model that the data are meant for.
        mean: of every coordinate.
        rotate: U is a random rotation drawn by `split_seed`, else the identity (independent coordinates).
        exact: whiten each split's draw before colouring it. Needs more examples than coordinates.
        train_size, val_size, test_size: examples in each split.
        split_seed: of the rotation and the draws.

    Example:
        >>> data = LinearGaussian(eigenvalues=[4, 2, 1], noise=0.5)
        >>> data.eigenvalues("train")
        tensor([4.0000, 2.0000, 1.0000], dtype=torch.float64)
    """

    def __init__(
        self,
        eigenvalues: Annotated[Sequence[Positive], MinLen(1)] = [4.0, 2.0, 1.0, 0.5, 0.2],
        noise: Positive = 0.6,
        mean: float = 0.0,
        rotate: bool = True,
        exact: bool = True,
        train_size: Generated = 2000,
        val_size: Generated = 500,
        test_size: Generated = 500,
        split_seed: int = 0,
    ) -> None:
        self.spectrum = torch.tensor(list(eigenvalues), dtype=torch.float64).sort(descending=True).values
        self.noise, self.rotate, self.exact, self.split_seed = noise, rotate, exact, split_seed
        self.mean = torch.full_like(self.spectrum, mean)
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        if exact and min(self.sizes.values()) <= len(self.spectrum):
            raise DataError(
                f"dataset.exact=true needs more than {len(self.spectrum)} examples in each split (as many as there are "
                f"eigenvalues), not {min(self.sizes.values())}: raise the size, or set dataset.exact=false"
            )

    def spec(self) -> Spec:
        return Spec((len(self.spectrum),), "real", dict(self.sizes))

    def fingerprint(self) -> str:
        return "generated"

    def read(self) -> dict[str, Split]:
        return {split: Split(self._draw(split, n)) for split, n in self.sizes.items()}

    def _draw(self, split: str, n: int) -> Tensor:
        generator = stream(self.split_seed, f"linear_gaussian {split}")
        white = torch.randn(n, len(self.spectrum), dtype=torch.float64, generator=generator)
        if self.exact:
            white = _whitened(_whitened(white))  # the second pass takes the rounding of the first
        return white * self.spectrum.sqrt() @ self.rotation().T + self.mean

    def rotation(self) -> Tensor:
        """U, (d, d): uniform over the orthogonal group (Mezzadri 2007), or the identity."""
        d = len(self.spectrum)
        if not self.rotate:
            return torch.eye(d, dtype=torch.float64)
        normal = torch.randn(d, d, dtype=torch.float64, generator=stream(self.split_seed, "rotation"))
        q, r = torch.linalg.qr(normal)
        return q * r.diagonal().sign()

    def weight(self) -> Tensor:
        """W, (d, k) float64, with a column for each eigenvalue above `noise`, in falling order. Its columns are
        orthogonal, so that the true posterior of z is diagonal."""
        above = self.spectrum > self.noise
        return self.rotation()[:, above] * (self.spectrum[above] - self.noise).sqrt()

    def covariance(self, split: str | None = None) -> Tensor:
        """(d, d) float64: the empirical one of a split, divided by n; the true one for None."""
        if split is None:
            return self.rotation() * self.spectrum @ self.rotation().T
        return self.load(split).x.T.cov(correction=0).reshape(self.rotation().shape)

    def eigenvalues(self, split: str | None = None) -> Tensor:
        """Of the covariance, (d,) float64, falling."""
        return torch.linalg.eigvalsh(self.covariance(split)).flip(0)

    def log_prob(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats under N(mean, C), float64, (n,) for x of shape (n, d)."""
        centred = (x.double() - self.mean) @ self.rotation()
        d = len(self.spectrum)
        return -0.5 * (centred.square() / self.spectrum + self.spectrum.log()).sum(-1) - 0.5 * d * math.log(2 * math.pi)

    def mutual_information(self) -> float:
        r"""I(x; z) under W and `noise`, nats: :math:`\sum_i [\tfrac12 \ln(\lambda_i / \mathrm{noise})]_+`."""
        return float((0.5 * (self.spectrum / self.noise).log()).clamp(min=0).sum())


def _whitened(x: Tensor) -> Tensor:
    """x with mean 0 and covariance I, by the Cholesky factor of its covariance."""
    x = x - x.mean(0)
    factor = torch.linalg.cholesky(x.T @ x / len(x))
    return torch.linalg.solve_triangular(factor, x.T, upper=False).T
