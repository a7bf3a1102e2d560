"""The diffusion model against its oracle: when the bound is tight, by how much it is loose, and why."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import (
    LIMIT,
    SCALINGS,
    SCHEDULES,
    exact_model,
    information,
    line_mixture,
    noise_error,
    plane_mixture,
    seeded,
    z_score,
)
from vlb.core.bound import climb_log_weight, descent_log_weight, elbo, estimate
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.distributions import Categorical, standard_normal
from vlb.core.emissions import CategoricalPosterior, Centres, Continuous
from vlb.core.hierarchy import descend, from_posterior
from vlb.models.diffusion.denoiser import PosteriorDenoiser, Prediction
from vlb.models.diffusion.discrete import GridDiffusion
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import GaussianDiffusion, along
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import LowDiscrepancyTime, UniformRung, UniformTime
from vlb.models.mixture.gaussian import GaussianMixture, MixtureDenoiser, exact_prior, exact_reverse, gaussian_mixture


class ExactGrid(GridDiffusion):
    """A grid whose p(z_s | z_t) is the true reverse kernel, a mixture, where the model has one Gaussian."""

    mixture = plane_mixture()

    def reverse(self, z_t: Tensor, s: Tensor, t: Tensor, condition: Condition) -> GaussianMixture:
        return exact_reverse(self.mixture, self.model.process, z_t, s, t)


def misfit_model(scaling=SCALINGS["vp"], gamma_0: float = -4.0, gamma_1: float = 3.0) -> DiffusionModel:
    """A model of other data than plane_mixture, with inexact ends: what a trained network is like."""
    other = gaussian_mixture(torch.ones(1), torch.tensor([[0.3, -0.1]]), 0.6 * torch.eye(2).unsqueeze(0))
    process = GaussianDiffusion(LogSNRLinear(gamma_0, gamma_1), scaling)
    return DiffusionModel(process, MixtureDenoiser(other, scaling, decodes=False), Continuous(), (2,))


def level_errors(mixture: GaussianMixture, high: float, low: float, steps: int) -> list[float]:
    """m(λ) at the noisy end of each of `steps` equal intervals from λ = high down to low."""
    return [noise_error(mixture, high + (low - high) * i / steps) for i in range(1, steps + 1)]


# --- the continuous-time bound -------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("measure", [UniformTime(), LowDiscrepancyTime()], ids=["uniform", "low-discrepancy"])
def test_diffusion_loss_is_the_information_lost(schedule, scaling, measure) -> None:
    """½∫E‖ε−ε̂‖² dλ = I(x; z_0) − I(x; z_1), whatever the schedule, scaling and sampler of t (Eq. 4.80, 4.86, 4.112)."""
    mixture, generator = line_mixture(), seeded(1)
    model = exact_model(mixture, schedule(-5.0, 3.0), scaling)
    # Draws of one batch share their t, so batches are what is independent.
    batches = [
        estimate(model, mixture.expand(128).sample(generator), UNCONDITIONAL, measure, generator).diffusion.mean()
        for _ in range(200)
    ]
    expected = information(mixture, 5.0) - information(mixture, -3.0)
    assert abs(z_score(torch.stack(batches), expected)) < LIMIT


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_continuous_bound_is_tight_point_by_point(schedule, scaling) -> None:
    """With exact denoiser, prior and decoder, −VLB(x) = −log p(x) at each x, not only on average (Eq. 3.135)."""
    mixture, generator, n = plane_mixture(), seeded(2), 40_000
    model = exact_model(mixture, schedule(-1.5, 1.0), scaling)
    for point in ([-1.0, 0.2], [0.8, 0.9], [1.5, -1.5]):
        x = torch.tensor([point], dtype=torch.float64).expand(n, -1)
        total = estimate(model, x, UNCONDITIONAL, UniformTime(), generator).total
        assert abs(z_score(total, -mixture.log_prob(x[:1]).item())) < LIMIT


def test_continuous_bound_is_tight_for_other_data_too() -> None:
    """Point by point means: also on data that the model is not of. There is no misfit term in tightness."""
    mixture, generator = plane_mixture(), seeded(3)
    x = 0.8 * torch.randn(40_000, 2, generator=generator, dtype=torch.float64)
    model = exact_model(mixture, LogSNRLinear(-1.5, 1.0))
    total = estimate(model, x, UNCONDITIONAL, UniformTime(), generator).total
    assert abs(z_score(total + mixture.log_prob(x))) < LIMIT


def test_inexact_ends_make_the_bound_loose() -> None:
    """The control of the two tests above: a Gaussian prior and decoder over the same range do not do."""
    mixture, generator, n = plane_mixture(), seeded(4), 40_000
    x = mixture.expand(n).sample(generator)
    loose = exact_model(mixture, LogSNRLinear(-1.5, 1.0), exact_ends=False)
    assert z_score(estimate(loose, x, UNCONDITIONAL, UniformTime(), generator).total + mixture.log_prob(x)) > 10


@pytest.mark.parametrize("mixture", [plane_mixture()])
def test_wide_ends_make_the_ordinary_prior_and_decoder_exact(mixture: GaussianMixture) -> None:
    """Over γ ∈ [−14, 14] the standard prior and Gaussian decoder lose nothing that can be seen."""
    generator, n = seeded(5), 60_000
    x = mixture.expand(n).sample(generator)
    model = exact_model(mixture, LogSNRLinear(-14.0, 14.0), exact_ends=False)
    total = estimate(model, x, UNCONDITIONAL, LowDiscrepancyTime(), generator).total
    assert abs(z_score(total + mixture.log_prob(x))) < LIMIT


def test_excess_noise_error_is_misfit_plus_looseness() -> None:
    """E[−VLB] − H(q) is the integrated excess error of the denoiser, with exact ends (DESIGN §6)."""
    mixture, generator = line_mixture(), seeded(6)
    other = gaussian_mixture(torch.ones(1), torch.tensor([[0.2]]), torch.tensor([[[0.5]]]))
    exact = exact_model(mixture, LogSNRLinear(-2.0, 2.0))

    class Misfit(nn.Module):
        decodes = True
        takes = NOTHING

        def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
            wrong, right = MixtureDenoiser(other, SCALINGS["vp"])(z, gamma), exact.denoiser(z, gamma)
            return Prediction(wrong.x, wrong.eps, right.law)

    model = DiffusionModel(exact.process, Misfit(), Continuous(), (1,), exact.prior)
    x = mixture.expand(60_000).sample(generator)
    excess = estimate(model, x, UNCONDITIONAL, UniformTime(), generator).total + mixture.log_prob(x)
    t = torch.rand(60_000, generator=generator, dtype=torch.float64)
    z = exact.process.marginal(x, t).sample(generator)
    squared = (model.predict(z, t).eps - exact.predict(z, t).eps) ** 2
    assert z_score(excess) > 10
    assert abs(z_score(excess - 0.5 * 4.0 * squared.sum(1))) < LIMIT


# --- the discrete-time bound ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_exact_reverse_kernels_make_every_draw_exact(steps: int, scaling) -> None:
    """With p(z_s|z_t) = q(z_s|z_t), log p(x,z)/q(z|x) is log p(x) without any variance, down and up."""
    mixture, generator = plane_mixture(), seeded(7)
    grid = ExactGrid(exact_model(mixture, LogSNRLinear(-4.0, 2.0), scaling), torch.linspace(0, 1, steps + 1))
    x = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    expected = mixture.log_prob(x)
    torch.testing.assert_close(descent_log_weight(grid, grid.infer(x), x, generator), expected, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(climb_log_weight(grid, x, generator), expected, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(-elbo(grid, grid.infer(x), x, generator).total, expected, rtol=1e-9, atol=1e-8)


def test_one_gaussian_reverse_kernel_is_what_makes_discrete_time_loose() -> None:
    """The same grid, prior, decoder and denoiser as above, with N(μ_Q(x̂), σ_Q²) as p(z_s|z_t)."""
    mixture, generator = plane_mixture(), seeded(8)
    x = mixture.expand(5_000).sample(generator)
    grid = exact_model(mixture, LogSNRLinear(-4.0, 2.0)).at(5)
    assert z_score(elbo(grid, grid.infer(x), x, generator).total + mixture.log_prob(x)) > 10


@pytest.mark.parametrize("steps", [1, 4])
def test_discrete_loss_is_the_right_riemann_sum(steps: int) -> None:
    """E Σ KL = ½ Σ expm1(Δγ) m(λ_t): the descent against quadrature (A.36)."""
    mixture, generator = line_mixture(), seeded(9)
    x = mixture.expand(20_000).sample(generator)
    grid = exact_model(mixture, LogSNRLinear(-3.0, 3.0), exact_ends=False).at(steps)
    kl = elbo(grid, grid.infer(x), x, generator).kl[:, 1:].sum(1)
    expected = 0.5 * math.expm1(6.0 / steps) * sum(level_errors(mixture, 3.0, -3.0, steps))
    assert abs(z_score(kl, expected)) < LIMIT


def test_discrete_gap_law() -> None:
    """gap·T → (Δλ/4)(2[I(x;z_0) − I(x;z_1)] − [m(λ_max) − m(λ_min)]), with an error that halves with T."""
    mixture, high, low = line_mixture(), 5.0, -3.0
    lost = information(mixture, high) - information(mixture, low)
    limit = (high - low) / 4 * (2 * lost - (noise_error(mixture, high) - noise_error(mixture, low)))
    errors = []
    for steps in (64, 128, 256, 512):
        total = 0.5 * math.expm1((high - low) / steps) * sum(level_errors(mixture, high, low, steps))
        errors.append(abs((total - lost) * steps - limit))
    assert limit > 0.5
    assert errors[-1] < 0.01 * limit
    for before, after in pairwise(errors):
        assert 1.9 < before / after < 2.1


def test_doubling_the_levels_never_loosens_the_expected_bound() -> None:
    """L_2T < L_T in expectation for the exact denoiser (Eq. 3.111, corrected), and L_∞ below all of them."""
    mixture, high, low = line_mixture(), 5.0, -3.0
    losses = [
        0.5 * math.expm1((high - low) / steps) * sum(level_errors(mixture, high, low, steps))
        for steps in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert all(after < before for before, after in pairwise(losses))
    assert information(mixture, high) - information(mixture, low) < losses[-1]


def test_fine_grid_approaches_the_continuous_bound() -> None:
    """At T = 200 the bound is above log p(x), which L_∞ reaches, by what the law of 1/T says (Eq. 3.120–3.124)."""
    mixture, generator, steps = line_mixture(), seeded(10), 200
    x = mixture.expand(2_000).sample(generator)
    grid = exact_model(mixture, LogSNRLinear(-3.0, 3.0)).at(steps)
    gap = elbo(grid, grid.infer(x), x, generator).total + mixture.log_prob(x)
    lost = information(mixture, 3.0) - information(mixture, -3.0)
    predicted = 6.0 / 4 * (2 * lost - (noise_error(mixture, 3.0) - noise_error(mixture, -3.0))) / steps
    assert predicted < 0.02
    # The law's own error at T = 200 is below a tenth of the gap.
    assert abs(gap.mean().item() - predicted) < LIMIT * gap.std().item() / math.sqrt(len(gap)) + 0.1 * predicted


# --- one loop, two measures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_term_is_the_kl_of_its_rung(schedule, scaling) -> None:
    """½ expm1(γ_t − γ_s)‖ε − ε̂‖² = KL(q(z_s|z_t,x) ‖ p(z_s|z_t)), at the very same z_t (Eq. 3.74, 3.99, A.38)."""
    model = misfit_model(scaling)
    model.process.schedule = schedule(-4.0, 3.0)
    grid = model.at(7)
    x = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    for level in range(1, 8):
        term = grid.term(x, torch.full((6,), level), UNCONDITIONAL, seeded(level))
        alpha, sigma = model.process.alpha_sigma(grid.time(level), x)
        z = alpha * x + sigma * standard_normal(x.shape, seeded(level), x)
        rung = grid.rung(level - 1, grid.advance(level, grid.infer(x), z))
        torch.testing.assert_close(term, rung.q.kl(rung.p), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 4])
def test_terms_are_the_steps_of_one_descent_by_their_rung(steps: int) -> None:
    """Rung 1 is next to the data; the prior is the step before the first; all of them are the bound."""
    x = torch.randint(0, 5, (6, 3, 2, 2), generator=seeded(2))
    grid = independent_pixels(-4.0, 3.0)[0].at(steps)
    walked = elbo(grid, grid.infer(x, UNCONDITIONAL), x, seeded(3))
    terms = grid.terms(x, UNCONDITIONAL, seeded(3))
    assert set(terms) == {("reconstruction",), ("prior",), *(("kl", rung) for rung in range(1, steps + 1))}
    assert torch.equal(terms[("prior",)], walked.kl[:, 0]) and torch.equal(terms[("kl", 1)], walked.kl[:, -1])
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(0), walked.total)


def test_bound_has_the_prior_and_every_level() -> None:
    """elbo's KLs, top first, are the prior term and then the terms T … 1 (Eq. 3.60, 3.62)."""
    model, generator, n = misfit_model(), seeded(11), 20_000
    x = plane_mixture().expand(n).sample(generator)
    grid = model.at(4)
    bound = elbo(grid, grid.infer(x), x, generator)
    torch.testing.assert_close(bound.kl[:, 0], model.prior_kl(x, generator))
    for column, level in enumerate((4, 3, 2, 1), start=1):
        term = grid.term(x, torch.full((n,), level), UNCONDITIONAL, generator)
        assert abs(z_score(bound.kl[:, column] - term)) < LIMIT
    assert abs(z_score(bound.reconstruction - grid.ends(x, UNCONDITIONAL, generator).reconstruction)) < LIMIT


@pytest.mark.parametrize("grid", [3, torch.tensor([0.0, 0.2, 0.9, 1.0])], ids=["even", "uneven"])
def test_sampled_levels_are_unbiased_for_the_descent(grid) -> None:
    """Eq. 3.93: T times the term of a random level has the mean of the sum."""
    model, generator = misfit_model().at(grid), seeded(12)
    x = plane_mixture().expand(20_000).sample(generator)
    exact = elbo(model, model.infer(x), x, generator).total
    sampled = estimate(model, x, UNCONDITIONAL, UniformRung(3), generator, draws=2)
    assert sampled.terms.shape == (20_000, 2)
    assert abs(z_score(sampled.total - exact)) < LIMIT


def test_climb_and_descent_have_the_mean_of_the_bound() -> None:
    """Log-ratios along either walk average to the sum of KLs (Eq. 2.29–2.34)."""
    model, generator = misfit_model().at(3), seeded(13)
    x = plane_mixture().expand(20_000).sample(generator)
    bound = -elbo(model, model.infer(x), x, generator).total
    assert abs(z_score(descent_log_weight(model, model.infer(x), x, generator) - bound)) < LIMIT
    assert abs(z_score(climb_log_weight(model, x, generator) - bound)) < LIMIT


def test_descent_visits_the_marginals() -> None:
    """z at level i of a descent from q is distributed as q(z_{t_i} | x)."""
    model, generator, n = misfit_model(), seeded(14), 20_000
    x = torch.tensor([[0.7, -1.2]], dtype=torch.float64).expand(n, -1)
    grid = model.at(5)
    for step in descend(grid, grid.infer(x), from_posterior(generator)):
        marginal = model.process.marginal(x, grid.time(step.number))
        standard = (step.z - marginal.mean) * (-0.5 * marginal.log_variance).exp()
        for values in (standard[:, 0], standard[:, 1], standard[:, 0] ** 2 - 1, standard.prod(1)):
            assert abs(z_score(values)) < LIMIT


# --- scalings ------------------------------------------------------------------------------------------------


class Transported(nn.Module):
    """One denoiser, stated in variance-preserving coordinates and asked in others (A.45)."""

    decodes = False
    takes = NOTHING

    def __init__(self, scaling) -> None:
        super().__init__()
        self.scaling = scaling

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        alpha, sigma = self.scaling(along(gamma.expand(z.shape[0], -1), z))
        preserved = SCALINGS["vp"](along(gamma.expand(z.shape[0], -1), z))[0] / alpha * z
        x = torch.tanh(preserved + 0.3 * preserved.roll(1, -1)) * torch.sigmoid(-gamma)
        return Prediction(x, (z - alpha * x) / sigma, None)


@pytest.mark.parametrize("steps", [None, 4])
def test_bounds_are_equal_in_every_scaling(steps: int | None) -> None:
    """At equal SNR the three scalings are one process: the same bound for the same noise, draw by draw."""
    x = plane_mixture().expand(50).sample(seeded(15))
    bounds = []
    for scaling in SCALINGS.values():
        process = GaussianDiffusion(LogSNRLinear(-6.0, 2.0), scaling)
        model = DiffusionModel(process, Transported(scaling), Continuous(), (2,))
        if steps is None:
            bound = estimate(model, x, UNCONDITIONAL, UniformTime(), seeded(16))
            bounds.append(torch.stack((bound.reconstruction, bound.prior, bound.diffusion), 1))
        else:
            grid = model.at(steps)
            bound = elbo(grid, grid.infer(x), x, seeded(16))
            bounds.append(torch.cat((bound.kl, bound.reconstruction.unsqueeze(1)), 1))
    for other in bounds[1:]:
        torch.testing.assert_close(other, bounds[0], rtol=1e-9, atol=1e-10)


def test_an_untransported_prior_changes_the_bound() -> None:
    """N(0, 1) as p(z_1) under variance explosion is another model, and a worse one."""
    x = plane_mixture().expand(50).sample(seeded(17))
    process = GaussianDiffusion(LogSNRLinear(-6.0, 2.0), SCALINGS["ve"])
    end = torch.ones(1, dtype=torch.float64)
    transported = process.prior(x)
    untransported = type(transported)(transported.mean, torch.zeros_like(transported.log_variance))
    q = process.marginal(x, end)
    assert bool((q.kl(untransported) > q.kl(transported) + 1).all())


# --- discrete data -------------------------------------------------------------------------------------------


class Silent(nn.Module):
    """A backbone is any module with this call; this one knows nothing, and says so."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        return z.new_zeros(*z.shape, self.outputs)


def independent_pixels(gamma_0: float, gamma_1: float) -> tuple[DiffusionModel, Tensor]:
    """A posterior head without a network, and the log-marginals (D, K) of the data it is exact for."""
    levels = Centres(5)
    log_marginals = (2 * torch.randn(12, 5, generator=seeded(18))).log_softmax(-1)
    head = CategoricalPosterior(log_marginals)
    process = GaussianDiffusion(LogSNRLinear(gamma_0, gamma_1))
    denoiser = PosteriorDenoiser(Silent(head.outputs), head, SCALINGS["vp"])
    return DiffusionModel(process, denoiser, levels, (3, 2, 2)), log_marginals


def test_silent_posterior_head_is_the_independent_pixel_model() -> None:
    """At γ₁ = 10 the continuous bound is the independent-categorical NLL to 5e-4 bits/dim: a free oracle."""
    model, log_marginals = independent_pixels(-3.0, 10.0)
    generator, n = seeded(19), 30_000
    pixels = Categorical(log_marginals.expand(n, -1, -1))
    x = pixels.sample(generator).view(n, 3, 2, 2)
    nll = -pixels.log_prob(x.flatten(1))
    with torch.no_grad():
        bound = estimate(model, x, UNCONDITIONAL, UniformTime(), generator)
    gap = (bound.total - nll).double() / (12 * math.log(2))
    assert gap.mean().abs() < 5e-4 + LIMIT * gap.std() / math.sqrt(n)
    # The control: the reconstruction term matters here, by far more than that.
    assert bound.reconstruction.mean() / (12 * math.log(2)) > 0.05


def test_silent_posterior_head_in_discrete_time_is_looser() -> None:
    model, log_marginals = independent_pixels(-3.0, 10.0)
    generator, n = seeded(20), 4_000
    pixels = Categorical(log_marginals.expand(n, -1, -1))
    x = pixels.sample(generator).view(n, 3, 2, 2)
    with torch.no_grad():
        grid = model.at(16)
        gap = elbo(grid, grid.infer(x), x, generator).total + pixels.log_prob(x.flatten(1))
    assert z_score(gap) > 10


def test_silent_posterior_head_generates_the_marginals() -> None:
    model, log_marginals = independent_pixels(-8.0, 10.0)
    n = 4_000
    x = model.sample(n, steps=64, generator=seeded(21)).flatten(1)
    assert x.dtype == torch.int64
    for d in range(0, 12, 3):
        for k in range(5):
            p = log_marginals[d, k].exp().item()
            # 64 steps leave a bias of their own, of order 1/T.
            share = (x[:, d] == k).double().mean().item()
            assert abs(share - p) < LIMIT * math.sqrt(p * (1 - p) / n) + 0.03


# --- generation and housekeeping -----------------------------------------------------------------------------


def test_ancestral_samples_are_the_data() -> None:
    """Mean and covariance of 100-step samples under the exact denoiser, to Monte Carlo and O(1/T) error."""
    mixture, n = plane_mixture(), 4_000
    model = exact_model(mixture, LogSNRLinear(-6.0, 6.0)).double()
    x = model.sample(n, steps=100, generator=seeded(22)).double()
    error = LIMIT / math.sqrt(n)
    assert (x.mean(0) - mixture.mean()[0]).abs().max() < 2 * error + 0.02
    assert (x.T.cov() - mixture.covariance()[0]).abs().max() < 3 * error + 0.02


def test_labels_reach_every_term() -> None:
    """Conditioned on its component, x has the bound of that component alone."""
    mixture, generator, n = plane_mixture(), seeded(23), 20_000
    alone = mixture.component(torch.zeros(1, dtype=torch.int64))
    x = alone.expand(n).sample(generator)
    model = exact_model(mixture, LogSNRLinear(-14.0, 14.0), exact_ends=False)
    labels = Condition(label=torch.zeros(n, dtype=torch.int64))
    conditional = estimate(model, x, labels, LowDiscrepancyTime(), generator).total
    assert abs(z_score(conditional + alone.log_prob(x))) < LIMIT
    grid = model.at(8)
    state = grid.infer(x, labels)
    means = [step.p.mean for step in descend(grid, state, from_posterior(seeded(24)))]
    plain = [step.p.mean for step in descend(grid, grid.infer(x), from_posterior(seeded(24)))]
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(means[1:-2], plain[1:-2], strict=True))


@pytest.mark.parametrize("grid", [[0.0], [-0.1, 0.5], [0.0, 1.1], [0.0, 0.6, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0]])
def test_bad_grids_are_refused(grid: list[float]) -> None:
    with pytest.raises(ValueError, match="grid"):
        misfit_model().at(torch.tensor(grid))


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_a_hierarchy_may_begin_and_end_anywhere(scaling) -> None:
    """With exact kernels and decoder, stopping at t_0 > 0 loses nothing: log p(x), without variance."""
    mixture = plane_mixture()
    grid = ExactGrid(exact_model(mixture, LogSNRLinear(-4.0, 2.0), scaling), torch.tensor([0.3, 0.5, 1.0]))
    x = torch.randn(20, 2, generator=seeded(), dtype=torch.float64)
    bound = elbo(grid, grid.infer(x), x, seeded(1))
    torch.testing.assert_close(-bound.total, mixture.log_prob(x), rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(climb_log_weight(grid, x, seeded(2)), mixture.log_prob(x), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_the_top_has_the_prior_of_its_own_time(scaling) -> None:
    """KL(q(z_t|x) ‖ N(0, α_t² + σ_t²)): the same in every scaling, and what standard variables give."""
    model = misfit_model(scaling)
    x = torch.randn(20, 2, generator=seeded(), dtype=torch.float64)
    grid = model.at(torch.tensor([0.1, 0.4, 0.8]))
    bound = elbo(grid, grid.infer(x), x, seeded(1))
    gamma = model.process.schedule.gamma(torch.tensor(0.8))
    alpha2, sigma2 = torch.sigmoid(-gamma), torch.sigmoid(gamma)
    torch.testing.assert_close(bound.kl[:, 0], 0.5 * (sigma2 - 1 - sigma2.log() + alpha2 * x**2).sum(1))
    torch.testing.assert_close(grid.ends(x, UNCONDITIONAL, seeded()).prior, bound.kl[:, 0])


def test_a_conditional_climb_is_conditional() -> None:
    """Climb and descent of a model given the component have the same mean, and another than unconditionally."""
    mixture, n = plane_mixture(), 20_000
    labels = Condition(label=torch.zeros(n, dtype=torch.int64))
    x = mixture.component(torch.zeros(1, dtype=torch.int64)).expand(n).sample(seeded())
    model = exact_model(mixture, LogSNRLinear(-4.0, 3.0), exact_ends=False)
    grid, plain = model.at(3, condition=labels), model.at(3)
    up, down = climb_log_weight(grid, x, seeded(1)), -elbo(grid, grid.infer(x), x, seeded(2)).total
    assert abs(z_score(up - down)) < LIMIT
    assert z_score(up - climb_log_weight(plain, x, seeded(1))) > 10


def test_samples_have_the_shape_of_an_example() -> None:
    """A flat law as decoder gives no other shape to samples than the model's."""
    mixture, scaling = plane_mixture(), SCALINGS["vp"]
    process = GaussianDiffusion(LogSNRLinear(-4.0, 4.0), scaling)
    for decodes in (True, False):
        model = DiffusionModel(process, MixtureDenoiser(mixture, scaling, decodes), Continuous(), (1, 2))
        assert model.sample(3, steps=2, generator=seeded()).shape == (3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_are_asked_in_their_own_precision(dtype: torch.dtype) -> None:
    """Float64 networks serve, and float32 ones are not handed the float64 latents of a grid."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4 * 3)

        def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
            return self.layer(z).unflatten(-1, (4, 3))

    levels = Centres(3)
    head = CategoricalPosterior(torch.zeros(4, 3))
    model = DiffusionModel(
        GaussianDiffusion(LogSNRLinear(-3.0, 3.0)), PosteriorDenoiser(Layer(), head, SCALINGS["vp"]), levels, (4,)
    ).to(dtype)
    x = torch.tensor([[0, 1, 2, 1]])
    with torch.no_grad():
        assert model.predict(torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1)).x.dtype == dtype
        grid = model.at(4)
        assert bool(elbo(grid, grid.infer(x), x, seeded()).total.isfinite())
        assert bool(estimate(model, x, UNCONDITIONAL, UniformTime(), seeded()).total.isfinite())
        assert model.sample(2, steps=3, generator=seeded()).shape == (2, 4)


@pytest.mark.parametrize("trained", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("asked", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("own_prior", [False, True], ids=["standard-prior", "own-prior"])
def test_a_model_is_the_same_under_every_scaling(trained, asked, own_prior: bool) -> None:
    """Denoiser, prior and latents transported together: the same bounds for the same noise (A.47–A.48), V[x] ≠ 1."""
    mixture = gaussian_mixture(torch.ones(2), torch.tensor([[-3.0, 1.0], [2.0, 0.0]]), torch.ones(2, 2))
    process = GaussianDiffusion(LogSNRLinear(-6.0, 2.0), trained)
    law = exact_prior(mixture, process) if own_prior else None
    model = DiffusionModel(process, MixtureDenoiser(mixture, trained, own_prior), Continuous(), (2,), law)
    other = model.under(asked)
    x = plane_mixture().expand(40).sample(seeded())

    def values(m: DiffusionModel, steps: int | None) -> Tensor:
        if steps is None:
            bound = estimate(m, x, UNCONDITIONAL, UniformTime(), seeded(1))
            return torch.stack((bound.reconstruction, bound.prior, bound.diffusion), 1)
        grid = m.at(steps)
        walked = elbo(grid, grid.infer(x), x, seeded(2))
        return torch.cat((walked.kl, walked.reconstruction.unsqueeze(1)), 1)

    for steps in (None, 3):
        torch.testing.assert_close(values(other, steps), values(model, steps), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(values(other.under(trained), 3), values(model, 3), rtol=1e-9, atol=1e-9)


def test_a_transported_model_generates_the_same_examples() -> None:
    model = exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0), exact_ends=False)
    other = model.under(SCALINGS["ve"])
    here, there = (m.sample(50, steps=20, generator=seeded(3)) for m in (model, other))
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)
