"""One bound for every hierarchy: exact posteriors make it log p(x), inexact ones make it less."""

from itertools import pairwise

import pytest
import torch

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.oracles import LIMIT, seeded, z_score
from vlb.core.bound import Bound, BoundEstimate, Ends, climb_log_weight, descent_log_weight, elbo, estimate
from vlb.core.condition import UNCONDITIONAL
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.measure.importance import importance_bound
from vlb.models.diffusion.times import UniformTime

EXACT = pytest.mark.parametrize("model", [PPCA(), TwoLevels()], ids=["ppca", "two-levels"])


def data(model, n: int):
    generator = seeded(1)
    return model.likelihood(last_state(descend(model, model.start(n), from_prior(generator)))).sample(generator)


@EXACT
def test_samples_have_the_model_density(model) -> None:
    """E_p −log p(x) is the entropy of a Gaussian, ½ Σ(log 2πe + log variance): checks the test models."""
    x = data(model, 20_000)
    covariance = x.T.cov()
    entropy = 0.5 * torch.logdet(2 * torch.pi * torch.e * covariance).item()
    nll = -model.log_prob(x)
    # The sample covariance moves the entropy by D(D+1)/4n < 1e-3.
    assert abs(nll.mean().item() - entropy) < LIMIT * nll.std().item() / 20_000**0.5 + 1e-3


@EXACT
def test_log_weight_is_log_p_at_every_draw(model) -> None:
    """log p(x, z)/q(z|x) with q = p(z|x) is log p(x), without variance, down or up (Eq. 2.2)."""
    x, generator = data(model, 50), seeded(2)
    expected = model.log_prob(x)
    torch.testing.assert_close(descent_log_weight(model, model.infer(x), x, generator), expected)
    torch.testing.assert_close(climb_log_weight(model, x, generator), expected)


@EXACT
def test_elbo_is_log_p(model) -> None:
    """The same elbo() as diffusion's, point by point in expectation over its one draw."""
    generator, n = seeded(3), 20_000
    for x in data(model, 3):
        repeated = x.expand(n, -1)
        bound = elbo(model, model.infer(repeated), repeated, generator)
        assert bound.kl.shape == (n, model.depth)
        assert abs(z_score(bound.total, -model.log_prob(x.unsqueeze(0)).item())) < LIMIT


def test_looseness_is_the_kl_to_the_true_posterior() -> None:
    """−ELBO + log p(x) = KL(q(z|x) ‖ p(z|x)), known in closed form for a stretched posterior (Eq. 2.7)."""
    exact, loose, generator = PPCA(), PPCA(stretch=2.5), seeded(4)
    x = data(exact, 1).expand(40_000, -1)
    gap = elbo(loose, loose.infer(x), x, generator).total + exact.log_prob(x)
    assert abs(z_score(gap, loose.posterior(x[:1]).kl(exact.posterior(x[:1])).item())) < LIMIT


def test_importance_weighted_bound_tightens_with_more_draws() -> None:
    """Monotone in K, never above log p(x) (Burda et al. 2016), and ELBO at K = 1."""
    exact, loose, generator = PPCA(), PPCA(stretch=2.5), seeded(5)
    x = data(exact, 1).expand(5_000, -1)
    log_weights = torch.stack([descent_log_weight(loose, loose.infer(x), x, generator) for _ in range(32)])
    bounds = []
    for k in (1, 2, 8, 32):
        weights = iter(log_weights)
        bounds.append(importance_bound(lambda x, _, weights=weights: next(weights), x, k, generator).importance)
    torch.testing.assert_close(bounds[0], -log_weights[0])
    for fewer, more in pairwise(bounds):
        assert z_score(fewer - more) > LIMIT
    for bound in bounds:
        assert z_score(bound + exact.log_prob(x)) > -LIMIT


def test_climb_is_as_loose_as_the_descent() -> None:
    """The mean of log p(x, z)/q(z | x) does not ask in which order the latents were drawn (Eq. 2.20)."""
    exact, loose, generator = PPCA(), PPCA(stretch=2.5), seeded(6)
    x = data(exact, 20_000)
    difference = climb_log_weight(loose, x, generator) - descent_log_weight(loose, loose.infer(x), x, generator)
    assert abs(z_score(difference)) < LIMIT


def test_bound_adds_its_terms() -> None:
    bound = Bound(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.5, 0.25]))
    assert bound.total.tolist() == [3.5, 7.25]
    ones = torch.ones(2)
    sampled = BoundEstimate(
        ones, 2 * ones, torch.tensor([[1.0, 3.0]] * 2), torch.tensor([[2.0, 4.0]] * 2), torch.zeros(2, 2)
    )
    assert sampled.diffusion.tolist() == [7.0, 7.0]
    assert sampled.total.tolist() == [10.0, 10.0]


class Ramp:
    """A model without latents: its term at t is 3t², so its diffusion loss is 1."""

    def ends(self, x, condition, generator) -> Ends:
        return Ends(x[:, 0], 2 * x[:, 0])

    def term(self, x, place, condition, generator):
        return 3 * place**2


@pytest.mark.parametrize("draws", [1, 4])
def test_estimate_needs_only_random_access(draws: int) -> None:
    x = torch.ones(4_000, 1, dtype=torch.float64)
    bound = estimate(Ramp(), x, UNCONDITIONAL, UniformTime(), seeded(7), draws)
    assert bound.terms.shape == bound.weights.shape == bound.places.shape == (4_000, draws)
    torch.testing.assert_close(bound.terms, 3 * bound.places**2)
    assert abs(z_score(bound.total, 4.0)) < LIMIT


def test_bound_without_data_says_so() -> None:
    model = PPCA()
    with pytest.raises(ValueError, match="no q"):
        elbo(model, model.start(2), data(model, 2), seeded())
