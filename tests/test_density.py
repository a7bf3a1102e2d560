"""Scores that tell data from elsewhere."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT
from vlb.base.errors import UserError
from vlb.measure.outliers import complexity, detection, likelihood_ratio, typicality


def test_scores() -> None:
    nats, background = np.array([1.0, 5.0]), np.array([2.0, 3.0])
    assert typicality(nats, 3.0).tolist() == [2.0, 2.0]
    assert likelihood_ratio(nats, background).tolist() == [-1.0, 2.0]


def test_plain_examples_are_less_complex_than_noise() -> None:
    generator = np.random.default_rng(0)
    plain, noise = np.full((3, 1, 16, 16), 7), generator.integers(0, 256, (3, 1, 16, 16))
    assert complexity(plain, 256).max() < 0.2 * complexity(noise, 256).min()
    # Noise cannot be compressed: a little more than log K per value.
    assert complexity(noise, 256).min() > 256 * math.log(256)
    assert complexity(noise.astype(np.uint16), 1024).shape == (3,)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    known=st.lists(st.integers(-5, 5), min_size=2, max_size=12),
    strange=st.lists(st.integers(-5, 5), min_size=2, max_size=12),
)
def test_auroc_counts_pairs(known: list[int], strange: list[int]) -> None:
    pairs = [(b > a) + 0.5 * (a == b) for a in known for b in strange]
    found = detection(np.array(known, float), np.array(strange, float))
    assert found.auroc == pytest.approx(np.mean(pairs))
    swapped = detection(np.array(strange, float), np.array(known, float))
    assert swapped.auroc == pytest.approx(1 - found.auroc)
    assert swapped.error == pytest.approx(found.error)


def test_error_of_auroc_is_that_of_repetitions() -> None:
    generator = np.random.default_rng(0)
    found = [detection(generator.normal(size=60), generator.normal(0.8, 1, 90)) for _ in range(800)]
    spread = np.std([one.auroc for one in found], ddof=1)
    stated = math.sqrt(np.mean([one.error**2 for one in found]))
    assert abs(spread / stated - 1) < LIMIT / math.sqrt(2 * 800) + 0.03  # DeLong's is right to first order
    truth = 0.5 * (1 + math.erf(0.8 / 2))  # P(N(0.8, 2) > 0)
    assert abs(np.mean([one.auroc for one in found]) - truth) < LIMIT * spread / math.sqrt(800)


def test_detection_needs_examples() -> None:
    with pytest.raises(UserError, match="at least 2"):
        detection(np.zeros(1), np.zeros(5))
