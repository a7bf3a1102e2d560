"""The oracle itself, against quadrature, autograd and Monte Carlo."""

import math

import pytest
import torch

from tests.oracles import (
    LIMIT,
    SCALINGS,
    gauss_legendre,
    information,
    line_grid,
    line_mixture,
    noise_error,
    plane_mixture,
    seeded,
    z_score,
)
from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import MixtureDenoiser, exact_prior, exact_reverse, gaussian_mixture


def test_density_is_that_of_the_components() -> None:
    means = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    covariances = torch.tensor([[[1.0, 0.4], [0.4, 0.5]], [[0.3, -0.1], [-0.1, 0.2]]], dtype=torch.float64)
    x = torch.randn(7, 2, generator=seeded(), dtype=torch.float64)
    components = torch.distributions.MultivariateNormal(means, covariances)
    expected = (components.log_prob(x.unsqueeze(1)) + torch.tensor([0.25, 0.75]).log()).logsumexp(1)
    torch.testing.assert_close(gaussian_mixture(torch.tensor([1.0, 3.0]), means, covariances).log_prob(x), expected)


def test_density_integrates_to_one() -> None:
    nodes, weight = line_grid(line_mixture())
    assert abs((weight * line_mixture().log_prob(nodes).exp()).sum().item() - 1) < 1e-10


def test_samples_have_the_mean_covariance_and_expected_density() -> None:
    mixture, n = plane_mixture(), 40_000
    x = mixture.expand(n).sample(seeded(1))
    mean, covariance = mixture.mean()[0], mixture.covariance()[0]
    for i in range(2):
        assert abs(z_score(x[:, i], mean[i].item())) < LIMIT
        for j in range(2):
            product = (x[:, i] - mean[i]) * (x[:, j] - mean[j])
            assert abs(z_score(product, covariance[i, j].item())) < LIMIT
    # A second, independent property: the share of each component.
    shares = mixture.responsibilities(x)
    for j, weight in enumerate((0.5, 0.3, 0.2)):
        assert abs(z_score(shares[:, j], weight)) < LIMIT


def test_score_is_the_gradient_of_the_log_density() -> None:
    mixture = plane_mixture().diffused(0.7, 0.4)
    z = torch.randn(6, 2, generator=seeded(), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixture.log_prob(z).sum(), z)
    torch.testing.assert_close(mixture.score(z), gradient)


@pytest.mark.parametrize("alpha, sigma", [(1.0, 0.01), (0.8, 0.6), (0.05, 1.0)])
def test_posterior_is_bayes_rule(alpha: float, sigma: float) -> None:
    """q(x|z) q(z) = q(z|x) q(x), at every x and z."""
    mixture, generator = plane_mixture(), seeded(2)
    x = mixture.expand(50).sample(generator)
    z = alpha * x + sigma * torch.randn(50, 2, generator=generator, dtype=torch.float64)
    likelihood = -0.5 * ((z - alpha * x) ** 2 / sigma**2 + math.log(2 * math.pi * sigma**2)).sum(1)
    left = mixture.posterior(z, alpha, sigma).log_prob(x) + mixture.diffused(alpha, sigma).log_prob(z)
    torch.testing.assert_close(left, likelihood + mixture.log_prob(x), rtol=1e-9, atol=1e-8)


def test_levels_may_differ_along_the_batch() -> None:
    mixture, generator = plane_mixture(), seeded(3)
    z = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    alpha, sigma = torch.rand(2, 4, 1, generator=generator, dtype=torch.float64).unbind(0)
    together = mixture.posterior_mean(z, alpha, sigma)
    for i in range(4):
        alone = mixture.posterior_mean(z[i : i + 1], alpha[i].item(), sigma[i].item())
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("gamma", [-30.0, -3.0, 0.0, 4.0, 30.0])
def test_denoiser_satisfies_z_and_tweedie(scaling, gamma: float) -> None:
    """αx̂ + σε̂ = z and ε̂ = −σ∇log q(z), at every noise level and in every scaling."""
    mixture, generator = plane_mixture(), seeded(4)
    level = torch.full((20, 1), gamma, dtype=torch.float64)
    alpha, sigma = scaling(level)
    z = mixture.diffused(alpha, sigma).sample(generator)
    prediction = MixtureDenoiser(mixture, scaling)(z, level)
    torch.testing.assert_close(alpha * prediction.x + sigma * prediction.eps, z, rtol=1e-9, atol=1e-9)
    score = mixture.diffused(alpha, sigma).score(z)
    torch.testing.assert_close(prediction.eps, -sigma * score, rtol=1e-9, atol=1e-9)


def test_denoiser_keeps_the_dtype_and_shape_of_z() -> None:
    denoiser = MixtureDenoiser(plane_mixture(), SCALINGS["vp"])
    for dtype in (torch.float32, torch.float64):
        prediction = denoiser(torch.zeros(3, 1, 1, 2, dtype=dtype), torch.zeros(1, 1, dtype=torch.float64))
        assert prediction.x.dtype == prediction.eps.dtype == dtype
        assert prediction.x.shape == prediction.eps.shape == (3, 1, 1, 2)


def test_denoiser_is_the_least_squares_optimum() -> None:
    """E‖ε − ε̂‖² is smaller than with any perturbed ε̂, and the error is uncorrelated with ε̂."""
    mixture, generator, n = plane_mixture(), seeded(5), 40_000
    gamma = torch.full((n, 1), -0.5, dtype=torch.float64)
    alpha, sigma = SCALINGS["vp"](gamma)
    eps = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    z = alpha * mixture.expand(n).sample(generator) + sigma * eps
    predicted = MixtureDenoiser(mixture, SCALINGS["vp"])(z, gamma).eps
    assert abs(z_score(((eps - predicted) * predicted).sum(1))) < LIMIT
    assert abs(z_score(((eps - predicted) * torch.sin(3 * z)).sum(1))) < LIMIT


def test_labels_choose_the_component() -> None:
    mixture, scaling = plane_mixture(), SCALINGS["vp"]
    z, gamma = torch.randn(4, 2, generator=seeded(), dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    denoiser = MixtureDenoiser(mixture, scaling)
    conditional = denoiser(z, gamma, Condition(label=torch.tensor([0, 1, 2, -1]))).x
    responsibilities = mixture.diffused(*scaling(gamma)).responsibilities(z)
    by_component = torch.stack([denoiser(z, gamma, Condition(label=torch.full((4,), j))).x for j in range(3)], 1)
    # The law of total expectation, and −1 is no label.
    torch.testing.assert_close((responsibilities.unsqueeze(-1) * by_component).sum(1), denoiser(z, gamma).x)
    torch.testing.assert_close(conditional[3], denoiser(z, gamma).x[3])
    torch.testing.assert_close(conditional[1], by_component[1, 1])


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_reverse_kernel_is_bayes_rule(scaling) -> None:
    """q(z_s|z_t) q(z_t) = q(z_t|z_s) q(z_s)."""
    mixture, generator = plane_mixture(), seeded(6)
    process = GaussianDiffusion(LogSNRLinear(-5, 3), scaling)
    s, t = torch.tensor([0.3]).double(), torch.tensor([0.45]).double()
    z_s = mixture.diffused(*process.alpha_sigma(s, torch.zeros(1, 2))).expand(30).sample(generator)
    transition = process.transition(z_s, s, t)
    z_t = transition.sample(generator)
    left = exact_reverse(mixture, process, z_t, s, t).log_prob(z_s)
    left = left + mixture.diffused(*process.alpha_sigma(t, z_t[:1])).log_prob(z_t)
    right = transition.log_prob(z_t) + mixture.diffused(*process.alpha_sigma(s, z_s[:1])).log_prob(z_s)
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


def test_exact_prior_is_the_marginal_at_the_noisy_end() -> None:
    process = GaussianDiffusion(LogSNRLinear(-5, 1), SCALINGS["ot"])
    alpha, sigma = process.alpha_sigma(torch.ones(1), torch.zeros(1, 2))
    z = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    expected = plane_mixture().diffused(alpha, sigma).log_prob(z)
    torch.testing.assert_close(exact_prior(plane_mixture(), process)(z).log_prob(z), expected)


def test_noise_error_is_twice_the_derivative_of_information() -> None:
    """dI/dλ = m(λ)/2 (Guo, Shamai & Verdú 2005), so ½∫m dλ = I(x; z_0) − I(x; z_1)."""
    mixture = line_mixture()
    nodes, weights = gauss_legendre(-4.0, 6.0)
    integral = sum(
        0.5 * w * noise_error(mixture, log_snr) for log_snr, w in zip(nodes.tolist(), weights.tolist(), strict=True)
    )
    assert abs(integral - (information(mixture, 6.0) - information(mixture, -4.0))) < 1e-7


@pytest.mark.parametrize(
    "weights, covariance, message",
    [([1.0, 0.0], 1.0, "positive"), ([1.0, 1.0], -1.0, "positive definite")],
)
def test_bad_parameters_are_refused(weights: list[float], covariance: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        gaussian_mixture(torch.tensor(weights), torch.zeros(2, 1), torch.full((2, 1, 1), covariance))
