"""Closed forms of the monograph as it prints them, against the library, which computes them otherwise."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.oracles import LIMIT, SCALINGS, exact_model, information, line_mixture, noise_error, seeded, z_score
from vlb.core.bound import descent_log_weight, elbo
from vlb.core.condition import UNCONDITIONAL
from vlb.core.distributions import Normal, standard_normal
from vlb.core.emissions import Continuous
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.measure.tightness.gaussian import Chain, Link
from vlb.models.diffusion.kernels import Standard
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Data, Flow, Noise, Parameterization, Score, Velocity, solve, target
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import Cosine, LogSNRLinear, OptimalTransport
from vlb.models.mixture.gaussian import MixtureDenoiser, gaussian_mixture
from vlb.models.vae.merge import precision_weighted

EVERY_SCALING = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)


def time(t: float) -> Tensor:
    return torch.tensor([t], dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b.expand_as(a), rtol=1e-8, atol=1e-9)


class Setting:
    """One step s < t of one process: x, ε, z_t, what a network says instead of x, and every α and σ² of Table 3.1."""

    def __init__(self, scaling) -> None:
        self.process = GaussianDiffusion(LogSNRLinear(-4.0, 4.0), scaling)
        self.s, self.t = time(0.4), time(0.65)
        self.x, self.eps, self.x_hat = torch.randn(3, 6, 3, generator=seeded(), dtype=torch.float64).unbind(0)
        (self.alpha_s, self.sigma_s), (self.alpha, self.sigma) = (
            self.process.alpha_sigma(time, self.x) for time in (self.s, self.t)
        )
        self.z = self.alpha * self.x + self.sigma * self.eps
        self.eps_hat = (self.z - self.alpha * self.x_hat) / self.sigma
        self.ratio = self.alpha / self.alpha_s  # α_{t|s}
        self.forward = self.sigma**2 - self.ratio**2 * self.sigma_s**2  # σ²_{t|s}

    def reverse(self, x: Tensor) -> Normal:
        return self.process.posterior(self.z, x, self.s, self.t)


# --- Section 2 -----------------------------------------------------------------------------------------------


def test_three_forms_of_the_bound_have_one_mean() -> None:
    """E log p(x, z)/q(z | x) = E log p(x | z) + E log p(z)/q(z | x) = E log p(x | z) − KL(q ‖ p(z)) (Eq. 2.9–2.11)."""
    model, generator = PPCA(stretch=2.5), seeded(1)
    x = torch.tensor([[0.4, -1.2, 0.3, 1.8]], dtype=torch.float64).expand(20_000, -1)
    bound = elbo(model, model.infer(x), x, generator)
    close(bound.total, bound.reconstruction + model.posterior(x).kl(model.top(torch.zeros(20_000, 2).double())))
    assert abs(z_score(descent_log_weight(model, model.infer(x), x, generator) + bound.total)) < LIMIT


def chain() -> Chain:
    """`TwoLevels` in one dimension, from the top: z_1, z_0, x."""
    model, one, zero = TwoLevels(), torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    links = (Link(model.a * one, zero, model.b * one), Link(model.c * one, zero, model.d * one))
    return Chain(zero, one, links)


def test_laws_of_latents_and_data_come_of_integrating_out_what_is_above() -> None:
    """p(z_0) and p(x) of a hierarchy, in closed form and by ancestral sampling (Eq. 2.18–2.19)."""
    model, n = TwoLevels(), 20_000
    (_, top), (_, below), (_, data) = chain().marginals()
    state = last_state(descend(model, model.start(n), from_prior(seeded(2))))
    samples = *state.latents, model.likelihood(state).sample(seeded(3))
    for drawn, variance in zip(samples, (top, below, data), strict=True):
        assert abs(z_score(drawn[:, 0])) < LIMIT
        assert abs(z_score(drawn[:, 0] ** 2, variance.item())) < LIMIT
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).unsqueeze(1)
    close(Normal(torch.zeros_like(x), data.log()).log_prob(x), model.log_prob(x))


def test_a_rungs_posterior_is_its_likelihood_times_its_own_prior() -> None:
    """q(z_0 | x) ∝ p(x | z_0) p(z_0), where p(z_0) is what all rungs above make of it (Eq. 2.21–2.22)."""
    model, x = TwoLevels(), torch.tensor([[1.7]], dtype=torch.float64)
    prior = Normal(torch.zeros_like(x), chain().marginals()[1][1].log())
    z = torch.linspace(-4, 4, 9, dtype=torch.float64).unsqueeze(1)
    back = chain().reversed().links[0]
    posterior = Normal(back.gain * x + back.shift, back.noise.log())
    likelihood = model.down(0, z).log_prob(x.expand(9, 1))
    ratio = posterior.log_prob(z) - prior.log_prob(z) - likelihood
    close(ratio, ratio[:1])
    close(posterior.mean, model.up(0, x).mean)


# --- Section 3 -----------------------------------------------------------------------------------------------


def test_variance_is_preserved_where_the_printed_condition_holds() -> None:
    """V[z_t] = V[x] if and only if α² = 1 − σ²/V[x]: under VP at V[x] = 1 alone (Eq. 3.6–3.8)."""
    for variance in (0.5, 1.0, 2.0):
        data = gaussian_mixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), variance))
        for name, scaling in SCALINGS.items():
            alpha, sigma = scaling(time(0.8))
            kept = data.diffused(alpha, sigma).covariance().item() == pytest.approx(variance)
            assert kept == ((alpha**2).item() == pytest.approx(1 - (sigma**2).item() / variance))
            assert kept == (name == "vp" and variance == 1)


@EVERY_SCALING
def test_transition_is_the_printed_one(scaling) -> None:
    """Mean α_t/α_s z_s and variance σ_t² − α²_{t|s} σ_s² (Eq. 3.9–3.22, Table 3.1); through it z_s becomes z_t."""
    at = Setting(scaling)
    transition = at.process.transition(at.z, at.s, at.t)
    close(transition.mean, at.ratio * at.z)
    close(transition.log_variance.exp(), at.forward)
    z_s = at.process.marginal(at.x, at.s)
    close(at.process.transition(z_s.mean, at.s, at.t).mean, at.process.marginal(at.x, at.t).mean)
    close(at.ratio**2 * z_s.log_variance.exp() + at.forward, at.process.marginal(at.x, at.t).log_variance.exp())


@EVERY_SCALING
def test_posterior_is_the_printed_one(scaling) -> None:
    """μ_Q and σ_Q² of Table 3.1, in both forms of the variance (Eq. 3.41–3.49, 3.67, A.15)."""
    at = Setting(scaling)
    found = at.reverse(at.x)
    variance = at.forward * at.sigma_s**2 / (at.ratio**2 * at.sigma_s**2 + at.forward)
    close(found.log_variance.exp(), variance)
    close(found.log_variance.exp(), at.forward * at.sigma_s**2 / at.sigma**2)
    mean = at.ratio * at.sigma_s**2 / at.sigma**2 * at.z + at.alpha_s * at.forward / at.sigma**2 * at.x
    close(found.mean, mean)


@EVERY_SCALING
def test_posterior_is_the_ladders_merge_of_prior_and_message(scaling) -> None:
    """Precisions add (Eq. 3.26, 3.37–3.40): the merge of a ladder VAE, N(z_t; α_{t|s} z_s, σ²_{t|s}) the message."""
    at = Setting(scaling)
    message = Normal(at.z / at.ratio, (at.forward / at.ratio**2).log().expand_as(at.z))
    prior = at.process.marginal(at.x, at.s)
    merged = precision_weighted(message, Normal(prior.mean, prior.log_variance.expand_as(at.z)))
    close(merged.mean, at.reverse(at.x).mean)
    close(merged.log_variance, at.reverse(at.x).log_variance)


@EVERY_SCALING
def test_kl_of_a_step_is_printed_three_ways(scaling) -> None:
    """‖μ_Q − μ_θ‖²/2σ_Q² = ½ (SNR(s) − SNR(t)) ‖x − x̂‖², and so on in ε (Eq. 3.68–3.86, 3.95–3.99)."""
    at = Setting(scaling)
    q, p = at.reverse(at.x), at.reverse(at.x_hat)
    close(q.kl(p), ((q.mean - p.mean) ** 2 / (2 * q.log_variance.exp())).sum(1))
    snr_s, snr_t = (at.alpha_s / at.sigma_s) ** 2, (at.alpha / at.sigma) ** 2
    close(q.kl(p), (0.5 * (snr_s - snr_t) * (at.x - at.x_hat) ** 2).sum(1))
    close(q.kl(p), (0.5 * (snr_s / snr_t - 1) * (at.eps - at.eps_hat) ** 2).sum(1))


def test_twice_the_steps_change_the_loss_by_what_is_printed() -> None:
    """L_2T − L_T = ½ Σ (SNR(s) − SNR(t′)) (‖x − x̂(t′)‖² − ‖x − x̂(t)‖²) in expectation (Eq. 3.105–3.110)."""
    high, low, steps = 4.0, -3.0, 5
    log_snr = [high + (low - high) * i / (2 * steps) for i in range(2 * steps + 1)]
    errors = [noise_error(line_mixture(), value) * math.exp(-value) for value in log_snr]  # E‖x − x̂‖²
    snr = [math.exp(value) for value in log_snr]

    def loss(points: range) -> float:
        """By the library's weight, expm1 of the step in γ, on the error of ε̂."""
        return sum(0.5 * math.expm1(log_snr[s] - log_snr[t]) * errors[t] * snr[t] for s, t in pairwise(points))

    everywhere, coarse = range(2 * steps + 1), range(0, 2 * steps + 1, 2)
    printed = sum(0.5 * (snr[i] - snr[i + 1]) * (errors[i + 1] - errors[i + 2]) for i in coarse[:-1])
    assert loss(everywhere) - loss(coarse) == pytest.approx(printed)
    # The sum is the library's own.
    grid, x = exact_model(line_mixture(), LogSNRLinear(-high, -low), exact_ends=False).at(steps), line_mixture()
    x = x.expand(10_000).sample(seeded(4))
    assert abs(z_score(elbo(grid, grid.infer(x), x, seeded(5)).kl[:, 1:].sum(1), loss(coarse))) < LIMIT


@pytest.mark.parametrize("schedule", [LogSNRLinear(-4.0, 4.0), Cosine(-4.0, 4.0)], ids=["linear", "cosine"])
def test_weight_of_a_step_tends_to_a_rate(schedule) -> None:
    """T (SNR(t − 1/T) − SNR(t)) → −SNR′(t), and T expm1(γ_t − γ_s) → γ′(t), with an error of 1/T (Eq. 3.112–3.119)."""
    t = time(0.6).requires_grad_()
    snr = torch.exp(-schedule.gamma(t))
    (slope,) = torch.autograd.grad(snr.sum(), t)
    rate, errors = schedule.rate(t.detach()).item(), []
    assert -slope.item() == pytest.approx(rate * snr.item())
    for steps in (1_000, 2_000):
        before = schedule.gamma(t.detach() - 1 / steps)
        difference = steps * (torch.exp(-before) - snr).item()
        weight = steps * torch.expm1(schedule.gamma(t.detach()) - before).item()
        assert weight * snr.item() == pytest.approx(difference, rel=1e-8)
        errors.append(difference + slope.item())
    assert 1.9 < errors[0] / errors[1] < 2.1


@EVERY_SCALING
def test_rate_of_the_bound_is_printed_in_x_and_in_noise(scaling) -> None:
    """−½ SNR′ ‖x − x̂‖² = ½ γ′ ‖ε − ε̂‖² for one ε, γ′ = −dλ/dt (Eq. 3.124–3.134, 4.76, 4.88–4.90, 4.103–4.107)."""
    other = gaussian_mixture(torch.ones(1), torch.full((1, 3), 0.2), 0.4 * torch.eye(3).unsqueeze(0))
    process = GaussianDiffusion(Cosine(-4.0, 4.0), scaling)
    model = DiffusionModel(process, MixtureDenoiser(other, scaling, decodes=False), Continuous(), (3,))
    x = torch.randn(6, 3, generator=seeded(6), dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64).requires_grad_()
    gamma = process.schedule.gamma(t).squeeze(1)
    (slope,) = torch.autograd.grad(torch.exp(-gamma).sum(), t, retain_graph=True)
    (rate,) = torch.autograd.grad(-gamma.sum(), t)  # dλ/dt
    t = t.detach()
    alpha, sigma = process.alpha_sigma(t, x)
    eps = standard_normal(x.shape, seeded(7), x)
    predicted = model.predict(alpha * x + sigma * eps, t)
    term = model.term(x, t, UNCONDITIONAL, seeded(7))
    close(term, -0.5 * slope * ((x - predicted.x) ** 2).sum(1))
    close(term, -0.5 * rate * ((eps - predicted.eps) ** 2).sum(1))


# --- Section 4 -----------------------------------------------------------------------------------------------

# Output, its home, and the mean of p(z_s | z_t) from it: Table 4.1, with α_{t|s}, σ²_{t|s}, α_s and σ_t.
MEANS = {
    "x": (
        Data(),
        None,
        lambda at, out: at.ratio * at.sigma_s**2 / at.sigma**2 * at.z + at.alpha_s * at.forward / at.sigma**2 * out,
    ),
    "eps": (Noise(), None, lambda at, out: at.z / at.ratio - at.forward / (at.ratio * at.sigma) * out),
    "score": (Score(), None, lambda at, out: at.z / at.ratio + at.forward / at.ratio * out),
    "v": (
        Velocity(),
        "vp",
        lambda at, out: (1 - at.forward) / at.ratio * at.z - at.forward * at.alpha_s / at.sigma * out,
    ),
    "u": (
        Flow(),
        "ot",
        lambda at, out: (
            (at.sigma - at.forward) / (at.ratio * at.sigma) * at.z - at.forward * at.alpha_s / at.sigma * out
        ),
    ),
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_mean_of_a_step_from_any_output_is_the_printed_one(name: str, scaling: str) -> None:
    """The mean by each row of Table 4.1 (Eq. 3.56–3.59, 4.1, 4.2–4.10, 4.11, 4.25, 4.35–4.37, 4.38, 4.47–4.49)."""
    parameterization, home, printed = MEANS[name]
    if home not in (None, scaling):
        return
    at = Setting(SCALINGS[scaling])
    out = target(parameterization, at.x_hat, at.eps_hat, at.alpha, at.sigma)
    x, eps = solve(parameterization, out, at.z, at.alpha, at.sigma)
    close(at.reverse(x).mean, printed(at, out))
    close(at.reverse(x).log_variance.exp(), at.forward * at.sigma_s**2 / at.sigma**2)
    close(eps, at.eps_hat)


@EVERY_SCALING
def test_mean_of_a_step_from_an_energy_is_the_printed_one(scaling) -> None:
    """z_t/α_{t|s} − σ²_{t|s}/α_{t|s} ∇E for E = −log q(z_t) + constant (Eq. 4.20–4.24, Table 4.1)."""
    model = exact_model(line_mixture(), LogSNRLinear(-4.0, 4.0), scaling)
    process, s, t = model.process, time(0.4), time(0.65)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64).unsqueeze(1).requires_grad_()
    alpha, sigma = process.alpha_sigma(t, z)
    energy = 7.0 - line_mixture().diffused(alpha, sigma).log_prob(z)
    (gradient,) = torch.autograd.grad(energy.sum(), z)
    z = z.detach()
    ratio = alpha / process.alpha_sigma(s, z)[0]
    variance = process.transition(z, s, t).log_variance.exp()
    step = Standard()(process, z, s, t, model.predict(z, t))
    close(step.mean, z / ratio - variance / ratio * gradient)


def test_noise_and_data_from_velocities_are_the_printed_ones() -> None:
    """Table 4.2: ε = αv + σz and x = αz − σv (Eq. 4.28–4.34, 4.53–4.56), ε = αu + z (Eq. 4.42–4.46) and x = z − σu."""
    at = Setting(SCALINGS["vp"])
    v = target(Velocity(), at.x, at.eps, at.alpha, at.sigma)
    close(at.alpha * v + at.sigma * at.z, at.eps)
    close(at.alpha * at.z - at.sigma * v, at.x)
    at = Setting(SCALINGS["ot"])
    u = target(Flow(), at.x, at.eps, at.alpha, at.sigma)
    close(at.alpha * u + at.z, at.eps)
    close(at.z - at.sigma * u, at.x)


def test_u_is_the_velocity_of_the_straight_path() -> None:
    """Along α = 1 − u, σ = u, dz/du = ε − x (Eq. 4.39–4.41)."""
    process = GaussianDiffusion(OptimalTransport(-6.0, 6.0), SCALINGS["ot"])
    x, eps = torch.randn(2, 6, 3, generator=seeded(8), dtype=torch.float64).unbind(0)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = (process.alpha_sigma(time(t), x) for t in (0.3, 0.7))
    secant = (alpha_t * x + sigma_t * eps - alpha_s * x - sigma_s * eps) / (sigma_t - sigma_s)
    close(secant, target(Flow(), x, eps, alpha_t, sigma_t))


def error(at: Setting, parameterization: Parameterization) -> Tensor:
    """(out − ôut)² of x and x̂ at the same z."""
    difference = target(parameterization, at.x, at.eps, at.alpha, at.sigma) - target(
        parameterization, at.x_hat, at.eps_hat, at.alpha, at.sigma
    )
    return difference**2


@EVERY_SCALING
def test_losses_of_x_and_noise_translate_as_printed(scaling) -> None:
    """‖x − x̂‖² = (σ²/α²) ‖ε − ε̂‖² and back, by SNR (Eq. 4.51–4.52, 4.60–4.62, 4.96–4.98, Table 4.3)."""
    at = Setting(scaling)
    close(error(at, Data()), at.sigma**2 / at.alpha**2 * error(at, Noise()))
    close(error(at, Noise()), at.alpha**2 / at.sigma**2 * error(at, Data()))


def test_losses_of_v_translate_as_printed() -> None:
    """By σ², σ² (SNR + 1)² and α² (σ²/α² + 1)² (Eq. 4.57–4.59, 4.66–4.70, 4.71–4.74, Table 4.3), under VP."""
    at = Setting(SCALINGS["vp"])
    snr = at.alpha**2 / at.sigma**2
    close(error(at, Data()), at.sigma**2 * error(at, Velocity()))
    close(error(at, Velocity()), at.sigma**2 * (snr + 1) ** 2 * error(at, Data()))
    close(error(at, Velocity()), at.alpha**2 * (1 / snr + 1) ** 2 * error(at, Noise()))


@pytest.mark.parametrize("log_snr", [-2.0, 0.5, 3.0])
def test_divergence_from_a_time_on_changes_at_the_rate_of_the_bound(log_snr: float) -> None:
    """dL/dλ = ½ E‖ε − ε̂‖², with L(t) = I(x; z_t) − I(x; z_1) + a constant of the exact model (Eq. 4.133–4.141)."""
    step = 1e-3
    up, down = (information(line_mixture(), log_snr + way * step) for way in (1, -1))
    assert (up - down) / (2 * step) == pytest.approx(0.5 * noise_error(line_mixture(), log_snr), rel=1e-5)


# --- Appendix A ----------------------------------------------------------------------------------------------


@EVERY_SCALING
def test_mean_and_variance_by_expm1_are_the_printed_ones(scaling) -> None:
    """σ_Q² = −σ_s² expm1(γ_s − γ_t), μ_θ = (α_s/α_t)(z_t + σ_t expm1(γ_s − γ_t) ε̂) (A.15–A.21, A.22–A.29)."""
    at = Setting(scaling)
    change = torch.expm1(at.process.schedule.gamma(at.s) - at.process.schedule.gamma(at.t))
    step = at.reverse(at.x_hat)
    close(step.log_variance.exp(), -(at.sigma_s**2) * change)
    close(step.mean, at.alpha_s / at.alpha * (at.z + at.sigma * change * at.eps_hat))


@EVERY_SCALING
def test_a_latent_is_a_scale_times_what_snr_decides(scaling) -> None:
    """z_v = α_v (x + ε/√v), v = SNR (A.43–A.44)."""
    at = Setting(scaling)
    snr = torch.exp(-at.process.schedule.gamma(at.t))
    close(at.sigma, at.alpha / snr.sqrt())
    close(at.z, at.alpha * (at.x + at.eps / snr.sqrt()))
