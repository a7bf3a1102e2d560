"""Paired differences: their errors, their test, what is refused, and where on the noise axis they arise."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.oracles import LIMIT, exact_model, line_mixture, seeded
from vlb.base.errors import UserError
from vlb.core.terms import BoundKind
from vlb.data import Split
from vlb.measure.comparison import Contender, holm, level_differences, paired, refuse_incomparable
from vlb.measure.evaluation import Evaluation
from vlb.measure.evaluation_file import Subject
from vlb.measure.tightness.perturbed import Perturbed
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.pages.comparison import verdict

SUBJECT = Subject("digits", "abc", "test", 17, (2, 2), BoundKind("bound on"), False, "m", {"seed": 0})


def contender(name: str, values: np.ndarray, noise: float = 0.0, passes: int = 4, seed: int = 0) -> Contender:
    """A contender whose values are of `passes` draws with independent noise of that standard deviation each."""
    draws = values + noise * np.random.default_rng(seed).standard_normal((passes, len(values)))
    variance = draws.var(0, ddof=1) / passes
    means = np.stack((0.25 * draws.mean(0), 0.75 * draws.mean(0)), 1)
    evaluation = Evaluation(
        (("reconstruction",), (name,)),
        means,
        draws.mean(1, keepdims=True),
        len(values),
        variance,
        4,
        SUBJECT.bound,
        False,
    )
    return Contender(
        name, evaluation, dataclasses.replace(SUBJECT, model=name, options={"seed": seed}), np.arange(len(values))
    )


def test_exact_values_give_the_paired_t_test() -> None:
    generator = np.random.default_rng(1)
    base = 30 * generator.standard_normal(50)
    other = base + 0.3 + generator.standard_normal(50)
    difference = paired(contender("a", base), contender("b", other)).total
    reference = stats.ttest_rel(other, base)
    low, high = reference.confidence_interval(0.95)
    assert difference.p_value == pytest.approx(reference.pvalue)
    assert difference.interval() == pytest.approx((low, high))
    assert difference.freedom == pytest.approx(49)


def test_independent_draws_are_accounted_for_apart() -> None:
    # The truth differs by 1 for all examples: all error is Monte Carlo error, which the passes show.
    base = 30 * np.random.default_rng(1).standard_normal(2000)
    a, b = contender("a", base, 5.0, 64, seed=1), contender("b", base + 1, 5.0, 64, seed=2)
    difference = paired(a, b).total
    expected = math.sqrt(2) * 5 / math.sqrt(64 * 2000)
    assert difference.se_monte_carlo == pytest.approx(expected, rel=0.5)  # 126 degrees of freedom: 8 standard errors
    assert difference.se_data < 2 * expected
    assert abs(difference.mean - 1) < LIMIT * difference.standard_error
    same_seed = paired(a, dataclasses.replace(b, subject=a.subject)).total
    assert same_seed.se_monte_carlo == 0 and same_seed.se_data > difference.se_data


def test_the_same_values_show_no_difference() -> None:
    a = contender("a", np.arange(5.0))
    difference = paired(a, dataclasses.replace(a, name="b")).total
    assert (difference.mean, difference.p_value) == (0, 1)


def test_terms_add_up_and_what_only_one_has_is_the_rest() -> None:
    a, b = contender("a", np.arange(6.0)), contender("b", np.arange(6.0) ** 2)
    found = paired(a, b)
    assert set(found.terms) == {("reconstruction",), ("rest",)}
    assert sum(term.mean for term in found.terms.values()) == pytest.approx(found.total.mean)
    exact = stats.sem(0.25 * (np.arange(6.0) ** 2 - np.arange(6.0)))
    assert found.terms[("reconstruction",)].standard_error == pytest.approx(exact)


def test_extremes_are_the_largest_differences_of_either_sign() -> None:
    values = np.array([3.0, -4.0, 0.0, 1.0, -0.5])
    found = paired(contender("a", np.zeros(5)), contender("b", values))
    first, second = found.extremes(2)
    assert first.tolist() == [0, 3] and second.tolist() == [1, 4]
    assert paired(contender("a", np.zeros(5)), contender("b", np.ones(5))).extremes(2)[1].size == 0


@pytest.mark.parametrize(
    "change, words",
    [
        ({"fingerprint": "other", "data": "mnist"}, "other data"),
        ({"split": "validation"}, "split"),
        ({"levels": None}, "density"),
        ({"levels": 256}, "levels"),
        ({"shape": (4, 1)}, "shape"),
        ({"measure": "Lebesgue, per unit"}, "against counting, the other against Lebesgue, per unit"),
        ({"conditional": True}, r"p\(x \| y\)"),
        ({"options": {"likelihood": {"dequantisation": "uniform"}}}, "dequantisation"),
    ],
)
def test_what_is_not_of_the_same_thing_is_refused(change: dict, words: str) -> None:
    a = dataclasses.replace(SUBJECT, measure="counting", options={"likelihood": {"dequantisation": "diffused"}})
    b = dataclasses.replace(a, **change)
    index = np.arange(3)
    refuse_incomparable("a", a, index, "b", a, index)
    with pytest.raises(UserError, match=words):
        refuse_incomparable("a", a, index, "b", b, index)
    with pytest.raises(UserError, match="different examples"):
        refuse_incomparable("a", a, index, "b", a, index + 1)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))


class Steeper(DiffusionModel):
    """The exact model of the mixture on the line, its noise estimate (1 + δ) times too large."""

    def __init__(self, delta: float, schedule: LogSNRLinear) -> None:
        exact = exact_model(line_mixture(), schedule)
        denoiser = Perturbed(exact.denoiser, torch.full((1, 1), delta), exact.process.scaling)
        super().__init__(exact.process, denoiser, exact.embedding, exact.shape, exact.prior)


def test_level_differences_are_the_excess_of_the_worse_denoiser() -> None:
    # E‖ε − (1 + δ) E[ε | z]‖² is larger by δ² E‖E[ε | z]‖² = δ² (1 − m(λ)).
    from tests.oracles import noise_error

    data, delta = line_mixture(), 0.5
    x = data.expand(4000).sample(seeded())
    models = Steeper(0.0, LogSNRLinear(-5.0, 5.0)), Steeper(delta, LogSNRLinear(-4.0, 6.0))
    found = level_differences(*models, Split(x.numpy()), bins=5)
    assert found.edges == pytest.approx(np.linspace(-5, 4, 6))
    for low, high, mean, error in zip(found.edges, found.edges[1:], found.means, found.errors, strict=False):
        levels = np.linspace(low, high, 21)
        rates = [0.5 * delta**2 * (1 - noise_error(data, float(level))) for level in levels]
        assert abs(mean - np.trapezoid(rates, levels)) < LIMIT * error
    same = level_differences(models[0], models[0], Split(x.numpy()[:50]), bins=3)
    assert np.abs(same.means).max() == 0


def test_hierarchies_without_a_common_noise_level_are_refused() -> None:
    split = Split(np.zeros((3, 1)))
    with pytest.raises(UserError, match="no noise level in common"):
        level_differences(Steeper(0, LogSNRLinear(-5.0, -2.0)), Steeper(0, LogSNRLinear(-1.0, 5.0)), split)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ("bound", "bound", "a has a better bound than b"),
        ("exact", "bound", "a is better than the bound of b"),
        ("bound", "exact", "a is better than b"),
        ("exact", "exact", "a is better than b"),
    ],
)
def test_a_verdict_claims_no_more_than_bounds_allow(low: str, high: str, words: str) -> None:
    """Below an exact −log p, a bound's own log p is the better one, too; below a bound it need not be."""
    a, b = (
        dataclasses.replace(c, subject=dataclasses.replace(c.subject, bound=BoundKind(bound, exact=bound == "exact")))
        for c, bound in (
            (contender("a", np.arange(9.0)), low),
            (contender("b", np.arange(9.0) ** 1.1 + 5), high),
        )
    )
    assert verdict(paired(a, b)) == words + "."
    assert verdict(paired(b, a)) == words + "."
