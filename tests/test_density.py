"""Values of single examples, and scores that tell data from elsewhere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, exact_model, line_mixture, seeded, z_score
from vlb.data import Split
from vlb.density import EvenTimes, PerExample, complexity, detection, likelihood_ratio, typicality
from vlb.errors import UserError
from vlb.evaluation import evaluate
from vlb.models.mixture import gaussian_mixture
from vlb.schedule import LogSNRLinear


@settings(max_examples=30, derandomize=True, deadline=None)
@given(draws=st.integers(1, 20), n=st.integers(1, 9), seed=st.integers(0, 100))
def test_times_of_each_example_are_one_in_each_stratum(draws: int, n: int, seed: int) -> None:
    measure, generator = EvenTimes(draws), seeded(seed)
    drawn = [measure.draw(n, generator) for _ in range(draws)]
    t = torch.stack([place for place, _ in drawn], 1)
    strata = (t * draws).floor().sort(1).values
    # A time on the border of two strata may round to either.
    inside = ((t * draws) % 1 > 1e-9).all() and ((t * draws) % 1 < 1 - 1e-9).all()
    assert float(t.min()) >= 0 and float(t.max()) < 1
    assert not inside or torch.equal(strata, torch.arange(draws, dtype=torch.float64).expand(n, -1))
    assert all(torch.equal(weight, torch.ones_like(weight)) for _, weight in drawn)


def test_value_of_one_example_is_unbiased_and_its_error_is_what_is_stated() -> None:
    # With the exact model the bound is log p(x), whatever x.
    data, x = line_mixture(), torch.tensor([[0.3]], dtype=torch.float64)
    model = exact_model(data, LogSNRLinear(-6.0, 6.0))
    truth = -float(data.log_prob(x))
    many = evaluate(PerExample(model, 8), Split(x.expand(2000, 1).numpy().copy()), passes=4)
    assert abs(z_score(torch.from_numpy(many.totals), truth)) < LIMIT
    # Stated per example: the mean square of the errors is the mean of the variances, 3 degrees of freedom each.
    ratio = np.mean((many.totals - truth) ** 2) / many.monte_carlo_variance.mean()
    assert abs(ratio - 1) < LIMIT * math.sqrt((2 + 2 / 3) / 2000) * 2  # a factor 2 for tails that are not Gaussian


def test_even_times_are_more_precise_than_independent_ones() -> None:
    # In 16 dimensions the error at one noise level is nearly the same at every draw: what varies are the levels.
    size = 16
    data = gaussian_mixture(torch.ones(1), torch.zeros(1, size), 0.3 * torch.eye(size).unsqueeze(0))
    model = exact_model(data, LogSNRLinear(-8.0, 8.0))
    x = data.expand(1).sample(seeded()).expand(300, size).numpy().copy()
    even = evaluate(PerExample(model, 16), Split(x), passes=2)
    single = evaluate(PerExample(model, 1), Split(x), passes=32)
    # Of the diffusion term, which is what is spread.
    assert even.values[:, 2].var() < 0.5 * single.values[:, 2].var()


def test_no_draws_are_refused() -> None:
    with pytest.raises(UserError, match="at least one draw"):
        PerExample(exact_model(line_mixture(), LogSNRLinear(-6.0, 6.0)), 0)


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
