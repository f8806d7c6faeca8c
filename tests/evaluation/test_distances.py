"""Distances between sets against closed forms, brute force, SciPy and torchmetrics; neighbourhoods on planted sets."""

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from vae_lab.evaluation.distances import frechet_distance, kernel_distance
from vae_lab.evaluation.neighbourhoods import neighbourhoods


def some(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(mean: Tensor, root: Tensor, n: int = 50, seed: int = 0) -> Tensor:
    """n points whose sample mean is `mean` and whose sample covariance is root^T root, exactly."""
    white = some(n, len(mean), seed)
    white = white - white.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(white.T.cov()), white.T, upper=False).T
    return white @ root + mean


def test_the_frechet_distance_of_gaussians_that_commute_is_in_closed_form() -> None:
    """S_i = U diag(s_i^2) U^T: |m_1 - m_2|^2 + sum (s_1 - s_2)^2."""
    u = torch.linalg.qr(some(6, 6, 1)).Q
    s1, s2 = some(2, 6, 2).abs()
    m1, m2 = some(2, 6, 3)
    x, y = with_moments(m1, s1[:, None] * u.T, seed=4), with_moments(m2, s2[:, None] * u.T, seed=5)
    expected = float((m1 - m2).square().sum() + (s1 - s2).square().sum())
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_is_that_of_scipy_s_square_root() -> None:
    x, y = some(80, 7, 0) @ some(7, 7, 1), 0.3 + some(60, 7, 2) @ some(7, 7, 3)
    s1, s2 = np.cov(x.numpy().T), np.cov(y.numpy().T)
    means = (x.mean(0) - y.mean(0)).square().sum()
    expected = float(means) + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_holds_where_covariances_are_singular() -> None:
    """Fewer examples than features: in the span of both sets it is what it is in the whole space; of a set to itself 0."""
    x, y = some(5, 3, 0), some(6, 3, 1) + 1
    embed = torch.linalg.qr(some(40, 3, 2)).Q.T
    assert frechet_distance(x @ embed, y @ embed) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    few = some(5, 40, 3)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    apart = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [3.0, 4.0]])  # two points: the squared distance
    assert frechet_distance(*apart) == 25


class _Identity(torch.nn.Module):
    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_frechet_and_kernel_distances_are_those_of_torchmetrics() -> None:
    """Which take a network of one's own for the features; here it gives back its six pixels."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import poly_mmd

    x, y = some(60, 6, 0).sigmoid(), some(60, 6, 1).mul(2).sigmoid()
    theirs = FrechetInceptionDistance(_Identity(), normalize=True, input_img_size=(1, 2, 3)).set_dtype(torch.float64)
    for real, z in ((True, x), (False, y)):
        theirs.update(z.view(-1, 1, 2, 3), real=real)
    assert frechet_distance(x, y) == pytest.approx(float(theirs.compute()), rel=1e-6)
    blocks = [float(poly_mmd(a, b)) for a, b in zip(x.split(6), y.split(6), strict=True)]
    found = kernel_distance(x, y)
    assert found is not None
    assert found == pytest.approx((np.mean(blocks), np.std(blocks, ddof=1) / np.sqrt(10)), rel=1e-9)


def test_a_block_of_the_kernel_distance_is_its_sum_over_pairs() -> None:
    x, y = some(40, 3, 0), some(30, 3, 1) + 0.5

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(a * b) / 3 + 1) ** 3

    def block(a: np.ndarray, b: np.ndarray) -> float:
        within = [np.mean([k(*pair) for pair in itertools.permutations(z, 2)]) for z in (a, b)]
        return sum(within) - 2 * np.mean([k(i, j) for i in a for j in b])

    expected = np.mean([block(a, b) for a, b in zip(*(np.split(z.numpy(), 10) for z in (x, y)), strict=True)])
    found = kernel_distance(x, y)
    assert found is not None
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_of_equal_distributions_is_zero_on_average_and_its_error_is_right() -> None:
    """Over 300 pairs of sets: the mean is within five of its errors of 0, and the spread is what each pair says it is."""
    found = [kernel_distance(some(60, 4, 2 * i), some(60, 4, 2 * i + 1)) for i in range(300)]
    values, errors = np.array([each for each in found if each]).T
    assert abs(values.mean()) < 5 * values.std() / np.sqrt(300)
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.25)


def test_the_kernel_distance_of_two_points_is_in_closed_form() -> None:
    """All of x at a and all of y at b: k(a, a) + k(b, b) - 2 k(a, b), here (1 + 1)^3 + (4 + 1)^3 - 2 (2 + 1)^3."""
    x, y = torch.full((25, 1), 1.0), torch.full((25, 1), 2.0)
    assert kernel_distance(x, y) == pytest.approx((8 + 125 - 54, 0))


def test_large_sets_are_split_into_blocks_of_a_thousand_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(
        "vae_lab.evaluation.distances._discrepancy", lambda a, b: sizes.append(len(a)) or torch.zeros(())
    )
    kernel_distance(torch.zeros(25_300, 1), torch.zeros(25_300, 1))
    assert (len(sizes), max(sizes), sum(sizes)) == (26, 974, 25_300)


def brute_force(real: Tensor, samples: Tensor, k: int) -> tuple[float, ...]:
    """The definitions, from all distances at once."""

    def distances(a: Tensor, b: Tensor) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]).double().numpy() ** 2).sum(-1))

    def balls(centres: Tensor, points: Tensor) -> np.ndarray:
        """Whether point j lies in the ball about centre i, (i, j)."""
        radii = np.sort(distances(centres, centres), 1)[:, k]
        return distances(centres, points) <= radii[:, None]

    about_real, about_samples = balls(real, samples), balls(samples, real)
    precision, recall = about_real.any(0).mean(), about_samples.any(0).mean()
    return precision, recall, about_real.sum() / (k * len(samples)), about_real.any(1).mean()


@pytest.mark.parametrize("k", [1, 3])
def test_neighbourhoods_are_their_definitions(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_lab.evaluation.neighbourhoods._BLOCK", 7)
    real, samples = some(23, 2, 0), 1.5 * some(17, 2, 1) + 0.3
    found = neighbourhoods(real, samples, k)
    assert found == pytest.approx(brute_force(real, samples, k))
    assert 0 < found.recall < 1  # type: ignore[union-attr]


def test_of_a_set_and_itself_every_ball_holds_its_centre_and_k_neighbours() -> None:
    """So that the density is (k + 1) / k, as balls are closed."""
    x = some(200, 3, 0)
    assert neighbourhoods(x, x, 5) == pytest.approx((1, 1, 6 / 5, 1))


def test_two_draws_of_one_distribution_have_the_density_and_coverage_that_are_expected() -> None:
    """E density = 1, and E coverage = 1 - (n-1)...(n-k) / (2n-1)...(2n-k) for n of each (Naeem et al. 2020)."""
    n, k = 200, 5
    found = np.array([neighbourhoods(some(n, 4, 2 * i), some(n, 4, 2 * i + 1), k) for i in range(60)])
    mean, error = found.mean(0), found.std(0) / np.sqrt(60)
    coverage = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert abs(mean[2] - 1) < 4 * error[2]
    assert abs(mean[3] - coverage) < 4 * error[3]


def test_sets_that_lie_apart_have_nothing() -> None:
    assert neighbourhoods(some(50, 3, 0), some(50, 3, 1) + 100) == (0, 0, 0, 0)


def test_a_mode_that_is_dropped_lowers_recall_and_coverage_alone() -> None:
    """Reals of two clusters far apart, samples of one of them."""
    here, there, samples = some(300, 2, 0), some(300, 2, 1) + 100, some(600, 2, 2)
    whole, dropped = neighbourhoods(here, samples), neighbourhoods(torch.cat([here, there]), samples)
    assert whole is not None
    assert dropped is not None
    assert dropped.precision == whole.precision
    assert dropped.density == whole.density
    assert dropped.recall == whole.recall / 2
    assert dropped.coverage == whole.coverage / 2


def test_an_outlier_among_the_reals_misleads_precision_and_hardly_density() -> None:
    """Samples on a ring about the reals lie in no ball, until one real lies far out: its ball holds every one of them, which
    is all of precision, and 1 in k of the density."""
    angle = torch.linspace(0, 6.28, 40, dtype=torch.float64)
    real, ring = 0.1 * some(100, 2, 0), 5 * torch.stack([angle.cos(), angle.sin()], 1)
    out = torch.cat([real, torch.tensor([[90.0, 0.0]])])
    ring = ring[ring[:, 0] > 1]  # nearer to the outlier than its fifth neighbour is
    assert neighbourhoods(real, ring)[:1] == (0,)  # type: ignore[index]
    found = neighbourhoods(out, ring)
    assert found is not None
    assert (found.precision, found.density) == (1, pytest.approx(1 / 5))
    assert found.coverage == pytest.approx(1 / 101)


def test_binary_examples_at_equal_distances_are_counted() -> None:
    """Distances of 0s and 1s are often equal; a ball is closed."""
    rng = np.random.default_rng(0)
    real, samples = (torch.from_numpy(rng.integers(0, 2, (30, 12)).astype(np.float32)) for _ in range(2))
    assert neighbourhoods(real, samples, 2) == pytest.approx(brute_force(real, samples, 2))


def test_too_few_examples_have_no_number() -> None:
    x = some(30, 2, 0)
    assert (frechet_distance(x[:1], x), frechet_distance(x, x[:1])) == (None, None)
    assert (kernel_distance(x[:19], x), kernel_distance(x[:20], x[:20]) is None) == (None, False)
    assert (neighbourhoods(x[:5], x, 5), neighbourhoods(x, x[:5], 5)) == (None, None)
    assert neighbourhoods(x[:6], x[:6], 5) is not None
