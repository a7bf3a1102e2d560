"""Each of these was a bug in a published code base: the naive form is shown failing, ours holding."""

import math
from decimal import Decimal, getcontext

import pytest
import torch

from tests.oracles import SCALINGS, SCHEDULES, seeded
from vlb.core.distributions import Categorical, Normal
from vlb.core.emissions import Centres, Continuous, DiscretisedMixture
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import low_discrepancy
from vlb.models.mixture.gaussian import MixtureDenoiser, gaussian_mixture

getcontext().prec = 50


def test_gamma_in_float64_keeps_the_weights_of_ten_thousand_levels() -> None:
    """−expm1(γ_s − γ_t) at T = 10⁴: float32 γ loses four digits, float32 times cast up keep them."""
    schedule, steps = LogSNRLinear(-13.3, 5.0), 10_000
    exact = -math.expm1(-18.3 / steps)
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    gamma = schedule.gamma(t)
    ours = -torch.expm1(gamma[:-1] - gamma[1:])
    naive = -torch.expm1(gamma.float()[:-1] - gamma.float()[1:])
    assert (ours / exact - 1).abs().max() < 1e-10
    assert (naive / exact - 1).abs().max() > 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_answer_in_float64_whatever_they_are_asked_in(schedule) -> None:
    noise = schedule(-13.3, 5.0)
    t = torch.rand(5, generator=seeded())
    assert {noise.gamma(t).dtype, noise.rate(t).dtype, noise.inverse(t).dtype} == {torch.float64}


@pytest.mark.parametrize("gamma_1", [8.0, 10.0, 14.0])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_prior_kl_of_float32_data(scaling, gamma_1: float) -> None:
    """½(v − log v − 1) with v = σ₁² ≈ 1: naive float32 is 0, or rounding noise; exactly ~ ¼α⁴ in truth."""
    process = GaussianDiffusion(LogSNRLinear(-5.0, gamma_1), scaling)
    x = torch.zeros(1, 1)
    kl = process.marginal(x, torch.ones(1)).kl(process.prior(x)).item()
    v = 1 / (1 + Decimal(-gamma_1).exp())
    exact = float((v - v.ln() - 1) / 2)
    assert kl == pytest.approx(exact, rel=1e-6)
    naive = torch.sigmoid(torch.tensor(gamma_1))
    assert abs((0.5 * (naive - naive.log() - 1)).item() / exact - 1) > 0.1


def test_naive_prior_kl_in_float32_is_exactly_zero() -> None:
    for gamma_1 in (8.0, 9.0, 12.0):
        log_v = torch.nn.functional.logsigmoid(torch.tensor(gamma_1))
        assert (0.5 * (torch.exp(log_v) - log_v - 1)).item() in (0.0, pytest.approx(0.0, abs=1e-7))
        q, p = Normal(torch.zeros(1, 1), log_v.view(1, 1)), Normal(torch.zeros(1, 1), torch.zeros(1, 1))
        assert q.kl(p).item() == pytest.approx(0.25 * math.exp(-2 * gamma_1), rel=1e-2)


def test_kl_of_nearly_equal_variances_in_float32() -> None:
    delta = torch.tensor([[1e-4]])
    kl = Normal(torch.zeros(1, 1), delta).kl(Normal(torch.zeros(1, 1), torch.zeros(1, 1))).item()
    assert kl == pytest.approx(0.25e-8, rel=1e-3)
    naive = (0.5 * (torch.exp(delta) - 1 - delta)).item()
    assert abs(naive / 0.25e-8 - 1) > 0.5


def test_never_one_minus_sigmoid() -> None:
    """α² at γ = 20 in float32: 1 − sigmoid(γ) is 0, sigmoid(−γ) is not, though they are one (A.5–A.8)."""
    gamma = torch.tensor([20.0])
    assert (1 - torch.sigmoid(gamma)).item() == 0
    alpha, _ = SCALINGS["vp"](gamma)
    assert alpha.item() ** 2 == pytest.approx(math.exp(-20), rel=1e-5)
    _, sigma = SCALINGS["vp"](-gamma)
    assert sigma.item() ** 2 == pytest.approx(math.exp(-20), rel=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_posterior_variance_by_expm1(scaling) -> None:
    """σ_s²·(−expm1(γ_s − γ_t)) for float32 latents (A.21); σ²_{t|s} as a difference of variances loses its digits."""
    process = GaussianDiffusion(LogSNRLinear(-13.3, 5.0), scaling)
    t = torch.tensor([0.4], dtype=torch.float64)
    s = t - 1e-6
    z = torch.zeros(1, 1)
    c = -math.expm1(-18.3e-6)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = process.alpha_sigma(s, z), process.alpha_sigma(t, z)
    log_variance = process.posterior(z, z, s, t).log_variance.item()
    assert log_variance == pytest.approx(math.log(sigma_s.item() ** 2 * c), abs=1e-8)
    assert process.transition(z, s, t).log_variance.item() == pytest.approx(math.log(sigma_t.item() ** 2 * c), abs=1e-8)
    a, b = (alpha_t / alpha_s).float() ** 2, sigma_s.float() ** 2
    naive = (sigma_t.float() ** 2 - a * b) * b / sigma_t.float() ** 2
    assert abs(naive.item() / math.exp(log_variance) - 1) > 1e-3


def test_discrete_weight_by_expm1() -> None:
    """½(SNR(s) − SNR(t)) ‖x − x̂‖² in float32 cancels at T = 10⁴; ½ expm1(γ_t − γ_s) ‖ε − ε̂‖² does not (A.36)."""
    gamma_s, step = -13.3, 18.3e-4
    snr = torch.exp(-torch.tensor([gamma_s, gamma_s + step]))
    gamma_t = torch.tensor(gamma_s + step, dtype=torch.float64)
    exact = math.expm1(step)
    naive = ((snr[0] - snr[1]) / snr[1]).item()
    assert abs(naive / exact - 1) > 1e-5
    assert torch.expm1(gamma_t - gamma_s).item() == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_term_equals_the_kl_of_float32_latents_at_ten_thousand_levels(dtype: torch.dtype) -> None:
    """The descent's KL compares two float32 means 2e-6 apart: a percent of rounding noise in each element.

    In sum it stays below half a percent at the finest levels, even where x repeats a value (here ±1), so
    that roundings agree. `term` has no such error, and is what evaluation should use where levels are many.
    """
    normal = gaussian_mixture(torch.ones(1), torch.zeros(1, 64), torch.eye(64).unsqueeze(0))
    process = GaussianDiffusion(LogSNRLinear(-13.3, 5.0))
    model = DiffusionModel(process, MixtureDenoiser(normal, SCALINGS["vp"], decodes=False), Continuous(), (64,))
    grid = model.at(10_000)
    x = torch.randn(32, 64, generator=seeded(), dtype=torch.float64).clamp(-1, 1).to(dtype)
    for level in (1, 5_000, 10_000):
        z = process.marginal(x, grid.time(level)).sample(seeded(level))
        alpha, sigma = process.alpha_sigma(grid.time(level), x)
        eps = (z - alpha * x) / sigma
        error = ((eps - model.predict(z, grid.time(level)).eps) ** 2).sum(1)
        rung = grid.rung(level - 1, grid.advance(level, grid.infer(x), z))
        expected = 0.5 * math.expm1(18.3e-4) * error.double()
        kl = rung.q.kl(rung.p).double()
        if dtype == torch.float64:
            torch.testing.assert_close(kl, expected, rtol=1e-8, atol=0)
        else:
            assert (kl / expected - 1).abs().max() < 0.03
            assert abs((kl.mean() / expected.mean() - 1).item()) < 5e-3


def test_low_discrepancy_at_batch_49() -> None:
    """arange(0, 1, 1/49) has 50 entries; ours has 49."""
    assert len(torch.arange(0, 1, 1 / 49)) == 50
    assert all(len(low_discrepancy(n, seeded())) == n for n in range(1, 130))


def test_listed_levels_take_the_difference_before_the_square() -> None:
    """At γ = −10 the expanded square (z² − 2αvz + α²v²)/σ² cancels in float32."""
    values = Centres(256).values(torch.zeros(1))
    alpha, sigma = SCALINGS["vp"](torch.full((1, 1), -10.0, dtype=torch.float64))
    exact = (alpha * values[200] + 0.3 * sigma).double()
    z = exact.float()
    reference = -0.5 * ((z.double().unsqueeze(-1) - alpha * values.double()) / sigma) ** 2
    near = slice(198, 203)
    ours = Centres(256).given(z, alpha, sigma).logits
    a, s = alpha.float(), sigma.float()
    naive = -0.5 * (z.unsqueeze(-1) ** 2 - 2 * a * values * z.unsqueeze(-1) + a**2 * values**2) / s**2
    ours_error = (ours.softmax(-1).double() - reference.softmax(-1))[..., near].abs().max()
    naive_error = (naive.softmax(-1).double() - reference.softmax(-1))[..., near].abs().max()
    assert ours_error < 3e-5
    assert naive_error > 10 * ours_error


def test_discretised_tails_keep_their_digits() -> None:
    """A bin 12 standard deviations right of the mean: 1 − ndtr is 0 in float64, the log mass is −76."""
    p = DiscretisedMixture(torch.zeros(1, 1, 1), torch.full((1, 1, 1), -1.0), torch.full((1, 1, 1), 0.01), Centres(20))
    value = torch.tensor([[12]])  # [0.2, 0.3], 12 to 13 standard deviations away
    exact = math.log(0.5 * (math.erfc(12 / math.sqrt(2)) - math.erfc(13 / math.sqrt(2))))
    assert p.log_prob(value).item() == pytest.approx(exact, rel=1e-6)
    assert (torch.special.ndtr(torch.tensor(13.0).double()) - torch.special.ndtr(torch.tensor(12.0).double())) == 0


def test_categorical_sampling_reaches_the_last_level() -> None:
    """A float32 cumulative sum over many levels stops short of 1; the draw must stay within range."""
    logits = torch.zeros(2_000, 4, 256)
    x = Categorical(logits).sample(seeded())
    assert x.min() == 0
    assert x.max() == 255


def test_noise_prediction_at_the_clean_end_by_its_own_formula() -> None:
    """ε̂ at γ = −40 from (z − αx̂)/σ has lost its digits in float32; σ·score has them."""
    mixture = gaussian_mixture(torch.ones(1), torch.full((1, 1), 0.5), torch.full((1, 1, 1), 0.04))
    gamma = torch.full((1, 1), -34.0, dtype=torch.float64)
    alpha, sigma = SCALINGS["vp"](gamma)
    z = torch.tensor([[0.7]])
    prediction = MixtureDenoiser(mixture, SCALINGS["vp"])(z, gamma)
    exact = (sigma * (z.double() - alpha * 0.5) / (alpha**2 * 0.04 + sigma**2)).item()
    assert prediction.eps.item() == pytest.approx(exact, rel=1e-6)
    naive = ((z - alpha.float() * prediction.x) / sigma.float()).item()
    assert abs(naive / exact - 1) > 0.01
