"""Chamfer distances against brute force, and what they say of two sets of clouds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.measure.clouds import chamfer, likeness


def by_hand(a: np.ndarray, b: np.ndarray) -> float:
    there = [min(sum((p - q) ** 2) for q in b) for p in a]
    back = [min(sum((p - q) ** 2) for p in a) for q in b]
    return sum(there) / len(there) + sum(back) / len(back)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 3), st.floats(-1e3, 1e3), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_chamfer_is_what_loops_find(n: int, m: int, coordinates: int, away: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = away + rng.normal(size=(3, n, coordinates)), away + rng.normal(size=(2, m, coordinates))
    found = chamfer(a, b)
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            assert found[i, j] == pytest.approx(by_hand(one, other), rel=1e-9, abs=1e-9)
    assert np.allclose(found.T, chamfer(b, a))


@given(st.integers(2, 40), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_it_does_not_know_an_order(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = 1e4 + rng.normal(size=(2, n, 3))
    turned = a[:, rng.permutation(n)]
    assert np.array_equal(np.diag(chamfer(a, turned)), np.zeros(2))
    b = rng.normal(size=(3, n, 3))
    assert np.allclose(chamfer(turned, b), chamfer(a, b))


def test_it_is_in_squared_units() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 7, 3))
    assert np.allclose(chamfer(10 * a, 10 * b), 100 * chamfer(a, b))


def test_one_law_cannot_be_told_from_itself() -> None:
    """Of 200 clouds each, neighbours are right half the time: 6 standard errors of independent ones, and neighbours are
    dependent (a factor of 1.5); all within a factor of the coverage of draws with replacement, 1 − 1/e, or more."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1, 3)) + 0.1 * rng.normal(size=(400, 8, 3))
    found = likeness(x[:200], x[200:])
    assert abs(found.one_nn - 0.5) < 1.5 * 6 * found.one_nn_error
    assert 0.5 < found.coverage < 0.8 and found.count == 200


def test_what_is_far_away_is_told() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6, 3))
    apart = likeness(x[:20] + 100, x[20:])
    assert apart.one_nn == 1 and apart.matching > 1e4
    collapsed = likeness(np.repeat(x[:1], 20, 0), x[20:])
    assert collapsed.coverage == pytest.approx(1 / 20)
    same = likeness(x, x[:, ::-1])
    assert same.matching == 0 and same.coverage == 1
    assert math.isclose(same.one_nn, 0)  # the nearest of each is its twin, of the other kind


@pytest.mark.parametrize("n, m", [(3, 4), (1, 1)])
def test_as_many_of_each(n: int, m: int) -> None:
    with pytest.raises(ValueError, match="as many of each"):
        likeness(np.zeros((n, 2, 3)), np.zeros((m, 2, 3)))
