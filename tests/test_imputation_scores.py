"""The scores and the Gaussian of benchmarks/imputation against closed forms."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT

stats = pytest.importorskip("scipy.stats")
HERE = Path(__file__).parents[1] / "benchmarks" / "imputation"


def benchmark(name: str) -> ModuleType:
    """A module of the benchmark, which finds those beside it as a command does."""
    sys.path.insert(0, str(HERE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HERE))


scores, gaussian, masks = (benchmark(name) for name in ("scores", "gaussian", "masks"))
NUMBERS = np.zeros(1, int)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 999), st.integers(2, 6), st.integers(1, 5), st.integers(1, 4))
def test_the_energy_score_is_its_definition(seed: int, many: int, n: int, columns: int) -> None:
    """Over all pairs of different draws, of the hidden cells of a row alone."""
    random = np.random.default_rng(seed)
    counts = random.choice([0, 3], columns)
    x, *draws = (
        np.where(counts, random.integers(0, 3, (n, columns)), random.normal(size=(n, columns))) for _ in range(many + 1)
    )
    gone = random.random((n, columns)) < 0.6
    gone[0, 0] = True

    def apart(a: np.ndarray, b: np.ndarray, hidden: np.ndarray) -> float:
        squares = np.where(counts, (a != b).astype(float), (a - b) ** 2)
        return float(np.sqrt(squares[hidden].sum()))

    expected = []
    for row in np.flatnonzero(gone.any(1)):
        hidden = gone[row]
        near = np.mean([apart(draw[row], x[row], hidden) for draw in draws])
        pairs = [apart(a[row], b[row], hidden) for i, a in enumerate(draws) for j, b in enumerate(draws) if i != j]
        expected.append(near - 0.5 * np.mean(pairs))
    assert scores.energy(np.stack(draws), x, gone, counts) == pytest.approx(np.mean(expected))


def test_the_energy_score_of_a_gaussian_is_unbiased_for_its_closed_form() -> None:
    """CRPS of N(0, 1) at y: y (2Φ(y) − 1) + 2φ(y) − 1/√π (Gneiting & Raftery 2007). Three z-scores within 5.5."""
    random = np.random.default_rng(0)
    for y in (-1.0, 0.0, 2.5):
        expected = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
        x, gone = np.full((1, 1), y), np.ones((1, 1), bool)
        found = [scores.energy(random.normal(size=(5, 1, 1)), x, gone, NUMBERS) for _ in range(4000)]
        assert abs(np.mean(found) - expected) < (LIMIT + 0.5) * np.std(found) / len(found) ** 0.5


def test_the_energy_score_of_a_category_is_a_brier_score() -> None:
    """With all draws of a law as often as it says: 1 − p(x) − ½ (1 − Σ p²) as draws grow, for different ones are 1
    apart."""
    draws = np.repeat([0, 1, 2], [500, 300, 200]).astype(float)[:, None, None]
    found = scores.energy(draws, np.ones((1, 1)), np.ones((1, 1), bool), np.array([3]))
    assert found == pytest.approx(0.7 - 0.5 * (1 - 0.38), abs=1e-3)


def test_the_energy_score_is_least_for_the_true_law() -> None:
    random = np.random.default_rng(1)
    x, gone = random.normal(size=(3000, 1)), np.ones((3000, 1), bool)
    right, wide, off = (
        scores.energy(at + scale * random.normal(size=(19, 3000, 1)), x, gone, NUMBERS)
        for at, scale in ((0.0, 1.0), (0.0, 2.0), (0.7, 1.0))
    )
    assert right < wide and right < off


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_of_draws_cover_a_further_draw_as_often_as_they_say(level: float) -> None:
    """Of twenty different numbers each in turn is the cell, and the others are its draws: exactly."""
    numbers = np.random.default_rng(2).normal(size=scores.DRAWS + 1)
    draws = np.stack([np.delete(numbers, place) for place in range(len(numbers))], 1)[..., None]
    low, high = scores.interval(draws, level)
    gone = np.ones((len(numbers), 1), bool)
    assert scores.coverage(low, high, numbers[:, None], gone) == pytest.approx(level)


def test_points_are_scored_in_hidden_cells_alone() -> None:
    x = np.array([[0.0, 1.0], [2.0, 3.0]])
    found, gone = x + np.array([[1.0, 5.0], [-2.0, 0.0]]), np.array([[True, False], [True, True]])
    assert scores.rmse(found, x, gone) == pytest.approx((5 / 3) ** 0.5)
    assert scores.mae(found, x, gone) == pytest.approx(1.0) and scores.accuracy(found, x, gone) == pytest.approx(1 / 3)


def test_log_p_of_hidden_cells_is_a_ratio_of_gaussian_densities() -> None:
    random = np.random.default_rng(3)
    root, mean = random.normal(size=(4, 4)), random.normal(size=4)
    covariance, x = root @ root.T + np.eye(4), random.normal(size=(6, 4))
    gone = random.random((6, 4)) < 0.5
    gone[0], gone[1] = True, False
    found = gaussian.log_prob(mean, covariance, x, gone)
    for row, hidden, value in zip(x, gone, found, strict=True):
        parts = [slice(None), ~hidden]
        both, known = (
            stats.multivariate_normal(mean[own], covariance[np.ix_(*[np.arange(4)[own]] * 2)]).logpdf(row[own])
            if len(row[own])
            else 0.0
            for own in parts
        )
        assert value == pytest.approx(both - known)


def test_em_without_gaps_is_the_mean_and_the_covariance() -> None:
    x = np.random.default_rng(4).normal(size=(50, 3))
    mean, covariance = gaussian.fit(x, np.zeros(x.shape, bool))
    assert np.allclose(mean, x.mean(0)) and np.allclose(covariance, np.cov(x.T, bias=True), atol=2e-3)


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_masks_hide_the_share_that_they_say(mechanism: str) -> None:
    """The share of each column that may be hidden: 16 z-scores within 5.5, false alarms 6e-7."""
    x = np.random.default_rng(5).normal(size=(4000, 6)) ** 3
    gone = masks.hidden(mechanism, x, 0.3, 0)
    shares = gone.mean(0)
    hidden = shares > 0
    assert hidden.sum() == (4 if mechanism == "mar" else 6)
    assert (np.abs(shares[hidden] - 0.3) < (LIMIT + 0.5) * (0.21 / 4000) ** 0.5).all()
    if mechanism == "mcar":
        assert np.array_equal(gone, np.random.default_rng(0).random(x.shape) <= 0.3)
    if mechanism == "mnar":
        larger = np.array([column[lost].mean() - column.mean() for column, lost in zip(x.T, gone.T, strict=True)])
        assert (np.abs(larger) > 0.3).all()
