"""γ(t): its inverse, rate, ends and density."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, SCALINGS, gauss_legendre, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.emissions import Continuous
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import GaussianDiffusion, along
from vlb.models.diffusion.schedules import (
    EDM,
    Cosine,
    FromFunction,
    InterpolatedCosine,
    Learned,
    LearnedPerDimension,
    LearnedSchedule,
    LinearBeta,
    LogSNRLinear,
    OptimalTransport,
    PerColumn,
    Schedule,
    Sigmoid,
)
from vlb.models.diffusion.schedules.named import NAMED


def scrambled(gamma_0: float, gamma_1: float) -> LearnedSchedule:
    """A learned schedule with parameters as training might leave them."""
    learned = Learned(gamma_0, gamma_1).build(1)
    generator = seeded(3)
    with torch.no_grad():
        for parameter in learned.shapes.parameters():
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return learned


SCHEDULES = {
    **NAMED,
    "shifted": lambda *ends: Cosine(*ends, shift=-1.4),
    "interpolated": lambda *ends: InterpolatedCosine(*ends, shift_0=2.0, shift_1=-1.0),
    "learned": lambda *ends: Learned(*ends).build(1),
    "scrambled": scrambled,
    "function": lambda low, high: FromFunction(lambda t: low + (high - low) * (0.3 * t + 0.7 * t**3)),
}
ALL = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
ENDS = st.tuples(st.floats(-14, 0), st.floats(0.5, 14))


@ALL
@settings(derandomize=True, deadline=None, max_examples=30)
@given(ends=ENDS)
def test_ends_hold(schedule, ends: tuple[float, float]) -> None:
    gamma = schedule(*ends).gamma(torch.tensor([0.0, 1.0])).squeeze(-1)
    assert gamma.dtype == torch.float64
    assert gamma.tolist() == pytest.approx(ends, abs=1e-9)


@ALL
@settings(derandomize=True, deadline=None, max_examples=30)
@given(ends=ENDS, t=st.floats(0, 1))
def test_inverse_inverts(schedule, ends: tuple[float, float], t: float) -> None:
    noise = schedule(*ends)
    gamma = noise.gamma(torch.tensor([t], dtype=torch.float64)).squeeze(-1)
    assert noise.inverse(gamma).item() == pytest.approx(t, abs=1e-10)


@ALL
@settings(derandomize=True, deadline=None, max_examples=30)
@given(ends=ENDS, t=st.floats(0, 1))
def test_rate_is_the_derivative(schedule, ends: tuple[float, float], t: float) -> None:
    noise = schedule(*ends)
    time = torch.tensor([t], dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(noise.gamma(time).sum(), time)
    rate = noise.rate(time).item()
    assert rate > 0
    assert rate == pytest.approx(derivative.item(), rel=1e-8)


@ALL
def test_density_integrates_to_one_over_the_range_of_log_snr(schedule) -> None:
    nodes, weights = gauss_legendre(-5.0, 6.0, 200)
    density = schedule(-6.0, 5.0).density(nodes)
    assert density.shape == nodes.shape
    assert (weights * density).sum().item() == pytest.approx(1, abs=1e-9)


@ALL
def test_density_is_that_of_uniform_times(schedule) -> None:
    """P(λ < l) = 1 − t(l), the fraction of times noisier than l (Eq. 4.100–4.102)."""
    noise = schedule(-6.0, 5.0)
    for log_snr in (-3.0, 0.0, 4.0):
        nodes, weights = gauss_legendre(-5.0, log_snr, 200)
        t = noise.inverse(torch.tensor(-log_snr)).item()
        assert (weights * noise.density(nodes)).sum().item() == pytest.approx(1 - t, abs=1e-9)


@ALL
def test_gamma_increases_and_is_never_flat(schedule) -> None:
    """Clipping γ to its range, as published cosine schedules do, would give it rate 0 there."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert bool((schedule(-13.3, 5.0).gamma(t).diff(dim=0) > 1e-4).all())


def test_cosine_and_transport_are_their_formulas_between_their_ends() -> None:
    """Restriction changes only how fast t runs: γ as a function of u is the published one."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    cosine, transport = Cosine(-8.0, 4.0), OptimalTransport(-8.0, 4.0)
    u = cosine.stretch[0] + cosine.stretch[1] * t
    alpha, sigma = torch.cos(0.5 * math.pi * u), torch.sin(0.5 * math.pi * u)
    torch.testing.assert_close(cosine.gamma(t).squeeze(-1), -torch.log(alpha**2 / sigma**2))
    u = transport.stretch[0] + transport.stretch[1] * t
    torch.testing.assert_close(transport.gamma(t).squeeze(-1), -torch.log((1 - u) ** 2 / u**2))


@ALL
@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, -2.0)])
def test_bad_ends_are_refused_with_their_values(schedule, ends: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="γ₀ ="):
        schedule(*ends)


def test_shifted_cosine_moves_all_of_gamma() -> None:
    """At equal u the shift is added to γ; equal shifts at both ends are one shift."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    shifted = Cosine(-8.0, 4.0, shift=1.5)
    u = shifted.stretch[0] + shifted.stretch[1] * t
    torch.testing.assert_close(shifted.gamma(t).squeeze(-1), 2 * torch.log(torch.tan(0.5 * math.pi * u)) + 1.5)
    both = InterpolatedCosine(-8.0, 4.0, shift_0=1.5, shift_1=1.5)
    torch.testing.assert_close(both.gamma(t), shifted.gamma(t))


def test_linear_beta_is_the_solution_of_its_process() -> None:
    """d log α²/du = −β(u), by quadrature of β."""
    schedule = LinearBeta(-7.0, 6.0)
    for t in (0.0, 0.3, 1.0):
        u = schedule.stretch[0] + schedule.stretch[1] * t
        nodes, weights = gauss_legendre(0.0, u, 10)
        integral = (weights * (0.1 + 19.9 * nodes)).sum().item()
        log_alpha2 = torch.nn.functional.logsigmoid(-schedule.gamma(torch.tensor(t, dtype=torch.float64))).item()
        assert log_alpha2 == pytest.approx(-integral, rel=1e-10)


def test_sigmoid_schedule_is_the_published_ratio() -> None:
    """α² = (sigmoid(y₁) − sigmoid(y))/(sigmoid(y₁) − sigmoid(y₀)) with y linear in u."""
    schedule = Sigmoid(-6.0, 5.0, start=-3.0, end=3.0, temperature=0.7)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    u = schedule.stretch[0] + schedule.stretch[1] * t
    low, high, value = (torch.sigmoid(torch.as_tensor(y / 0.7).double()) for y in (-3.0, 3.0, -3 + 6 * u))
    alpha2 = (high - value) / (high - low)
    torch.testing.assert_close(torch.sigmoid(-schedule.gamma(t).squeeze(-1)), alpha2)


@pytest.mark.parametrize("ends", [(-6.0, 5.0), (1.0, 14.0), (-14.0, -9.0)])
def test_edm_density_is_the_truncated_normal(ends: tuple[float, float]) -> None:
    nodes, weights = gauss_legendre(-ends[1], -ends[0], 200)
    normal = torch.exp(-0.5 * ((nodes - 2.4) / 2.4) ** 2)
    torch.testing.assert_close(EDM(*ends).density(nodes), normal / (weights * normal).sum(), rtol=1e-8, atol=0)


def test_named_densities_are_those_of_the_literature() -> None:
    """p(λ) up to the mass that restriction leaves: sech(λ/2)/2π, sech²(λ/4)/8 and DDPM's (Kingma & Gao 2023)."""
    log_snr = torch.linspace(-4, 5, 19, dtype=torch.float64)
    beta = torch.sigmoid(-log_snr) / torch.sqrt(0.01 + 39.8 * torch.nn.functional.softplus(-log_snr))
    published = {
        Cosine: 1 / (2 * math.pi * torch.cosh(0.5 * log_snr)),
        OptimalTransport: 1 / (8 * torch.cosh(0.25 * log_snr) ** 2),
        LinearBeta: beta,
    }
    for schedule, density in published.items():
        restricted = schedule(-6.0, 5.0)
        torch.testing.assert_close(restricted.density(log_snr) * restricted.stretch[1], density, rtol=1e-9, atol=0)


def test_learned_schedule_starts_near_linear_and_holds_its_ends_through_training() -> None:
    """And it increases, whatever it learns (A.1)."""
    learned, t = Learned(-6.0, 5.0).build(1), torch.linspace(0, 1, 101, dtype=torch.float64)
    assert (learned.shapes(t)[0].squeeze(-1) - t).abs().max() < 0.02
    optimiser = torch.optim.Adam(learned.shapes.parameters(), lr=0.1)
    for _ in range(50):
        optimiser.zero_grad()
        (learned.gamma(torch.tensor([0.3, 0.5], dtype=torch.float64)) ** 2).sum().backward()
        optimiser.step()
    assert learned.gamma(torch.tensor(0.3)).abs().item() < 1.0  # it has moved
    assert learned.gamma(t)[[0, -1]].squeeze(-1).tolist() == pytest.approx([-6.0, 5.0], abs=1e-12)
    assert bool((learned.gamma(t).diff(dim=0) > 0).all())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LearnedPerDimension(-6.0, 5.0).build(3),
        lambda: PerColumn((LogSNRLinear(-6.0, 5.0), Cosine(-7.0, 4.0), EDM(-5.0, 6.0))),
    ],
)
def test_a_schedule_per_dimension_has_a_scalar_reference(make) -> None:
    schedule, t = make(), torch.linspace(0, 1, 21, dtype=torch.float64)
    assert schedule.gamma(t).shape == schedule.rate(t).shape == (21, 3)
    reference = schedule.gamma(t).mean(-1).detach()
    assert (reference[0].item(), reference[-1].item()) == pytest.approx((schedule.gamma_0, schedule.gamma_1))
    torch.testing.assert_close(schedule.inverse(reference), t, rtol=0, atol=1e-10)
    nodes, weights = gauss_legendre(-schedule.gamma_1, -schedule.gamma_0, 200)
    assert (weights * schedule.density(nodes)).sum().item() == pytest.approx(1, abs=1e-6)
    time = t.clone().requires_grad_()
    for d in range(3):
        (slope,) = torch.autograd.grad(schedule.gamma(time)[:, d].sum(), time)
        torch.testing.assert_close(schedule.rate(t)[:, d].detach(), slope)


class GaussianDenoiser(torch.nn.Module):
    """E[ε | z] for x ~ N(0, C) at one γ per dimension, times `scale` (D,); 1 with the data's C is exact."""

    decodes = False
    takes = NOTHING

    def __init__(self, covariance: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.covariance, self.scale = covariance, scale

    def forward(self, z: torch.Tensor, gamma: torch.Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        alpha, sigma = SCALINGS["vp"](along(gamma.expand(*z.shape), z))
        eps = self.scale * sigma * torch.linalg.solve(noisy_covariance(self.covariance, alpha, sigma), z)
        return Prediction((z - sigma * eps) / alpha, eps, None)


def noisy_covariance(covariance: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Of z = αx + σε with α, σ (n, D): (n, D, D)."""
    return alpha.unsqueeze(2) * covariance * alpha.unsqueeze(1) + torch.diag_embed(sigma**2)


CORRELATED = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
BELIEVED = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
ONES = torch.ones(2, dtype=torch.float64)
EXACT = GaussianDenoiser(CORRELATED, ONES)
OTHER_LAW = GaussianDenoiser(BELIEVED, ONES)
SHRUNK = GaussianDenoiser(CORRELATED, torch.tensor([0.5, 1.0], dtype=torch.float64))


def paths() -> list[Schedule]:
    """Two schedules in two dimensions that lead from the same point to the same point: one straight, one not."""
    bent = LearnedPerDimension(-4.0, 4.0).build(2)
    with torch.no_grad():
        bent.shapes.logits.view(2, -1)[0, 1:3] += 4.0
        bent.shapes.logits.view(2, -1)[1, -2:] += 4.0
    return [LogSNRLinear(-4.0, 4.0), bent]


def diffusion_losses(denoiser: GaussianDenoiser) -> list[float]:
    """½∫Σ_d γ_d′ E(ε_d − ε̂_d)² dt along both paths, in closed form and by quadrature in t."""
    nodes, weights = gauss_legendre(0.0, 1.0, 400)
    losses = []
    for schedule in paths():
        gamma, rate = schedule.gamma(nodes).detach().expand(-1, 2), schedule.rate(nodes).detach().expand(-1, 2)
        alpha, sigma = SCALINGS["vp"](gamma)
        # ε̂ = kσŜ⁻¹z, so that E(ε_d − ε̂_d)² = 1 − 2k_dσ_d²(Ŝ⁻¹)_dd + k_d²σ_d²(Ŝ⁻¹SŜ⁻¹)_dd.
        inverse = torch.linalg.inv(noisy_covariance(denoiser.covariance, alpha, sigma))
        true, k = noisy_covariance(CORRELATED, alpha, sigma), denoiser.scale
        square, cross = (m.diagonal(dim1=1, dim2=2) for m in (inverse @ true @ inverse, inverse))
        error = 1 + sigma**2 * (k**2 * square - 2 * k * cross)
        losses.append(0.5 * (weights.unsqueeze(1) * rate * error).sum().item())
    return losses


def test_the_path_does_not_matter_for_the_exact_denoiser() -> None:
    """½∫Σγ_d′ E(ε_d − ε̂_d)² = I(x; z_0) − I(x; z_1) along any path."""
    information = [0.5 * torch.logdet(torch.eye(2) + math.exp(-gamma) * CORRELATED).item() for gamma in (-4.0, 4.0)]
    for loss in diffusion_losses(EXACT):
        assert loss == pytest.approx(information[0] - information[1], abs=1e-8)


def test_the_path_does_not_matter_for_the_denoiser_of_another_law() -> None:
    """E[x | z] under p̂ adds KL(q(z_0) ‖ p̂(z_0)) − KL(q(z_1) ‖ p̂(z_1)), which the ends alone decide."""
    divergences = []
    for gamma in (-4.0, 4.0):
        level = torch.full((1, 2), gamma, dtype=torch.float64)
        q, p = (noisy_covariance(c, *SCALINGS["vp"](level))[0] for c in (CORRELATED, BELIEVED))
        divergences.append(0.5 * (torch.trace(torch.linalg.solve(p, q)) - 2 + p.logdet() - q.logdet()).item())
    for loss, exact in zip(diffusion_losses(OTHER_LAW), diffusion_losses(EXACT), strict=True):
        assert loss - exact == pytest.approx(divergences[0] - divergences[1], abs=1e-8)


def test_the_path_matters_for_a_denoiser_of_no_law() -> None:
    straight, bent = diffusion_losses(SHRUNK)
    assert min(straight, bent) > max(diffusion_losses(EXACT))
    assert abs(bent - straight) > 0.01 * straight


@pytest.mark.parametrize("denoiser", [EXACT, OTHER_LAW, SHRUNK], ids=["exact", "another", "none"])
def test_a_model_with_a_schedule_per_dimension_estimates_its_own_integral(denoiser: GaussianDenoiser) -> None:
    """`DiffusionModel.term` under γ (batch, D), against the closed form of the same path."""
    n = 20_000
    for schedule, expected in zip(paths(), diffusion_losses(denoiser), strict=True):
        model = DiffusionModel(GaussianDiffusion(schedule), denoiser, Continuous(), (2,))
        generator = seeded(4)
        x = torch.randn(n, 2, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(CORRELATED).T
        t = torch.rand(n, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            assert abs(z_score(model.term(x, t, UNCONDITIONAL, generator), expected)) < LIMIT


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LinearBeta(-6, 5, beta_min=0.0), "beta_min: expected"),
        (lambda: LinearBeta(-6, 5, beta_min=30.0), "beta_min < beta_max"),
        (lambda: InterpolatedCosine(-6, 5, shift_0=7.0), "2π"),
        (lambda: Cosine(-6, 5, shift=math.inf), "shift"),
        (lambda: Sigmoid(-6, 5, start=3.0, end=-3.0), "start < end"),
        (lambda: EDM(-6, 5, std=0.0), "std: expected"),
        (lambda: EDM(-6, 5, mean=30, std=0.01), "no mass"),
        (lambda: FromFunction(lambda t: torch.sin(4 * t)), "γ₀ ="),
        (lambda: FromFunction(lambda t: t - 0.2 * torch.sin(12 * t)), "must increase"),
        (lambda: FromFunction(lambda t: torch.logit(t)), "finite"),
        (lambda: Learned(-6, 5, units=0).build(1), "units"),
        (lambda: PerColumn().build(2), "the data have 2, it has 0"),
    ],
)
def test_bad_parameters_are_refused_with_their_values(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
