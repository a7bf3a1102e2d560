"""The stratified estimate: unbiased for any plan, exact where control variates are, at the cost it states."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracles import LIMIT, exact_model, line_mixture, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres, MixtureEmission
from vlb.data import Split
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.denoiser import Denoiser, PosteriorDenoiser, RegressionDenoiser
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Velocity
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import Cosine, LogSNRLinear
from vlb.models.diffusion.stratified import BINS, FLOOR, Plan, StratifiedBound, _plan, _Spread, fit

LEVELS, SHAPE = 5, (3,)
LOG_MARGINALS = torch.tensor([[0.4, 0.3, 0.1, 0.1, 0.1], [0.05, 0.15, 0.6, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]]).log()


class Crooked(nn.Module):
    """A backbone that mixes elements by a fixed nonlinear map; strength 0 is the independent-element model."""

    def __init__(self, outputs: int, strength: float) -> None:
        super().__init__()
        self.strength, self.outputs, self.asked = strength, outputs, 0
        self.map = nn.Parameter(torch.randn(3, 3 * outputs, generator=seeded(3)), requires_grad=False)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition) -> Tensor:
        self.asked += len(z)
        shift = 0.0 if condition.label is None else condition.label.to(z.dtype).view(-1, 1)
        return self.strength * torch.sin(2 * z @ self.map + shift).view(len(z), 3, self.outputs)


def discrete(strength: float) -> DiffusionModel:
    return of(posterior(strength, CategoricalPosterior(LOG_MARGINALS)))


def posterior(strength: float, head: nn.Module) -> Denoiser:
    return PosteriorDenoiser(Crooked(head.outputs, strength), head, VP())


def of(denoiser: Denoiser) -> DiffusionModel:
    process = GaussianDiffusion(LogSNRLinear(-3.0, 5.0), VP())
    return DiffusionModel(process, denoiser, Centres(LEVELS), SHAPE)


def some(n: int) -> Tensor:
    return torch.randint(0, LEVELS, (n, *SHAPE), generator=seeded(5), dtype=torch.uint8)


HEADS = {
    "posterior": lambda: posterior(0.7, CategoricalPosterior(LOG_MARGINALS)),
    "mixture": lambda: posterior(0.7, MixtureEmission(Centres(LEVELS), 2, torch.zeros(3), torch.full((3,), 0.5))),
    "regression": lambda: RegressionDenoiser(Crooked(1, 0.7), Velocity(), VP()),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_any_plan_is_unbiased(head) -> None:
    """Each term has the mean that independent draws give it, under uneven masses and slopes that fit nothing."""
    model = of(head())
    x = some(6).repeat(3000, 1)
    slopes = ((0.8, -0.5), (0.0, 1.3), (-0.4, 0.0), (0.7, 0.7))
    bound = StratifiedBound(model, Plan((0.1, 0.5, 0.15, 0.25), slopes, (0.6, -0.8), strata=3))
    with torch.no_grad():
        drawn, plain = bound.terms(x, UNCONDITIONAL, seeded(1)), model.terms(x, UNCONDITIONAL, seeded(2))
    for path in (("reconstruction",), ("diffusion",)):
        # Copies of one example are alike but for their draws, whose spread over a batch only narrows the mean.
        difference = (drawn[path] - plain[path]).view(3000, 6).mean(1)
        assert abs(z_score(difference)) < LIMIT, path
    torch.testing.assert_close(drawn[("prior",)], plain[("prior",)])


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    masses=st.lists(st.floats(0.02, 1.0), min_size=1, max_size=9),
    strata=st.integers(1, 7),
    schedule=st.sampled_from([LogSNRLinear, Cosine]),
)
def test_the_exact_model_stays_tight(masses: list[float], strata: int, schedule: type) -> None:
    """With exact denoiser, decoder and prior, −VLB(x) is −log p(x) at every x (DESIGN §6), however λ is drawn."""
    mixture = line_mixture()
    model = exact_model(mixture, schedule(-5.0, 4.0))
    plan = Plan(tuple(masses), ((0.0, 0.0),) * len(masses), (0.0, 0.0), strata)
    x = torch.tensor([[-0.8], [0.1], [1.2]])
    copies = x.repeat(1500, 1)
    with torch.no_grad():
        terms = StratifiedBound(model, plan).terms(copies, UNCONDITIONAL, seeded(7))
    totals = torch.stack(list(terms.values())).sum(0).view(1500, 3)
    for i in range(3):
        assert abs(z_score(totals[:, i], -mixture.log_prob(x[i : i + 1]).item())) < LIMIT


def test_what_is_independent_is_known_without_noise() -> None:
    """Of the independent-element model the control variate is the whole error: slopes of 1 leave the quadrature's."""
    model = discrete(0.0)
    plan = fit(model, some(60), UNCONDITIONAL, seeded(1))
    assert all(sum(slope) == pytest.approx(1, abs=1e-3) for slope in (*plan.slopes, plan.decoding))
    x = some(1).repeat(300, 1)
    with torch.no_grad():
        found, plain = (
            StratifiedBound(model, plan).terms(x, UNCONDITIONAL, seeded(2)),
            model.terms(x, UNCONDITIONAL, seeded(3)),
        )
    assert found[("reconstruction",)].var() < plain[("reconstruction",)].var() / 20
    assert found[("diffusion",)].var() < plain[("diffusion",)].var() / 200


@pytest.mark.slow
def test_a_fitted_plan_needs_fewer_evaluations() -> None:
    model, x = discrete(0.5), some(40)
    plan = fit(model, some(100), UNCONDITIONAL, seeded(1))
    network = model.denoiser.backbone
    cost = {}
    bounds = {"plain": StratifiedBound(model, Plan.plain()), "fitted": StratifiedBound(model, plan), "batch": model}
    for name, bound in bounds.items():
        network.asked = 0
        found = measure_bound(bound, Split(x.numpy()), passes=60, batch=20)
        cost[name] = found.se_monte_carlo**2 * network.asked
        if isinstance(bound, StratifiedBound):
            assert network.asked == 60 * len(x) * bound.evaluations
    # With 118 degrees of freedom each, a ratio of variances is within 2.5 of the true one at odds of 1e-6.
    assert cost["fitted"] < cost["batch"] / 2
    assert cost["fitted"] < cost["plain"]


def test_a_plan_is_fitted_to_as_many_times_in_every_bin() -> None:
    """Each bin of equal width in λ is looked at by every example, twice, at times within it."""
    model, asked, n = discrete(0.5), list[Tensor](), 20
    model.denoiser.backbone.register_forward_pre_hook(lambda _, given: asked.append(given[1][:, 0].double()))
    fit(model, some(n), UNCONDITIONAL, seeded(1))
    gamma = torch.cat(asked)
    inner = gamma[(gamma > -3.0 + 1e-9) & (gamma < 5.0 - 1e-9)]
    found = torch.histc(inner.float(), BINS, -3.0, 5.0)
    assert (found == found[0]).all() and int(found[0]) % n == 0


def test_conditions_reach_the_network() -> None:
    model, x = discrete(0.7), some(500)
    plan = dataclasses.replace(fit(model, x, Condition(label=torch.zeros(500, dtype=torch.long)), seeded(1)), strata=4)
    bound = StratifiedBound(model, plan)
    with torch.no_grad():
        first, second = (bound.terms(x, Condition(label=torch.full((500,), k)), seeded(2)) for k in (0, 2))
    assert not torch.equal(first[("diffusion",)], second[("diffusion",)])


def spread(noise: float, square: float) -> _Spread:
    return _Spread(square, {(False, False): (noise, (0.0, 0.0))})


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)), min_size=1, max_size=20), st.integers(1, 50))
def test_draws_go_where_variance_is(left: list[tuple[float, float]], strata: int) -> None:
    """Bins of width w and integrands of variance v_i within, drawn with probabilities m_i: Σ w² v_i/m_i per draw, least
    at m ∝ √v (Neyman), of which a part is spread evenly; even where nothing varies."""
    width, v = 0.25, [noise + square / (12 * strata**2) for noise, square in left]
    plan, cost = _plan([spread(*one) for one in left], None, width, strata, False)
    masses, n = np.array(plan.masses), len(left)
    assert masses.sum() == pytest.approx(1) and plan.strata == strata
    shape = np.sqrt(v) / np.sqrt(v).sum() if any(v) else np.full(n, 1 / n)
    assert masses == pytest.approx(FLOOR / n + (1 - FLOOR) * shape)
    assert cost == pytest.approx((width**2 * np.array(v) / masses).sum())


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1), st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    st.integers(1, 50),
)
def test_plans_survive_being_written(bins: list[tuple[float, float, float]], ends: tuple[float, float], n: int) -> None:
    plan = Plan(tuple(b[0] for b in bins), tuple((b[1], b[2]) for b in bins), ends, n)
    assert Plan.decode(plan.encode()) == plan


@pytest.mark.parametrize(
    "change",
    [
        {"masses": [0.5, 0.0]},
        {"masses": [0.5, -1.0]},
        {"masses": [0.5, float("nan")]},
        {"masses": [1.0]},
        {"masses": []},
        {"strata": 0},
        {"strata": 10**12},
        {"slopes": [[0.0], [1.0]]},
        {"slopes": None},
        {"decoding": "no"},
    ],
)
def test_plans_that_would_be_biased_are_refused(change: dict[str, object]) -> None:
    good = {"masses": [0.5, 0.5], "slopes": [[0.0, 1.0], [1.0, 0.0]], "decoding": [0.0, 0.0], "strata": 2}
    Plan.decode(good)
    with pytest.raises(UserError, match="plan"):
        Plan.decode(good | change)


def test_control_variates_need_a_head() -> None:
    model = exact_model(line_mixture(), LogSNRLinear(-5.0, 4.0))
    with pytest.raises(UserError, match="head"):
        StratifiedBound(model, Plan((1.0,), ((1.0, 0.0),), (0.0, 0.0)))
    plan = fit(model, line_mixture().expand(50).sample(seeded(1)), UNCONDITIONAL, seeded(2))
    assert not plan.context and set(plan.slopes) == {(0.0, 0.0)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_processor_and_gpu_agree() -> None:
    """All draws are made on the CPU, so that devices differ by their rounding alone."""
    x = Split(some(300).numpy())
    plan = fit(discrete(0.5), some(100), UNCONDITIONAL, seeded(1))
    found = []
    for device in ("cpu", "cuda"):
        model = discrete(0.5).to(device)
        for bound in (model, StratifiedBound(model, plan)):
            found.append(measure_bound(bound, x, passes=2, device=device).values)
    for one, other in ((found[0], found[2]), (found[1], found[3])):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
