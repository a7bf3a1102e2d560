"""The density of the flow against mixtures: exact with an exact denoiser, a density with any other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import LIMIT, SCALINGS, exact_model, line_grid, line_mixture, plane_mixture, seeded, z_score
from tests.sampling.laws import Bent, gaussian_model, observed_order
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Continuous
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.divergence import ExactDivergence, Hutchinson, with_divergence
from vlb.models.diffusion.flow.integrate import AdaptiveSteps, FixedSteps
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.samplers.ode import flow_field
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import MixtureDenoiser, gaussian_mixture

TIGHT = AdaptiveSteps(1e-9)


def plane() -> tuple[DiffusionModel, Tensor, Tensor]:
    """The exact model of a mixture in the plane, draws of z_0 and their log q(z_0)."""
    mixture = plane_mixture()
    model = exact_model(mixture, LogSNRLinear(-6.0, 5.0))
    law = mixture.diffused(*model.process.alpha_sigma(torch.zeros(1), torch.zeros(1, 2)))
    z = law.expand(40).sample(seeded(1))
    return model, z, law.log_prob(z)


@pytest.mark.parametrize("start", [0.0, 0.3])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_an_exact_denoiser_gives_the_exact_density(scaling, start: float) -> None:
    """log p_ODE(z_t) = log q(z_t) at any t, in every scaling."""
    mixture = plane_mixture()
    model = exact_model(mixture, LogSNRLinear(-6.0, 5.0), scaling)
    grid = torch.tensor([start, 1.0], dtype=torch.float64)
    law = mixture.diffused(*model.process.alpha_sigma(grid[:1], torch.zeros(1, 2)))
    z = law.expand(30).sample(seeded(2))
    found = Flow(model, TIGHT, grid=grid).log_prob(z, UNCONDITIONAL, seeded()).log_prob
    torch.testing.assert_close(found, law.log_prob(z), rtol=0, atol=1e-6)


def test_a_schedule_per_dimension_is_no_exception() -> None:
    mean, variance = torch.tensor([0.3, -1.0, 0.5]), torch.tensor([0.2, 1.5, 0.7])
    model = gaussian_model(mean, variance, Bent(-6.0, 9.0, torch.tensor([-0.5, 0.0, 0.7])))
    alpha, sigma = model.process.alpha_sigma(torch.zeros(1), torch.zeros(1, 3))
    std = (alpha**2 * variance + sigma**2).sqrt().squeeze(0)
    z = alpha * mean + std * torch.randn(20, 3, generator=seeded(3), dtype=torch.float64)
    exact = torch.distributions.Normal((alpha * mean).squeeze(0), std).log_prob(z).sum(1)
    # The prior is N(0, 1) where q(z_1) is nearly that: γ₁ = 9 leaves e⁻⁹ of the data.
    found = Flow(model, TIGHT).log_prob(z, UNCONDITIONAL, seeded()).log_prob
    torch.testing.assert_close(found, exact, rtol=0, atol=0.1)
    top = torch.ones(1)
    alpha, sigma = model.process.alpha_sigma(top, torch.zeros(1, 3))
    law = torch.distributions.Normal((alpha * mean).squeeze(0), (alpha**2 * variance + sigma**2).sqrt().squeeze(0))

    class Exact:
        def log_prob(self, value: Tensor) -> Tensor:
            return law.log_prob(value).sum(1)

    exact_ends = DiffusionModel(model.process, model.denoiser, Continuous(), (3,), prior=lambda _: Exact())
    found = Flow(exact_ends, TIGHT).log_prob(z, UNCONDITIONAL, seeded()).log_prob
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


def test_the_error_follows_the_tolerance_and_so_does_the_cost() -> None:
    model, z, exact = plane()
    evaluations = []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        density = Flow(model, AdaptiveSteps(tolerance)).log_prob(z, UNCONDITIONAL, seeded())
        assert (density.log_prob - exact).abs().max().item() < 300 * tolerance
        evaluations.append(density.evaluations)
    assert evaluations == sorted(evaluations)


def test_fixed_steps_converge_with_order_five() -> None:
    """Order five, approached from above where the leading term does not yet rule."""
    mixture = line_mixture()
    model = exact_model(mixture, LogSNRLinear(-2.0, 2.0))
    law = mixture.diffused(*model.process.alpha_sigma(torch.zeros(1), torch.zeros(1, 1)))
    z = law.expand(40).sample(seeded(1))

    def error(steps: int) -> float:
        flow = Flow(model, FixedSteps(), grid=UniformLogSNR()(model.process.schedule, steps))
        density = flow.log_prob(z, UNCONDITIONAL, seeded())
        assert density.evaluations == 6 * steps + 1
        return (density.log_prob - law.log_prob(z)).abs().mean().item()

    assert abs(observed_order(error, (16, 32, 64)) - 5) < 0.5


def test_fixed_steps_follow_an_uneven_grid() -> None:
    model, z, exact = plane()
    grid = torch.linspace(0, 1, 201, dtype=torch.float64) ** 2
    found = Flow(model, FixedSteps(), grid=grid).log_prob(z, UNCONDITIONAL, seeded()).log_prob
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


def test_an_inexact_denoiser_still_has_a_density() -> None:
    """It is another model than the data's, and integrates to one all the same."""
    mixture, other = line_mixture(), gaussian_mixture(torch.ones(1), torch.tensor([[0.3]]), torch.tensor([[[0.4]]]))

    class Misled(MixtureDenoiser):
        """Halfway between two models: the denoiser of no law at all."""

        def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL):
            right, wrong = super().forward(z, gamma), MixtureDenoiser(other, VP())(z, gamma)
            return right._replace(x=0.5 * (right.x + wrong.x), eps=0.5 * (right.eps + wrong.eps))

    process = GaussianDiffusion(LogSNRLinear(-4.0, 4.0))
    model = DiffusionModel(process, Misled(mixture, VP()), Continuous(), (1,))
    nodes, weights = line_grid(mixture.diffused(1.0, 0.5), 2001)
    log_prob = Flow(model, AdaptiveSteps(1e-8)).log_prob(nodes, UNCONDITIONAL, seeded()).log_prob
    assert abs((weights * log_prob.exp()).sum().item() - 1) < 1e-6
    law = mixture.diffused(*process.alpha_sigma(torch.zeros(1), torch.zeros(1, 1)))
    assert (log_prob - law.log_prob(nodes)).abs().max() > 0.1


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 2**31))
def test_the_exact_divergence_is_the_trace_of_the_jacobian(shape: list[int], batch: int, seed: int) -> None:
    size = math.prod(shape)
    generator = seeded(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    y = torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    def field(t: float, y: Tensor) -> Tensor:
        return (torch.sin(y.flatten(1)) @ matrix.T + t).view_as(y)

    slope = with_divergence(field, tuple(shape), ExactDivergence().probes(y, generator))
    state = torch.cat((y.flatten(1), torch.zeros(batch, 1, dtype=torch.float64)), 1)
    found = slope(0.4, state)
    torch.testing.assert_close(found[:, :-1], field(0.4, y).flatten(1))
    torch.testing.assert_close(found[:, -1], torch.cos(y.flatten(1)) @ matrix.diagonal())


def test_hutchinson_is_unbiased_and_knows_the_diagonal() -> None:
    """Its mean over probes is the exact log-density; where elements are independent every draw is."""
    model, z, exact = plane()
    n = 2_000
    flow = Flow(model, AdaptiveSteps(1e-7), Hutchinson())
    draws = flow.log_prob(z[:1].expand(n, -1), UNCONDITIONAL, seeded(4)).log_prob
    assert draws.std() > 1e-3
    assert abs(z_score(draws, exact[0].item())) < LIMIT
    independent = gaussian_model(torch.tensor([0.3, -1.0]), torch.tensor([0.2, 1.5]))
    stochastic, exactly = (
        Flow(independent, TIGHT, way).log_prob(z, UNCONDITIONAL, seeded(5)).log_prob
        for way in (Hutchinson(), ExactDivergence())
    )
    torch.testing.assert_close(stochastic, exactly)


def test_more_probes_have_less_variance() -> None:
    model, z, _ = plane()
    z, coarse = z[:1].expand(2_000, -1), AdaptiveSteps(1e-5)
    one, four = (
        Flow(model, coarse, Hutchinson(n)).log_prob(z, UNCONDITIONAL, seeded(6)).log_prob.var() for n in (1, 4)
    )
    # A ratio of variances of 2000 draws each is within 30 % of its mean but for one time in 1e6.
    assert 4 / 1.3 < (one / four).item() < 4 * 1.3


def test_a_probe_is_kept_during_a_solve() -> None:
    """The same generator gives the same log-density, and one draw of signs per example and solve is all it gives."""
    model, z, _ = plane()
    generator = seeded(7)
    flow = Flow(model, AdaptiveSteps(1e-5), Hutchinson(2))
    first = flow.log_prob(z, UNCONDITIONAL, generator).log_prob
    after = torch.rand(1, generator=generator)
    fresh = seeded(7)
    probes = Hutchinson(2).probes(z, fresh)
    assert probes.shape == (2, *z.shape) and set(probes.mul(math.sqrt(2)).round().unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(after, torch.rand(1, generator=fresh))
    torch.testing.assert_close(first, flow.log_prob(z, UNCONDITIONAL, seeded(7)).log_prob)


def test_the_flow_field_is_left_as_it_was() -> None:
    """The first D components of the augmented field are the sampler's own, and gradients leave no trace."""
    model, z, _ = plane()
    probes = ExactDivergence().probes(z, seeded())
    state = torch.cat((z, torch.zeros(len(z), 1, dtype=torch.float64)), 1)
    slope = with_divergence(flow_field(model), (2,), probes)(0.3, state)
    torch.testing.assert_close(slope[:, :2], flow_field(model)(0.3, z))
    assert not slope.requires_grad


def test_bad_settings_are_refused() -> None:
    model, z, _ = plane()
    with pytest.raises(UserError, match="count: expected"):
        Hutchinson(0)
    with pytest.raises(UserError, match="tolerance: expected"):
        AdaptiveSteps(0.0)
    with pytest.raises(UserError, match="increase"):
        Flow(model, FixedSteps(), grid=torch.tensor([0.5, 0.5])).log_prob(z, UNCONDITIONAL, seeded())
    with pytest.raises(UserError, match="not finite"):
        Flow(model).log_prob(torch.full((1, 2), torch.nan), UNCONDITIONAL, seeded())


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_one_model_has_one_density_under_any_scaling(scaling) -> None:
    """z of another scaling is f z, so that its density is that of z divided by f for each dimension."""
    model, z, exact = plane()
    other = model.under(scaling)
    start = torch.zeros(1, dtype=torch.float64)
    factor = torch.hypot(*other.process.alpha_sigma(start, z)) / torch.hypot(*model.process.alpha_sigma(start, z))
    found = Flow(other, TIGHT).log_prob(z * factor, UNCONDITIONAL, seeded()).log_prob
    torch.testing.assert_close(found + 2 * factor.log().view(-1), exact, rtol=0, atol=2e-3)
