"""Reverse kernels against the true q(z_s | z_t), where it is known: independent elements, and the line."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import LIMIT, SCALINGS, line_mixture, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.bound import climb_log_weight, descent_log_weight, elbo, estimate
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import Categorical, Normal, NormalMixture
from vlb.core.emissions import CategoricalPosterior, Centres, DiscretisedMixture
from vlb.models.diffusion.denoiser import PosteriorDenoiser, Prediction, RegressionDenoiser
from vlb.models.diffusion.kernels import ExactMixture, MomentMatched, ReverseKernel, Standard, law_of
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Velocity
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import UniformRung
from vlb.models.mixture.gaussian import exact_reverse

KERNELS: dict[str, ReverseKernel] = {"standard": Standard(), "moment": MomentMatched(), "mixture": ExactMixture()}
LEVELS, SHAPE = Centres(5), (3, 2)


class Silent(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        return z.new_zeros(*z.shape, self.outputs)


def independent(scaling=SCALINGS["vp"], gamma_0: float = -2.0, gamma_1: float = 2.0) -> tuple[DiffusionModel, Tensor]:
    """The model of independent elements with the exact prior, in float64, and its log-marginals (D, K)."""
    log_marginals = (2 * torch.randn(6, LEVELS.count, generator=seeded(), dtype=torch.float64)).log_softmax(-1)
    head = CategoricalPosterior(log_marginals).double()
    head.bias.data = log_marginals
    process = GaussianDiffusion(LogSNRLinear(gamma_0, gamma_1), scaling)

    def prior(z: Tensor) -> NormalMixture:
        alpha, sigma = process.alpha_sigma(torch.ones(1), z)
        offsets = alpha.unsqueeze(-1) * LEVELS.values(z)
        return NormalMixture(
            log_marginals.view(*SHAPE, -1).expand(len(z), -1, -1, -1),
            torch.zeros_like(z),
            offsets,
            2 * sigma.log().unsqueeze(-1),
        )

    denoiser = PosteriorDenoiser(Silent(head.outputs), head, scaling)
    return DiffusionModel(process, denoiser, LEVELS, SHAPE, prior), log_marginals


def draw(log_marginals: Tensor, n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """x (n, *SHAPE) of independent elements and log p(x)."""
    pixels = Categorical(log_marginals.expand(n, -1, -1))
    x = pixels.sample(seeded(seed))
    return x.view(n, *SHAPE), pixels.log_prob(x)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("grid", [1, 2, 5, torch.tensor([0.3, 0.4, 1.0])], ids=["1", "2", "5", "free"])
def test_exact_mixture_makes_every_draw_exact_for_independent_elements(grid, scaling) -> None:
    """log p(x, z)/q(z | x) = log p(x) without any variance, on any grid, down and up, and as a bound."""
    model, log_marginals = independent(scaling)
    x, log_p = draw(log_marginals, 20)
    with torch.no_grad():
        hierarchy = model.at(grid, ExactMixture())
        down = descent_log_weight(hierarchy, hierarchy.infer(x), x, seeded(2))
        up = climb_log_weight(hierarchy, x, seeded(3))
        bound = elbo(hierarchy, hierarchy.infer(x), x, seeded(4))
    for value in (down, up, -bound.total):
        # Centres are embedded in float32.
        torch.testing.assert_close(value, log_p, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_estimate_is_unbiased_for_the_descent(kernel: ReverseKernel) -> None:
    """Random access serves every kernel: the sampled levels have the mean of the sum, level by level too."""
    model, log_marginals = independent()
    x, _ = draw(log_marginals, 20_000)
    with torch.no_grad():
        hierarchy = model.at(3, kernel)
        bound = elbo(hierarchy, hierarchy.infer(x), x, seeded(5))
        sampled = estimate(hierarchy, x, UNCONDITIONAL, UniformRung(3), seeded(6), draws=2)
        assert abs(z_score(sampled.total - bound.total)) < LIMIT
        for column, level in enumerate((3, 2, 1), start=1):
            term = hierarchy.term(x, torch.full((len(x),), level), UNCONDITIONAL, seeded(20 + level))
            assert abs(z_score(bound.kl[:, column] - term)) < LIMIT


def test_moment_matched_has_the_moments_of_the_mixture() -> None:
    model, log_marginals = independent()
    x, _ = draw(log_marginals, 50)
    s, t = torch.tensor([0.2], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    z_t = model.process.marginal(LEVELS.embed(x).double(), t).sample(seeded(7))
    prediction = model.predict(z_t, t)
    mixture = ExactMixture()(model.process, z_t, s, t, prediction)
    gaussian = MomentMatched()(model.process, z_t, s, t, prediction)
    weights = mixture.log_weights.softmax(-1)
    mean = (weights * mixture.offsets).sum(-1)
    spread = (weights * (mixture.offsets - mean.unsqueeze(-1)) ** 2).sum(-1)
    torch.testing.assert_close(gaussian.mean, mixture.location + mean)
    torch.testing.assert_close(gaussian.log_variance.exp(), mixture.log_variance.squeeze(-1).exp() + spread)


def test_better_kernels_have_better_bounds() -> None:
    """For the exact denoiser: mixture < moment-matched < standard in expectation, on few levels by far."""
    model, log_marginals = independent(gamma_0=-4.0, gamma_1=4.0)
    x, log_p = draw(log_marginals, 5_000)
    with torch.no_grad():
        gaps = []
        for kernel in (Standard(), MomentMatched()):
            hierarchy = model.at(2, kernel)
            gaps.append(elbo(hierarchy, hierarchy.infer(x), x, seeded(8)).total + log_p)
    assert z_score(gaps[1]) > 5  # one Gaussian is not enough …
    assert z_score(gaps[0] - gaps[1]) > 10  # … but the right one is better


def test_kernels_differ_by_second_order_in_the_step() -> None:
    """KL(standard) − KL(moment-matched) at the same z_t falls by 4 as the step halves."""
    model, log_marginals = independent()
    x, _ = draw(log_marginals, 400)
    embedded, t = LEVELS.embed(x).double(), torch.tensor([0.6], dtype=torch.float64)
    z_t = model.process.marginal(embedded, t).sample(seeded(9))
    prediction = model.predict(z_t, t)
    differences = []
    for step in (4e-3, 2e-3, 1e-3):
        q = model.process.posterior(z_t, embedded, t - step, t)
        kl = [q.kl(kernel(model.process, z_t, t - step, t, prediction)) for kernel in (Standard(), MomentMatched())]
        differences.append((kl[0] - kl[1]).abs().mean().item())
    for before, after in itertools.pairwise(differences):
        assert 3.8 < before / after < 4.2


def posterior_as_head(z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
    """The exact q(x | z_t) of the mixture on the line in the form of a mixture head's answer."""
    posterior = line_mixture().posterior(z, alpha, sigma)
    law = DiscretisedMixture(
        posterior.log_weights.unsqueeze(1),
        posterior.means.transpose(1, 2),
        posterior.variances.transpose(1, 2).expand(len(z), -1, -1),
        Centres(256),
    )
    x = posterior.mean()
    return Prediction(x, (z - alpha * x) / sigma, law)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_mixture_head_gives_the_true_kernel_on_the_line(scaling) -> None:
    mixture, process = line_mixture(), GaussianDiffusion(LogSNRLinear(-5.0, 3.0), scaling)
    s, t = torch.tensor([0.3], dtype=torch.float64), torch.tensor([0.55], dtype=torch.float64)
    alpha, sigma = process.alpha_sigma(t, torch.zeros(1, 1))
    z_t = mixture.diffused(alpha, sigma).expand(40).sample(seeded(10))
    prediction = posterior_as_head(z_t, alpha, sigma)
    true = exact_reverse(mixture, process, z_t, s, t)
    z_s = true.sample(seeded(11))
    kernel = ExactMixture()(process, z_t, s, t, prediction)
    torch.testing.assert_close(kernel.log_prob(z_s), true.log_prob(z_s), rtol=1e-9, atol=1e-9)
    covariance = mixture.posterior(z_t, alpha, sigma).covariance()[:, 0]
    torch.testing.assert_close(law_of(prediction).variance, covariance)
    matched = MomentMatched()(process, z_t, s, t, prediction)
    torch.testing.assert_close(matched.mean, true.mean())
    torch.testing.assert_close(matched.log_variance.exp(), true.covariance()[:, 0])


@pytest.mark.parametrize("kernel", [MomentMatched(), ExactMixture()])
def test_regression_says_why_it_has_no_such_kernel(kernel: ReverseKernel) -> None:
    scaling = SCALINGS["vp"]
    process = GaussianDiffusion(LogSNRLinear(-3.0, 3.0), scaling)
    model = DiffusionModel(process, RegressionDenoiser(Silent(1), Velocity(), scaling), LEVELS, SHAPE)
    hierarchy, x = model.at(2, kernel), torch.zeros(3, *SHAPE, dtype=torch.int64)
    with pytest.raises(UserError, match=r"Standard.*head=posterior"):
        elbo(hierarchy, hierarchy.infer(x), x, seeded())


# --- the mixture of Gaussians per element --------------------------------------------------------------------


def some_mixture(dtype: torch.dtype = torch.float64) -> NormalMixture:
    log_weights, offsets, log_variance = torch.randn(3, 4, 2, 3, 5, generator=seeded(12), dtype=dtype).unbind(0)
    return NormalMixture(log_weights, torch.randn(4, 2, 3, generator=seeded(13), dtype=dtype), offsets, log_variance)


@pytest.mark.parametrize("shared", [False, True], ids=["each", "shared"])
def test_mixture_density_is_that_of_torch(shared: bool) -> None:
    m = some_mixture()
    log_variance = m.log_variance[..., :1] if shared else m.log_variance
    mixture = NormalMixture(m.log_weights, m.location, m.offsets, log_variance)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=m.log_weights),
        torch.distributions.Normal(m.location.unsqueeze(-1) + m.offsets, (0.5 * log_variance).exp().expand(4, 2, 3, 5)),
    )
    value = torch.randn(4, 2, 3, generator=seeded(14), dtype=torch.float64)
    torch.testing.assert_close(mixture.log_prob(value), expected.log_prob(value).sum((1, 2)))


def test_mixture_samples_have_its_moments() -> None:
    m, n = some_mixture(), 20_000
    row = NormalMixture(*(value[:1].expand(n, *value.shape[1:]) for value in vars(m).values()))
    x = row.sample(seeded(15))
    weights, means = m.log_weights[0].softmax(-1), m.location[0].unsqueeze(-1) + m.offsets[0]
    mean = (weights * means).sum(-1)
    variance = (weights * (m.log_variance[0].exp() + (means - mean.unsqueeze(-1)) ** 2)).sum(-1)
    for i in range(2):
        for j in range(3):
            assert abs(z_score(x[:, i, j], mean[i, j].item())) < LIMIT
            assert abs(z_score((x[:, i, j] - mean[i, j]) ** 2, variance[i, j].item())) < LIMIT


@pytest.mark.parametrize("gamma", [-13.3, -8.0, 0.0])
@pytest.mark.parametrize("step", [1e-3, 1.0])
def test_256_levels_and_narrow_components_keep_their_digits(gamma: float, step: float) -> None:
    """A float32 head at the fine end of an 8-bit image, against float64 throughout: 1e-3 nats per element."""
    levels, scaling = Centres(256), SCALINGS["vp"]
    process = GaussianDiffusion(LogSNRLinear(gamma, gamma + step), scaling)
    s, t = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    x = levels.values(torch.zeros((), dtype=torch.float64))[torch.arange(0, 256, 3)].unsqueeze(1)
    z_t = process.marginal(x, t).sample(seeded(16))
    z_s = process.posterior(z_t, x, s, t).sample(seeded(17))
    densities = []
    for dtype in (torch.float32, torch.float64):
        z = z_t.to(dtype)
        alpha, sigma = process.alpha_sigma(t, z)
        law = levels.given(z, alpha, sigma)
        prediction = Prediction(law.mean, z, law)
        densities.append(ExactMixture()(process, z_t, s, t, prediction).log_prob(z_s))
        assert bool((law_of(prediction).variance >= 0).all())
    assert (densities[0] - densities[1]).abs().max() < 1e-3


def test_float32_descent_resolves_neighbouring_levels() -> None:
    """At T = 10⁴ the KL of a float32 network's rung is the expm1 form at the same x̂, not round-off."""
    model, log_marginals = independent(gamma_0=-13.3, gamma_1=5.0)
    model = model.float()
    x, _ = draw(log_marginals, 200)
    grid = model.at(10_000)
    for level in (1, 4_000, 9_999):
        above = grid.time(level)
        z = model.process.marginal(LEVELS.embed(x).double(), above).sample(seeded(18))
        rung = grid.rung(level - 1, grid.advance(level, grid.infer(x), z))
        assert isinstance(rung.q, Normal) and isinstance(rung.p, Normal)
        gamma = model.process.schedule.gamma(torch.cat((grid.time(level - 1), above))).squeeze(1)
        ratio = torch.expm1(gamma[1] - gamma[0]) * torch.exp(-gamma[1])
        error = (LEVELS.embed(x).double() - model.predict(z, above).x) ** 2
        expected = 0.5 * ratio * error.sum((1, 2))
        torch.testing.assert_close(rung.q.kl(rung.p), expected, rtol=1e-6, atol=1e-14)
