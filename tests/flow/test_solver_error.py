"""The solver's error is stated: an ODE's likelihood is no better than an exact log p beyond the errors beside it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracles import LIMIT, exact_model, seeded
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.divergence import Hutchinson
from vlb.models.diffusion.flow.integrate import AdaptiveSteps, FixedSteps, Integrator
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import gaussian_mixture

EXAMPLES = 64
TOP = 16.0  # γ₁ at which a standard normal is q(z_1) to 1e-6


class Untrained(nn.Module):
    """A backbone that says nothing: the posterior head then is of independent elements."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        return z.new_zeros(*z.shape, self.levels)


def check(found: Tensor, exact: Tensor, stated: float, dimensions: int) -> None:
    """Mean differences of −log p (batch,), nats, lie within the stated error and that of the mean, 1e-4 bits/dim of the
    prior aside."""
    difference = found - exact
    error = stated + LIMIT * difference.std().item() / math.sqrt(len(found)) + 1e-4 * math.log(2) * dimensions
    assert abs(difference.mean().item()) < error


def independent(dimensions: int, levels: int, gamma_0: float, integrator: Integrator, steps: int | None = None) -> None:
    """Draws from independent elements in float32: each −log p by the flow is exact but for the solver."""
    generator = seeded(dimensions + levels)
    masses = (2 * torch.randn(dimensions, levels, generator=generator)).softmax(-1)
    denoiser = PosteriorDenoiser(Untrained(levels), CategoricalPosterior(masses.log()), VP())
    model = DiffusionModel(GaussianDiffusion(LogSNRLinear(gamma_0, TOP)), denoiser, Centres(levels), (dimensions,))
    x = torch.multinomial(masses, EXAMPLES, replacement=True, generator=generator).T
    exact = -masses.log()[torch.arange(dimensions), x].double().sum(1)
    flow = Flow(model, integrator, Hutchinson())
    if steps is not None:
        flow = Flow(model, integrator, Hutchinson(), UniformLogSNR()(model.process.schedule, steps))
    terms, sums = FlowBound(flow).observed(x, UNCONDITIONAL, seeded(2))
    check(torch.stack(list(terms.values())).sum(0), exact, sums["error"] / sums["examples"], dimensions)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("gamma_0", [-20.0, -4.0])
def test_the_flow_of_independent_elements_is_within_its_errors(gamma_0: float, tolerance: float) -> None:
    independent(2, 3, gamma_0, AdaptiveSteps(tolerance))


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("gamma_0", [-20.0, -13.3, -8.0, -4.0])
@pytest.mark.parametrize("dimensions, levels", [(1, 2), (2, 3), (8, 256), (64, 17)])
def test_of_any_size_and_level(dimensions: int, levels: int, gamma_0: float, tolerance: float) -> None:
    independent(dimensions, levels, gamma_0, AdaptiveSteps(tolerance))


@pytest.mark.parametrize("steps", [1, 2, 5, 16, 64])
def test_fixed_steps_state_their_error(steps: int) -> None:
    independent(2, 3, -13.3, FixedSteps(), steps)


@settings(derandomize=True, deadline=None, max_examples=8)
@given(
    st.integers(1, 3), st.integers(1, 3), st.floats(-20, -3), st.sampled_from([1e-2, 1e-3, 1e-4]), st.integers(0, 99)
)
def test_a_gaussian_mixture_of_any_kind_is_within_its_errors(
    dimensions: int, components: int, gamma_0: float, tolerance: float, seed: int
) -> None:
    """Densities, by an exact denoiser and prior."""
    generator = seeded(seed)
    means = torch.randn(components, dimensions, generator=generator, dtype=torch.float64)
    variances = (2 * torch.randn(components, dimensions, generator=generator, dtype=torch.float64)).exp().clamp(1e-3, 9)
    mixture = gaussian_mixture(torch.full((components,), 1 / components).double(), means, variances)
    model = exact_model(mixture, LogSNRLinear(gamma_0, 5.0))
    law = mixture.diffused(*model.process.alpha_sigma(torch.zeros(1), torch.zeros(1, dimensions)))
    z = law.expand(EXAMPLES).sample(generator)
    density = Flow(model, AdaptiveSteps(tolerance)).checked(z, UNCONDITIONAL, generator)
    check(-density.log_prob, -law.log_prob(z), density.error.mean().item(), dimensions)


def test_the_log_density_is_judged_by_itself_and_absolutely() -> None:
    """Whatever it has grown to, and however many dimensions it stands beside."""
    flow = Flow(exact_model(gaussian_mixture(torch.ones(1), torch.zeros(1, 9), torch.ones(1, 9)), LogSNRLinear(-20, 5)))
    error = torch.zeros(3, 10, dtype=torch.float64)
    error[0, -1], error[1, 4], error[2, 4] = 0.9, 1e-5, 1e-5
    torch.testing.assert_close(flow.cost(0.0, error)[0].item(), 0.1)
    # A step's error of y counts in units of the noise there: e⁻¹⁰ at t = 0, 1 at the top.
    torch.testing.assert_close(flow.cost(0.0, error)[1].item(), 1e-5 / 3 * math.exp(10), rtol=1e-6, atol=0)
    torch.testing.assert_close(flow.cost(1.0, error)[2].item(), 1e-5 / 3, rtol=1e-2, atol=0)
