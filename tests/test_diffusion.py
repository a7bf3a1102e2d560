"""The forward process: Bayes identities and scalings."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, SCALINGS, SCHEDULES, seeded, z_score
from vlb.models.diffusion.process import GaussianDiffusion, along
from vlb.models.diffusion.schedules import LogSNRLinear

EVERY = [
    pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS),
    pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES),
]
TIMES = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda p: abs(p[0] - p[1]) > 1e-3).map(sorted)


def every(test):
    for mark in EVERY:
        test = mark(test)
    return test


def time(t: float) -> torch.Tensor:
    return torch.tensor([t], dtype=torch.float64)


@every
@settings(derandomize=True, deadline=None, max_examples=40)
@given(times=TIMES, seed=st.integers(0, 2**31))
def test_bayes_identity(schedule, scaling, times: list[float], seed: int) -> None:
    """q(z_s|z_t,x) q(z_t|x) = q(z_t|z_s) q(z_s|x) for every s < t, x, z_s, z_t (Eq. 3.25)."""
    process = GaussianDiffusion(schedule(-7.0, 5.0), scaling)
    s, t = time(times[0]), time(times[1])
    generator = seeded(seed)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    z_s = process.marginal(x, s).sample(generator)
    transition = process.transition(z_s, s, t)
    z_t = transition.sample(generator)
    left = process.posterior(z_t, x, s, t).log_prob(z_s) + process.marginal(x, t).log_prob(z_t)
    right = transition.log_prob(z_t) + process.marginal(x, s).log_prob(z_s)
    torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-7)


@every
@settings(derandomize=True, deadline=None, max_examples=20)
@given(times=st.lists(st.floats(0, 1), min_size=3, max_size=3, unique=True).map(sorted))
def test_transitions_compose(schedule, scaling, times: list[float]) -> None:
    """q(z_t|z_r) is q(z_t|z_s) after q(z_s|z_r): means and variances (Chapman–Kolmogorov)."""
    r, s, t = map(time, times)
    if min(times[1] - times[0], times[2] - times[1]) < 1e-3:
        return
    process = GaussianDiffusion(schedule(-7.0, 5.0), scaling)
    z = torch.ones(1, 1, dtype=torch.float64)
    first, whole = process.transition(z, r, s), process.transition(z, r, t)
    second = process.transition(first.mean, s, t)
    gain = process.transition(z, s, t).mean
    torch.testing.assert_close(second.mean, whole.mean, rtol=1e-9, atol=0)
    variance = gain**2 * first.log_variance.exp() + second.log_variance.exp()
    torch.testing.assert_close(variance, whole.log_variance.exp(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("gamma", [-40.0, -13.3, 0.0, 5.0, 40.0])
def test_scalings_have_the_log_snr_they_are_asked_for(scaling, gamma: float) -> None:
    """SNR = e^{−γ} (A.14)."""
    alpha, sigma = scaling(torch.tensor(gamma, dtype=torch.float64))
    assert 2 * (sigma.log() - alpha.log()).item() == pytest.approx(gamma, rel=1e-12, abs=1e-12)


def test_scalings_are_what_their_names_say() -> None:
    """α² + σ² = 1 (A.2), α = 1, α + σ = 1."""
    gamma = torch.linspace(-9, 9, 19, dtype=torch.float64)
    alpha, sigma = SCALINGS["vp"](gamma)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(gamma))
    torch.testing.assert_close(SCALINGS["ve"](gamma)[0], torch.ones_like(gamma))
    torch.testing.assert_close(sum(SCALINGS["ot"](gamma)), torch.ones_like(gamma))


@every
def test_processes_are_one_at_equal_snr(schedule, scaling) -> None:
    """z^A = (α^A/α^B) z^B carries transition and posterior of one scaling onto the other (A.45)."""
    a, b = GaussianDiffusion(schedule(-7.0, 5.0), scaling), GaussianDiffusion(schedule(-7.0, 5.0))
    s, t = time(0.4), time(0.7)
    x, z = torch.randn(2, 4, 3, generator=seeded(), dtype=torch.float64).unbind(0)
    ratio_s = a.alpha_sigma(s, x)[0] / b.alpha_sigma(s, x)[0]
    ratio_t = a.alpha_sigma(t, x)[0] / b.alpha_sigma(t, x)[0]
    for here, there, ratio in (
        (a.transition(ratio_s * z, s, t), b.transition(z, s, t), ratio_t),
        (a.posterior(ratio_t * z, x, s, t), b.posterior(z, x, s, t), ratio_s),
        (a.marginal(x, t), b.marginal(x, t), ratio_t),
        (a.prior(x), b.prior(x), a.alpha_sigma(time(1.0), x)[0] / b.alpha_sigma(time(1.0), x)[0]),
    ):
        torch.testing.assert_close(here.mean, ratio * there.mean)
        torch.testing.assert_close(here.log_variance, there.log_variance + 2 * ratio.log())


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_prior_is_the_marginal_of_standard_normal_data(scaling) -> None:
    process = GaussianDiffusion(LogSNRLinear(-5.0, 1.0), scaling)
    generator, n = seeded(1), 20_000
    x = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    z = process.marginal(x, time(1.0)).sample(generator)
    variance = process.prior(x).log_variance.exp().item()
    assert abs(z_score(z[:, 0] ** 2, variance)) < LIMIT


def test_times_may_differ_along_the_batch() -> None:
    process = GaussianDiffusion(LogSNRLinear(-5.0, 5.0))
    x = torch.randn(3, 2, 4, 4, generator=seeded(), dtype=torch.float64)
    s, t = torch.tensor([0.0, 0.3, 0.5]).double(), torch.tensor([0.2, 0.9, 1.0]).double()
    together = process.posterior(x, x.flip(0), s, t)
    for i in range(3):
        alone = process.posterior(x[i : i + 1], x.flip(0)[i : i + 1], s[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(together.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(together.log_variance[i].flatten()[0], alone.log_variance.flatten()[0])


def test_levels_per_dimension_follow_the_shape_of_the_data() -> None:
    values = torch.arange(6.0).view(1, 6)
    torch.testing.assert_close(along(values, torch.zeros(4, 2, 3)), values.view(1, 2, 3))
    assert along(torch.ones(4, 1), torch.zeros(4, 2, 3)).shape == (4, 1, 1)


def test_posterior_shrinks_to_its_ends() -> None:
    """As s → t the posterior of z_s is z_t; as t grows noisy it forgets z_t."""
    process = GaussianDiffusion(LogSNRLinear(-10.0, 10.0))
    z, x = torch.tensor([[2.0]]).double(), torch.tensor([[-1.0]]).double()
    near = process.posterior(z, x, time(0.5 - 1e-9), time(0.5))
    assert abs(near.mean.item() - 2.0) < 1e-6
    assert math.exp(near.log_variance.item()) < 1e-7
    alpha, sigma = process.alpha_sigma(time(0.1), x)
    far = process.posterior(torch.zeros_like(z), x, time(0.1), time(1.0))
    assert far.mean.item() == pytest.approx((alpha * x).item(), rel=1e-6)
    assert math.exp(0.5 * far.log_variance.item()) == pytest.approx(sigma.item(), rel=1e-6)
