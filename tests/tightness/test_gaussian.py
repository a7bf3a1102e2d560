"""The split in closed form: two divisions of one KL, known extremes, and the laws of its limits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.oracles import LIMIT, exact_model, gauss_legendre, line_mixture, plane_mixture, seeded, z_score
from vlb.core.bound import elbo
from vlb.core.emissions import Continuous
from vlb.measure.tightness.gaussian import split_gaussian
from vlb.measure.tightness.perturbed import Perturbed
from vlb.measure.tightness.split import Parts
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import Cosine, LogSNRLinear, Schedule
from vlb.models.mixture.gaussian import GaussianMixture, MixtureDenoiser, exact_prior, gaussian_mixture

TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)


def gaussian(seed: int = 0, size: int = 2) -> GaussianMixture:
    """A Gaussian with correlations, of standard deviations around one."""
    root = 0.6 * torch.randn(size, size, generator=seeded(seed), dtype=torch.float64)
    covariance = root @ root.mT + 0.1 * torch.eye(size)
    mean = 0.5 * torch.randn(1, size, generator=seeded(seed + 1), dtype=torch.float64)
    return gaussian_mixture(torch.ones(1), mean, covariance.unsqueeze(0))


def wrong(law: GaussianMixture, error: Tensor, schedule: Schedule, exact_ends: bool = True) -> DiffusionModel:
    """The diffusion model whose noise estimate is (I + error) times the exact one of `law`."""
    process = GaussianDiffusion(schedule)
    denoiser = Perturbed(MixtureDenoiser(law, VP(), decodes=exact_ends), error.double(), VP())
    prior = exact_prior(law, process) if exact_ends else None
    return DiffusionModel(process, denoiser, Continuous(), (law.means.shape[-1],), prior=prior)


def limit(model: DiffusionModel, data: GaussianMixture, steps: int) -> tuple[float, float, float]:
    """(excess, misfit, looseness) as T → ∞, by Richardson's extrapolation from T and 2T."""
    one, two = (split_gaussian(model.at(t), data) for t in (steps, 2 * steps))
    extrapolated = [2 * getattr(two, name) - getattr(one, name) for name in ("excess", "misfit", "looseness")]
    return extrapolated[0], extrapolated[1], extrapolated[2]


def assert_divided(split: Parts) -> None:
    """Both divisions are of the same KL, level by level, into parts that are not negative."""
    scale = 1 + split.excess
    assert abs(split.excess - split.misfit - split.looseness) < 1e-9 * scale
    difference = split.loosenesses + split.marginals[:-1] - split.marginals[1:]
    assert torch.allclose(split.steps[:-1], difference, rtol=1e-8, atol=1e-10 * scale)
    assert split.prior == pytest.approx(float(split.marginals[-1]), abs=1e-10 * scale)
    for part in (split.steps, split.loosenesses, split.marginals):
        assert float(part.min()) > -1e-10 * scale


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    size=st.integers(1, 4),
    seed=st.integers(0, 1000),
    steps=st.integers(1, 24),
    strength=st.floats(0, 0.5),
    schedule=st.sampled_from([LogSNRLinear, Cosine]),
    exact_ends=st.booleans(),
)
def test_excess_is_misfit_plus_looseness(
    size: int, seed: int, steps: int, strength: float, schedule: type[Schedule], exact_ends: bool
) -> None:
    error = strength * torch.randn(size, size, generator=seeded(seed), dtype=torch.float64)
    model = wrong(gaussian(seed, size), error, schedule(-6.0, 5.0), exact_ends)
    assert_divided(split_gaussian(model.at(steps), gaussian(seed + 5, size)))


def test_bound_in_closed_form_is_the_one_that_elbo_estimates() -> None:
    """E_q −log p(x, z) − H(q(z | x)) is H(q(x)) plus the KL that p is trained on, q being fixed (Eq. 5.2–5.3)."""
    data = gaussian()
    hierarchy = wrong(gaussian(3), 0.2 * TURN, LogSNRLinear(-5.0, 4.0), exact_ends=False).at(6)
    generator = seeded()
    x = data.expand(20_000).sample(generator)
    totals = elbo(hierarchy, hierarchy.infer(x), x, generator).total
    assert abs(z_score(totals, split_gaussian(hierarchy, data).bound)) < LIMIT


def test_entropy_is_that_of_the_data() -> None:
    data = gaussian(2, 3)
    model = exact_model(data, LogSNRLinear(-6.0, 5.0))
    expected = torch.distributions.MultivariateNormal(data.mean()[0], data.covariance()[0]).entropy()
    assert split_gaussian(model.at(4), data).entropy == pytest.approx(float(expected))


def test_linear_hierarchies_with_exact_posteriors_are_tight() -> None:
    ppca, levels = PPCA(), TwoLevels()
    x = gaussian_mixture(
        torch.ones(1), ppca.mean.unsqueeze(0), (ppca.weights @ ppca.weights.T + ppca.noise * torch.eye(4)).unsqueeze(0)
    )
    variance = levels.c**2 * (levels.a**2 + levels.b) + levels.d
    y = gaussian_mixture(torch.ones(1), torch.zeros(1, 3), variance * torch.eye(3).unsqueeze(0))
    assert split_gaussian(ppca, x).excess == pytest.approx(0, abs=1e-12)
    assert split_gaussian(levels, y).excess == pytest.approx(0, abs=1e-12)


def test_stretched_posterior_is_looseness_alone_on_the_models_own_data() -> None:
    ppca = PPCA(stretch=1.7)
    x = gaussian_mixture(
        torch.ones(1), ppca.mean.unsqueeze(0), (ppca.weights @ ppca.weights.T + ppca.noise * torch.eye(4)).unsqueeze(0)
    )
    split = split_gaussian(ppca, x)
    assert_divided(split)
    assert split.misfit == pytest.approx(0, abs=1e-12)
    assert split.looseness == pytest.approx(2 * 0.5 * (1.7 - 1 - math.log(1.7)))


def test_discretisation_of_the_exact_model_follows_the_law_of_one_over_t() -> None:
    # Gap·T → (Δλ/4) (2 [I(x; z_0) − I(x; z_1)] − [m(λ_max) − m(λ_min)]); nearly all of it is looseness.
    data, low, high = gaussian(), -5.0, 6.0
    model = exact_model(data, LogSNRLinear(-high, -low))
    variances = torch.linalg.eigvalsh(data.covariance()[0])
    gain = {lam: math.exp(lam) * variances for lam in (low, high)}
    information = {lam: 0.5 * float(torch.log1p(g).sum()) for lam, g in gain.items()}
    error = {lam: float((g / (1 + g)).sum()) for lam, g in gain.items()}
    law = (high - low) / 4 * (2 * (information[high] - information[low]) - (error[high] - error[low]))
    steps = [64, 128, 256]
    splits = [split_gaussian(model.at(t), data) for t in steps]
    assert 2 * splits[2].excess * steps[2] - splits[1].excess * steps[1] == pytest.approx(law, rel=2e-3)
    assert math.log2(splits[1].looseness / splits[2].looseness) == pytest.approx(1, abs=0.05)
    assert math.log2(splits[1].misfit / splits[2].misfit) == pytest.approx(2, abs=0.05)


def test_excess_in_the_limit_is_the_integrated_error_of_the_noise_estimate() -> None:
    data, error = gaussian(), torch.tensor([[0.1, 0.05], [-0.2, 0.0]], dtype=torch.float64)
    nodes, weights = gauss_legendre(-5.0, 6.0)
    variances, basis = torch.linalg.eigh(data.covariance()[0])
    turned = basis.T @ error.T @ error @ basis
    noise = 1 / (1 + nodes.exp().unsqueeze(1) * variances)  # Cov[E[ε | z]] along the axes of the data
    expected = 0.5 * float((weights * (noise @ turned.diagonal())).sum())
    assert limit(wrong(data, error, LogSNRLinear(-6.0, 5.0)), data, 400)[0] == pytest.approx(expected, rel=3e-3)


def test_exact_denoiser_of_another_law_is_all_misfit() -> None:
    data, other = gaussian(), gaussian(7)
    model = wrong(other, 0 * TURN, LogSNRLinear(-6.0, 5.0))
    excess, misfit, looseness = limit(model, data, 200)
    own, its = (torch.distributions.MultivariateNormal(law.mean()[0], law.covariance()[0]) for law in (data, other))
    assert misfit == pytest.approx(float(torch.distributions.kl_divergence(own, its)), rel=1e-3)
    assert abs(looseness) < 2e-3 * excess


def test_turned_score_is_all_looseness() -> None:
    data = gaussian()
    excess, misfit, looseness = limit(wrong(data, 0.2 * TURN, LogSNRLinear(-6.0, 5.0)), data, 200)
    assert looseness == pytest.approx(excess, rel=1e-3)
    assert abs(misfit) < 1e-3 * excess


def test_only_linear_gaussian_hierarchies_have_a_closed_form() -> None:
    schedule = LogSNRLinear(-6.0, 5.0)
    with pytest.raises(ValueError, match="several components"):
        split_gaussian(exact_model(plane_mixture(), schedule).at(4), plane_mixture())
    line = line_mixture()
    single = gaussian_mixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1))
    with pytest.raises(ValueError, match="linear conditionals"):
        split_gaussian(exact_model(line, schedule, exact_ends=False).at(4), single)
