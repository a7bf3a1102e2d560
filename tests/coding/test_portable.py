"""Functions tabulated without libm agree with it, and snapping costs what it says."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vlb.coding.portable import LOG_FLOOR, LOG_STEP, logistic_cdf, normal_cdf, snapped_probabilities, snapped_weights


def test_the_normal_cdf_is_one() -> None:
    x = np.linspace(-12, 12, 100_001)
    exact = torch.special.ndtr(torch.from_numpy(x)).numpy()
    assert np.abs(normal_cdf(x) - exact).max() < 1e-6
    assert (np.diff(normal_cdf(x)) >= 0).all()
    assert normal_cdf(np.array([-np.inf, np.inf])).tolist() == [0.0, 1.0]
    assert np.abs(normal_cdf(x) + normal_cdf(-x) - 1).max() < 1e-12


def test_the_logistic_cdf_is_one() -> None:
    x = np.linspace(-40, 40, 100_001)
    exact = torch.sigmoid(torch.from_numpy(x)).numpy()
    assert np.abs(logistic_cdf(x) - exact).max() < 1e-6
    assert (np.diff(logistic_cdf(x)) >= 0).all()
    assert np.abs(logistic_cdf(x) + logistic_cdf(-x) - 1).max() < 1e-12
    assert logistic_cdf(np.array([-np.inf, -33, 33, np.inf])).tolist() == [0, 0, 1, 1]
    between = x[(x > -30) & (x < 0)]  # relative to the tail itself
    assert np.abs(logistic_cdf(between) / torch.sigmoid(torch.from_numpy(between)).numpy() - 1).max() < 1e-5


def test_masses_in_the_tail_keep_their_relative_size() -> None:
    edges = np.arange(-6.5, 6.6, 0.5)
    exact = np.diff(torch.special.ndtr(torch.from_numpy(edges)).numpy())
    assert np.abs(np.diff(normal_cdf(edges)) / exact - 1).max() < 1e-3


@given(arrays.arrays(np.float64, (4, 7), elements=st.floats(-30, 30)))
@settings(derandomize=True, deadline=None)
def test_snapped_probabilities_are_near_a_softmax(logits: np.ndarray) -> None:
    exact = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    exact -= logits.max(-1, keepdims=True)
    weights = snapped_probabilities(logits)
    coded = np.log(weights / weights.sum(-1, keepdims=True))
    cost = (np.exp(exact) * (exact - coded)).sum(-1)
    assert (weights > 0).all()
    assert (cost <= LOG_STEP**2 / 8 + 30 * np.exp(LOG_FLOOR)).all()
    whole = snapped_weights(logits)
    assert (whole == np.rint(whole)).all() and (whole.max(-1) == 1 << 20).all() and (whole >= 0).all()
    for snapped in (snapped_weights, snapped_probabilities):  # each row by itself, however many axes are before it
        assert np.array_equal(snapped(logits.reshape(2, 2, 7)), snapped(logits).reshape(2, 2, 7))


def test_small_differences_disappear() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 200)) * 4
    moved = logits * (1 + 1e-15 * rng.normal(size=logits.shape))
    assert np.array_equal(snapped_probabilities(logits), snapped_probabilities(moved))
