"""The adaptive solver and the flow: orders, tolerances, and maps known in closed form."""

import math

import pytest
import torch

from tests.oracles import LIMIT, SCALINGS, SCHEDULES, exact_model, line_mixture, plane_mixture, seeded, z_score
from tests.sampling.laws import ENDS, observed_order
from vlb.base.errors import UserError
from vlb.models.diffusion.samplers.adaptive import ERROR, NODES, STAGES, Point, Tolerances, dormand_prince, solve
from vlb.models.diffusion.samplers.ode import ProbabilityFlow
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import GaussianMixture, gaussian_mixture


def swing(t: float, y: torch.Tensor) -> torch.Tensor:
    """y′ = y cos t: y = y₀ e^{sin t}."""
    return y * math.cos(t)


def last(points) -> Point:
    *_, point = points
    return point


def test_the_tableau_is_consistent() -> None:
    """Row sums are the nodes; the two orders' weights agree in sum; the fifth-order weights integrate t⁴."""
    for node, row in zip(NODES, STAGES, strict=True):
        assert sum(row) == pytest.approx(node, abs=1e-14)
    assert sum(ERROR) == pytest.approx(0, abs=1e-15)
    for power in range(5):
        assert sum(w * c**power for w, c in zip(STAGES[-1], NODES, strict=False)) == pytest.approx(1 / (power + 1))


def test_a_step_has_order_five_and_its_estimate_order_five() -> None:
    """Global error of fixed strides O(h⁵); the estimate of the local error, that of order four, O(h⁵)."""
    y_0 = torch.ones(1, 1, dtype=torch.float64)

    def error(steps: int) -> float:
        y, h = y_0, 2 / steps
        for i in range(steps):
            y = dormand_prince(swing, i * h, y, swing(i * h, y), h).y
        return abs(y.item() - math.exp(math.sin(2.0)))

    def estimate(steps: int) -> float:
        return dormand_prince(swing, 0.3, y_0, swing(0.3, y_0), 2 / steps).error.abs().item()

    assert abs(observed_order(error, (20, 40, 80)) - 5) < 0.2
    assert abs(observed_order(estimate, (20, 40, 80)) - 5) < 0.2


def test_evaluations_and_rejected_strides_are_counted() -> None:
    """Every call of the field is; and a stride far too long is tried again, shorter."""
    calls = []

    def field(t: float, y: torch.Tensor) -> torch.Tensor:
        calls.append(t)
        return swing(20 * t, y) * 20

    points = list(solve(field, torch.ones(1, 1, dtype=torch.float64), 0.0, 10.0, Tolerances(1e-6, 1e-6)))
    tries, rest = divmod(points[-1].evaluations - 1, len(NODES) - 1)
    assert points[-1].evaluations == len(calls) and not rest
    assert points[-1].rejected == tries - len(points) > 0
    with pytest.raises(UserError, match=r"stopped at t = .* after 13 evaluations"):
        last(solve(field, torch.ones(1, 1, dtype=torch.float64), 0.0, 10.0, Tolerances(1e-6, 1e-6), max_steps=2))


def test_the_error_follows_the_tolerance() -> None:
    y_0 = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    for tolerance in (1e-4, 1e-6, 1e-8, 1e-10):
        point = last(solve(swing, y_0, 0.0, 10.0, Tolerances(tolerance, tolerance)))
        assert point.t == 10.0
        assert (point.y - y_0 * math.exp(math.sin(10.0))).abs().max().item() < 20 * tolerance


def test_strides_shorten_where_they_must() -> None:
    """A kink in the field is crossed with rejected steps, and backwards as well."""
    for start, end in ((-1.0, 2.0), (2.0, -1.0)):
        y_0 = torch.zeros(1, 1, dtype=torch.float64)
        point = last(solve(lambda t, y: torch.full_like(y, abs(t - 0.37)), y_0, start, end, Tolerances(0, 1e-9)))
        exact = math.copysign(0.5 * (1.37**2 + 1.63**2), end - start)
        assert point.rejected > 0 and point.y.item() == pytest.approx(exact, abs=1e-6)


def test_hopeless_equations_are_explained() -> None:
    with pytest.raises(UserError, match=r"stopped at t.*larger one"):
        last(solve(lambda t, y: y, torch.ones(1, 1), 0.0, 1.0, Tolerances(0, 1e-14), max_steps=50))
    with pytest.raises(UserError, match=r"stopped at t.*not finite"):
        last(solve(lambda t, y: y * torch.nan, torch.ones(1, 1), 0.0, 1.0, Tolerances(1e-6, 1e-6), max_steps=50))
    with pytest.raises(UserError, match="atol: expected"):
        ProbabilityFlow(atol=0.0)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_flow_of_gaussian_data_is_linear(schedule, scaling) -> None:
    """z₀ = α₀m + C₀^{1/2} C₁^{−1/2} (z₁ − α₁m), with C_t = α_t² C + σ_t²."""
    mean, covariance = torch.tensor([[0.6, -0.3]]), torch.tensor([[[1.1, 0.5], [0.5, 0.4]]])
    mixture = gaussian_mixture(torch.ones(1), mean, covariance)
    model = exact_model(mixture, schedule(-7.0, 5.0), scaling)
    z_1 = model.prior(torch.zeros(20, 2)).sample(seeded())
    (a_0, s_0), (a_1, s_1) = (model.process.alpha_sigma(t, z_1) for t in ENDS.split(1))
    variances, basis = torch.linalg.eigh(covariance[0].double())
    ratio = ((a_0**2 * variances + s_0**2) / (a_1**2 * variances + s_1**2)).sqrt()
    exact = a_0 * mean + ((z_1 - a_1 * mean) @ basis * ratio) @ basis.T
    torch.testing.assert_close(ProbabilityFlow(1e-10, 1e-10)(model, z_1, ENDS, seeded()), exact, rtol=1e-7, atol=1e-7)


def distribution_function(law: GaussianMixture, z: torch.Tensor) -> torch.Tensor:
    deviations = (z - law.means[0, :, 0]) / law.variances[0, :, 0].sqrt()
    return (law.log_weights.exp() * torch.special.ndtr(deviations)).sum(1)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_the_flow_on_the_line_keeps_the_distribution_function(scaling) -> None:
    """A flow on the line cannot change order: F₀(z₀) = F₁(z₁), for a mixture that is far from Gaussian."""
    mixture = line_mixture()
    model = exact_model(mixture, LogSNRLinear(-7.0, 5.0), scaling)
    laws = [mixture.diffused(*model.process.alpha_sigma(t, torch.zeros(1, 1))) for t in ENDS.split(1)]
    z_0 = laws[0].expand(200).sample(seeded(1))
    z_1 = ProbabilityFlow(1e-9, 1e-9).encode(model, z_0, ENDS)
    torch.testing.assert_close(
        distribution_function(laws[1], z_1), distribution_function(laws[0], z_0), rtol=0, atol=1e-6
    )


def test_the_flow_carries_data_to_the_prior() -> None:
    """Samples of q(z₀) of the mixture arrive with the moments and mean log-density of q(z₁) ≈ N(0, 1)."""
    mixture, n = plane_mixture(), 4_000
    model = exact_model(mixture, LogSNRLinear(-5.0, 8.0))
    z_0 = mixture.diffused(*model.process.alpha_sigma(ENDS[:1], torch.zeros(1, 2))).expand(n).sample(seeded(2))
    z_1 = ProbabilityFlow(1e-6, 1e-6).encode(model, z_0, ENDS)
    law = model.prior(torch.zeros(1, 2))
    for i in range(2):
        assert abs(z_score(z_1[:, i], law.mean()[0, i].item())) < LIMIT
        for j in range(2):
            assert (
                abs(z_score((z_1 - law.mean())[:, i] * (z_1 - law.mean())[:, j], law.covariance()[0, i, j].item()))
                < LIMIT
            )
    fresh = model.prior(torch.zeros(100_000, 2)).sample(seeded(3))
    assert abs(z_score(law.log_prob(z_1), law.log_prob(fresh).mean().item())) < LIMIT


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_decoding_an_encoding_is_the_identity(scaling) -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-7.0, 5.0), scaling)
    z_0 = plane_mixture().diffused(*model.process.alpha_sigma(ENDS[:1], torch.zeros(1, 2))).expand(50).sample(seeded(4))
    for tolerance in (1e-5, 1e-9):
        flow = ProbabilityFlow(tolerance, tolerance)
        back = flow(model, flow.encode(model, z_0, ENDS), ENDS, seeded())
        # The flow down is steep between components: errors made above arrive enlarged.
        assert (back - z_0).abs().max().item() < 1e3 * tolerance


def test_a_part_of_the_way_and_the_rest_are_the_whole() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-7.0, 5.0))
    z_1, flow = model.prior(torch.zeros(20, 2)).sample(seeded(5)), ProbabilityFlow(1e-9, 1e-9)
    upper, lower = torch.tensor([0.4, 1.0]).double(), torch.tensor([0.0, 0.4]).double()
    parts = flow(model, flow(model, z_1, upper, seeded()), lower, seeded())
    torch.testing.assert_close(parts, flow(model, z_1, ENDS, seeded()), rtol=0, atol=1e-5)


def test_a_smooth_equation_needs_few_tries_and_by_the_order_of_the_method() -> None:
    """Of order 5: the fifth root of a tolerance's fall is the growth of the steps, and few are rejected."""
    y_0, steps = torch.tensor([[1.0]], dtype=torch.float64), []
    for tolerance in (1e-4, 1e-9):
        points = list(solve(swing, y_0, 0.0, 10.0, Tolerances(tolerance, tolerance)))
        assert points[-1].rejected <= len(points) / 2
        steps.append(len(points))
    assert 5 < steps[1] / steps[0] < 20  # 10 for the order
