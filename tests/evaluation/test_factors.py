"""Measures of disentanglement: against enumeration, closed forms, and planted codes of which the right score is known."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from vae_lab.evaluation.factor_pairs import TEST, alike, beta_vae_score, factor_vae_score
from vae_lab.evaluation.factors import (
    alive,
    dci,
    disentangled_and_complete,
    entropies,
    mig,
    modularity,
    mutual_information,
    sap,
    sap_regression,
)

SIZES = (6, 6, 6)
GRID = np.stack(np.unravel_index(np.arange(216), SIZES), 1).repeat(10, 0)
"""Every combination of three factors, ten times: they are exactly independent."""
CODES = GRID - GRID.mean(0)
ROTATION = np.array([[1, 1, 0], [1, -1, 0], [0, 0, math.sqrt(2)]]) / math.sqrt(2)
"""By 45 degrees, the first two."""


def scores(codes: np.ndarray, factors: np.ndarray = GRID, seed: int = 0) -> dict[str, float]:
    information = mutual_information(codes, factors)
    found = dci(codes, factors, seed)
    return {
        "mig": mig(information, entropies(factors)),
        "modularity": modularity(information[alive(codes)]),
        "disentanglement": found.disentanglement,
        "completeness": found.completeness,
        "informativeness": found.informativeness,
        "sap_regression": sap_regression(codes, factors),
        "factor_vae": factor_vae_score(codes, factors, seed),
        "beta_vae": beta_vae_score(codes, factors, seed),
    }


def noise(columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(GRID), columns))


def share_error(share: float, n: int) -> float:
    """Five standard errors of a share."""
    return 5 * math.sqrt(share * (1 - share) / n)


# ---- information


def enumerated(code: np.ndarray, factor: np.ndarray, bins: int) -> float:
    """I in nats by counting pairs, one at a time."""
    low, high = code.min(), code.max()
    cells = [min(int((z - low) / (high - low) * bins), bins - 1) for z in code]
    n, pairs, a, b = len(code), Counter(zip(cells, factor, strict=True)), Counter(cells), Counter(factor)
    return sum(count / n * math.log(count * n / (a[cell] * b[value])) for (cell, value), count in pairs.items())


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_information_is_that_of_the_counted_pairs(bins: int) -> None:
    codes = GRID[:, [0, 1]] * [1.0, -0.5] + noise(2)
    found = mutual_information(codes, GRID, bins)
    expected = [[enumerated(code, factor, bins) for factor in GRID.T] for code in codes.T]
    assert found == pytest.approx(np.array(expected), abs=1e-12)


def test_information_of_sums_has_a_closed_form() -> None:
    """I(a + b; a) = H(a + b) - ln m for a, b uniform over m values, whose sum has triangular chances; a's own is ln m."""
    m = 6
    chances = np.array([m - abs(s - (m - 1)) for s in range(2 * m - 1)]) / m**2
    of_sum = -(chances * np.log(chances)).sum() - math.log(m)
    found = mutual_information(CODES @ ROTATION, GRID)
    assert found == pytest.approx(np.array([[of_sum, of_sum, 0], [of_sum, of_sum, 0], [0, 0, math.log(m)]]), abs=1e-12)
    assert entropies(GRID) == pytest.approx([math.log(m)] * 3)


def test_information_that_is_not_there_has_the_bias_that_the_docstring_says() -> None:
    """2 n I is chi-squared with (bins - 1)(values - 1) degrees of freedom (Wilks)."""
    rng = np.random.default_rng(0)
    n, bins, codes = 4000, 8, 60
    found = mutual_information(rng.random((n, codes)), rng.integers(0, 5, (n, 1)), bins)
    degrees = (bins - 1) * 4
    assert 2 * n * found.mean() == pytest.approx(degrees, abs=5 * math.sqrt(2 * degrees / codes))


# ---- the formulas, from given matrices


def test_the_gap_is_between_the_best_two() -> None:
    information = np.array([[0.9, 0.2], [0.4, 0.2], [0.1, 0.0]])
    assert mig(information, np.array([1.0, 0.5])) == pytest.approx((0.5 + 0) / 2)
    assert mig(information[:1], np.array([1.0, 0.5])) == pytest.approx((0.9 + 0.4) / 2)


def test_modularity_is_its_formula() -> None:
    """One factor: 1; one half as much of a second of three: 1 - (1/4) / 2; all alike: 0; nothing: none."""
    assert modularity(np.array([[0.0, 2.0, 0.0]])) == 1
    assert modularity(np.array([[1.0, 0.5, 0.0]])) == pytest.approx(0.875)
    assert modularity(np.array([[0.3, 0.3, 0.3]])) == pytest.approx(0)
    assert modularity(np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])) == pytest.approx(1.875 / 2)
    assert modularity(np.zeros((2, 3))) == 0


@pytest.mark.parametrize(
    ("importance", "d", "c"),
    [
        (np.eye(4), 1, 1),
        (np.eye(4)[[2, 0, 3, 1]], 1, 1),
        (np.full((5, 3), 0.2), 0, 0),
        (np.array([[0.5, 0], [0.5, 0], [0, 1]]), 1, (2 - math.log(2, 3)) / 2),
        (np.array([[1, 1, 0], [0, 0, 1]]), (2 * (1 - math.log(2, 3)) + 1) / 3, 1),
        (np.array([[1.0, 0], [0, 1], [0, 0]]), 1, 1),
        (np.ones((1, 3)), 0, 1),
        (np.zeros((2, 3)), 0, 0),
    ],
)
def test_disentanglement_and_completeness_are_their_formulas(importance: np.ndarray, d: float, c: float) -> None:
    assert disentangled_and_complete(importance) == pytest.approx((d, c))


# ---- planted codes

PERFECT = ["mig", "modularity", "disentanglement", "completeness", "informativeness", "sap_regression", "factor_vae", "beta_vae"]  # fmt: skip


def test_perfect_codes_score_one() -> None:
    assert scores(CODES) == pytest.approx(dict.fromkeys(PERFECT, 1.0))


def test_the_order_sign_and_scale_of_codes_do_not_matter() -> None:
    codes = np.hstack([CODES @ [[1, 0.3, 0], [0, 1, 0], [0.2, 0, 1]], np.zeros((len(GRID), 1))]) + 2 * noise(4)
    moved = codes[:, [2, 3, 0, 1]] * [-4.0, 0.5, 8.0, -0.25] + [0.0, 5.0, -1.0, 0.0]
    one, other = scores(codes), scores(moved)
    for name in ("disentanglement", "completeness", "informativeness"):  # trees break ties by the order of codes
        assert other.pop(name) == pytest.approx(one.pop(name), abs=0.02)
    assert other == pytest.approx(one, abs=1e-3)
    assert max(one.values()) < 0.99


def test_a_rotation_by_45_degrees_is_what_theory_says() -> None:
    """Each of two codes says as much of the one factor as of the other: no gap, importances of one half each, and no code
    that stands still, nor a difference, by which to tell which of the two factors is fixed."""
    found = scores(CODES @ ROTATION)
    assert found["mig"] == pytest.approx(1 / 3)
    assert found["modularity"] == pytest.approx((1 + 2 * (1 - 1 / 2)) / 3)
    half = (1 + 2 * (1 - math.log(2, 3))) / 3
    assert found["disentanglement"] == pytest.approx(half, abs=0.03)
    assert found["completeness"] == pytest.approx(half, abs=0.03)
    assert found["informativeness"] == 1
    assert found["sap_regression"] == pytest.approx(1 / 3)
    for name in ("factor_vae", "beta_vae"):
        assert found[name] == pytest.approx(2 / 3, abs=share_error(0.5, TEST * 2 // 3))


@pytest.mark.parametrize("spread", [0.3, 0.5, 1.0])
def test_noise_of_a_code_is_no_lack_of_disentanglement(spread: float) -> None:
    """Code j is factor j and noise: it says something of that factor alone, and no other code does. Another scale of a code and
    codes of noise beside it are nothing to that."""
    codes = np.hstack([(GRID + spread * noise(3)) * [1.0, -5.0, 1e-12], noise(3, seed=1)])
    found = dci(codes, GRID)
    assert found.disentanglement > 0.97
    assert found.completeness > 0.97
    assert found.informativeness < 0.95


def test_noise_of_entangled_codes_leaves_them_entangled() -> None:
    """Turned by 45 degrees: that two codes share two factors is as it was without noise, and so is a general mixture's."""
    half = (1 + 2 * (1 - math.log(2, 3))) / 3
    found = dci(CODES @ ROTATION + 0.5 * noise(3), GRID)
    assert found.disentanglement == pytest.approx(half, abs=0.06)
    assert found.completeness == pytest.approx(half, abs=0.06)
    even = np.array([[1, 1, 1], [1, -1, 1], [1, 0, -2]]) / np.sqrt([3, 2, 6])
    assert dci(CODES @ even + 0.3 * noise(3), GRID).disentanglement < 0.35


def test_a_code_that_is_there_twice_costs_completeness_and_gap_alone() -> None:
    found = scores(CODES[:, [0, 0, 1, 2]])
    assert found["mig"] == pytest.approx(2 / 3)
    assert found["sap_regression"] == pytest.approx(2 / 3)
    assert found["completeness"] == pytest.approx((1 - math.log(2, 4) + 2) / 3, abs=0.02)
    for name in ("modularity", "disentanglement", "informativeness", "factor_vae", "beta_vae"):
        assert found[name] == pytest.approx(1), name


def test_a_code_of_two_factors_costs_modularity_and_disentanglement_alone() -> None:
    """6 a + b says all of a and all of b."""
    codes = np.stack([6 * GRID[:, 0] + GRID[:, 1], GRID[:, 2]], 1).astype(float)
    information = mutual_information(codes, GRID, bins=36)
    assert modularity(information) == pytest.approx((1 / 2 + 1) / 2)
    assert mig(information, entropies(GRID)) == pytest.approx(1)
    found = dci(codes, GRID)
    assert found.completeness == found.informativeness == 1
    assert found.disentanglement == pytest.approx((2 * (1 - math.log(2, 3)) + 1) / 3)


@pytest.mark.parametrize("dead", [np.zeros((len(GRID), 2)), 0.01 * noise(2)])
def test_dead_codes_change_nothing(dead: np.ndarray) -> None:
    found = scores(np.hstack([CODES, dead]))
    bias = 3 * 19 * 5 / (2 * len(GRID)) / math.log(6)  # of the information of noise
    assert found == pytest.approx(dict.fromkeys(PERFECT, 1.0), abs=bias if dead.any() else 1e-9)
    assert [found[name] for name in PERFECT if name not in ("mig", "sap_regression")] == pytest.approx([1] * 6)


def test_codes_of_noise_change_modularity_alone() -> None:
    """The mean over codes counts them, with the little that the noise of estimates gives them."""
    found = scores(np.hstack([CODES, noise(3)]))
    assert 0.5 <= found.pop("modularity") < 0.85
    assert found.pop("mig") == pytest.approx(1, abs=3 * 19 * 5 / (2 * len(GRID)) / math.log(6))
    assert found.pop("sap_regression") == pytest.approx(1, abs=20 / len(GRID))
    assert set(found.values()) == {1.0}


def test_codes_that_say_nothing_score_chance() -> None:
    found = scores(noise(4))
    assert found["mig"] == pytest.approx(0, abs=0.02)
    assert found["disentanglement"] == pytest.approx(0, abs=0.02)
    assert found["completeness"] == pytest.approx(0, abs=0.02)
    assert found["sap_regression"] == pytest.approx(0, abs=20 / len(GRID))
    assert found["informativeness"] == pytest.approx(1 / 6, abs=share_error(1 / 6, len(GRID)))
    assert found["factor_vae"] == pytest.approx(1 / 3, abs=0.06)  # the codes of these rows are not quite independent
    assert found["beta_vae"] == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_codes_that_are_all_dead_score_chance(score: Callable[..., float]) -> None:
    assert score(np.zeros((len(GRID), 2)), GRID) == pytest.approx(1 / 3, abs=1e-3)


def test_two_binary_factors_are_told_by_lines() -> None:
    """The right code is always right, the other is right by chance: a gap of one half."""
    factors = np.random.default_rng(0).integers(0, 2, (6000, 2))
    assert sap(2.0 * factors - 1, factors) == pytest.approx(0.5, abs=share_error(0.5, 4000))
    assert sap((2.0 * factors - 1)[:, [0, 0, 1, 1]], factors) == 0


def test_the_explained_variance_of_a_sum_is_its_part_s_share() -> None:
    """z = 2 a + b with a, b independent and alike: R^2 is 4/5 for a and 1/5 for b."""
    codes = (2.0 * GRID[:, 0] + GRID[:, 1])[:, None]
    assert sap_regression(codes, GRID[:, :2]) == pytest.approx((4 / 5 + 1 / 5) / 2)


def test_the_same_seed_scores_the_same_and_leaves_the_global_noise_alone() -> None:
    rows = np.random.default_rng(0).permutation(len(GRID))[:300]
    codes, factors = (CODES + noise(3))[rows], GRID[rows]
    state = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    one = scores(codes, factors)
    assert scores(codes, factors) == one
    assert np.random.get_state()[1].tolist() == state  # type: ignore[union-attr]
    assert scores(codes, factors, seed=1) != one


# ---- groups


def test_groups_share_a_value_and_are_drawn_evenly_from_all_that_have_it() -> None:
    values = np.array([2, 0, 2, 5, 2, 0])
    rows = np.array([0, 1, 3, 4])
    drawn = alike(values, rows, 9000, np.random.default_rng(0))
    assert drawn.shape == (4, 9000)
    assert (values[drawn] == values[rows][:, None]).all()
    for made, among in zip(drawn, ([0, 2, 4], [1, 5], [3], [0, 2, 4]), strict=True):
        counts = np.bincount(made, minlength=6)
        assert [row for row in range(6) if counts[row]] == among
        assert counts[among] == pytest.approx(9000 / len(among), abs=5 * math.sqrt(9000 / 4))
