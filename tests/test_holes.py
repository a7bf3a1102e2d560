"""The hole measures against Gaussians whose divergences are known, and a diffusion model that has no holes."""

import pytest
import torch

from tests.gaussian_hierarchies import PPCA
from tests.models.test_hvae import examples
from tests.oracles import LIMIT, exact_model, plane_mixture, seeded, z_score
from tests.vae_models import ppca_vae
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.core.distributions import Normal
from vlb.measure.holes import (
    aggregate_prior,
    holes,
    kl_by_quadrature,
    maximum_mean_discrepancy,
    split_by_coverage,
    standard_prior,
    top_posterior,
)
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.vae.generative import normal
from vlb.models.vae.prior import VampPrior


def gaussians(means: torch.Tensor, variance: float) -> Normal:
    return Normal(means.double(), torch.full_like(means.double(), variance).log())


def test_one_gaussian_has_the_closed_form_divergence() -> None:
    q = gaussians(torch.tensor([[0.7, -0.4]]), 0.5)
    expected = q.kl(Normal(torch.zeros(1, 2).double(), torch.zeros(1, 2).double())).item()
    measured = holes(q, standard_prior, seeded(1), draws=20_000)
    assert abs(measured.kl - expected) < LIMIT * measured.kl_error
    assert abs(kl_by_quadrature(q, standard_prior) - expected) < 1e-6


def test_monte_carlo_agrees_with_quadrature_on_clusters() -> None:
    """Five narrow clusters, as in Fig. 2.4: the two ways to the same divergence."""
    angles = torch.arange(5) * 2 * torch.pi / 5
    q = gaussians(1.2 * torch.stack((angles.cos(), angles.sin()), 1), 0.05)
    measured = holes(q, standard_prior, seeded(2), draws=20_000)
    assert abs(measured.kl - kl_by_quadrature(q, standard_prior)) < LIMIT * measured.kl_error
    assert measured.kl > 0.3 and measured.reverse_kl > measured.kl
    assert measured.uncovered > 0.4 and measured.mmd > 0.01


def test_without_a_mismatch_there_are_no_holes() -> None:
    measured = holes(gaussians(torch.zeros(3, 2), 1.0), standard_prior, seeded(3), draws=40_000)
    assert abs(measured.kl) < 1e-9 and abs(measured.reverse_kl) < 1e-9
    # A binomial of p = 0.01, and the quantile's own error as large again: 5 × √2 standard deviations.
    assert abs(measured.uncovered - 0.01) < LIMIT * 2**0.5 * (0.01 / 40_000) ** 0.5
    assert abs(measured.mmd) < 0.01


def test_the_whole_data_of_an_exact_model_cover_its_prior() -> None:
    """PPCA with its exact posterior: the aggregate over many data is p(z), so the measure vanishes as N grows."""
    few, many = (holes(top_posterior(ppca_vae(), examples(PPCA(), n)), standard_prior, seeded(4)) for n in (10, 4000))
    assert many.kl < 0.02 < 0.2 < few.kl
    assert abs(many.uncovered - 0.01) < 0.02 < few.uncovered


def test_a_diffusion_model_has_none_by_construction() -> None:
    """KL(q(z_1) ‖ p(z_1)) ≤ E KL(q(z_1 | x) ‖ p(z_1)), which is the prior term: tiny (Eq. 3.1)."""
    model = exact_model(plane_mixture(), LogSNRLinear(-5, 8), exact_ends=False)
    x = plane_mixture().expand(2000).sample(seeded(5))
    q = model.process.marginal(x, torch.ones(1, dtype=torch.float64))
    measured = holes(Normal(q.mean, q.log_variance.expand_as(q.mean)), standard_prior, seeded(6))
    assert measured.kl - LIMIT * measured.kl_error < model.prior_kl(x, seeded()).mean().item() < 1e-3
    assert abs(measured.kl) < 5e-3
    assert abs(measured.uncovered - 0.01) < 0.012


def test_mmd_is_unbiased_at_zero_and_sees_a_shift() -> None:
    generator = seeded(7)
    same = [maximum_mean_discrepancy(*(torch.randn(100, 2, generator=generator) for _ in range(2))) for _ in range(200)]
    assert abs(z_score(torch.tensor(same))) < LIMIT
    assert maximum_mean_discrepancy(torch.randn(300, 2, generator=generator), 1 + torch.randn(300, 2)) > 0.1


def test_the_aggregate_posterior_is_a_prior_without_holes() -> None:
    """As a prior it makes the divergence 0 and the mean KL of its own data I(x; z), the least there is."""
    model, x = ppca_vae(), examples(PPCA(), 300)
    q = top_posterior(model, x)
    prior = aggregate_prior(model, x)
    measured = holes(q, prior, seeded(8))
    assert abs(measured.kl) < 1e-9 and abs(measured.uncovered - 0.01) < 0.012
    standard = model.bounds(x, UNCONDITIONAL, seeded(9)).kl.mean()
    model.generator.top = prior  # type: ignore[attr-defined]
    many = torch.stack([model.bounds(x, UNCONDITIONAL, seeded(10 + i)).kl.mean() for i in range(20)])
    assert many.mean() < standard
    assert model.sample(7, generator=seeded(11)).shape == (7, 4)


def test_vamp_prior_is_the_encoders_mixture_and_learns() -> None:
    model, inputs = ppca_vae(), examples(PPCA(), 5)
    prior = VampPrior(model.encoder.network, inputs)  # type: ignore[arg-type, union-attr]
    z = torch.randn(4, 2, generator=seeded(12)).double()
    expected = (
        torch.stack([normal(model.encoder(u.unsqueeze(0))[0]).log_prob(z) for u in inputs]).logsumexp(0)
        - torch.tensor(5.0).log()
    )
    torch.testing.assert_close(prior(z).log_prob(z), expected)
    (gradient,) = torch.autograd.grad(prior(z).log_prob(z).sum(), prior.inputs)
    assert gradient.abs().sum() > 0


def test_coverage_splits_the_prior() -> None:
    q = gaussians(torch.tensor([[2.0, 0.0]]), 0.01)
    z, covered = split_by_coverage(q, standard_prior, 2000, seeded(13))
    assert bool(((z[covered] - torch.tensor([2.0, 0.0])).norm(dim=1) < 0.4).all())
    assert 0 < covered.double().mean() < 0.1


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UserError, match="one or two"):
        kl_by_quadrature(gaussians(torch.zeros(2, 3), 1.0), standard_prior)
    with pytest.raises(UserError, match="at least 100"):
        holes(gaussians(torch.zeros(2, 3), 1.0), standard_prior, seeded(), draws=3)
