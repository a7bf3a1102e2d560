"""Likelihoods: masses that sum to one, samples that follow them, and data that do not fit."""

import math

import numpy as np
import pytest
import torch

from tests.oracles import LIMIT, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.distributions import MixtureOfNormals, Normal
from vlb.core.emissions import (
    BernoulliEmission,
    CategoricalEmission,
    Centres,
    DiscretisedLogistic,
    DiscretisedLogisticEmission,
    GaussianEmission,
)
from vlb.core.emissions.offered import DiscretisedLogisticOutput
from vlb.core.schema import levels_schema
from vlb.data import Split
from vlb.models.mixture.gaussian import gaussian_mixture


def logistic(levels: int, n: int = 1) -> DiscretisedLogistic:
    mean = torch.tensor([[-1.4, -0.2, 0.0, 0.999, 3.0]], dtype=torch.float64).expand(n, -1)
    log_scale = torch.tensor([[-0.5, -4.0, 1.0, -3.0, -2.0]], dtype=torch.float64).expand(n, -1)
    return DiscretisedLogistic(mean, log_scale, Centres(levels))


@pytest.mark.parametrize("levels", [2, 17, 256, 1024])
def test_discretised_logistic_masses_sum_to_one(levels: int) -> None:
    law = logistic(levels, levels)
    values = torch.arange(levels).unsqueeze(1).expand(-1, 5)
    one = [DiscretisedLogistic(law.mean[:, i : i + 1], law.log_scale[:, i : i + 1], law.centres) for i in range(5)]
    for i in range(5):
        total = one[i].log_prob(values[:, i : i + 1]).logsumexp(0)
        assert abs(total.item()) < 1e-12


def test_discretised_logistic_is_the_difference_of_its_cumulative() -> None:
    law, value = logistic(17), torch.tensor([[0, 7, 8, 16, 15]])
    edge = value.double() * 2 / 17 - 1
    scaled = [(e - law.mean) * (-law.log_scale).exp() for e in (edge, edge + 2 / 17)]
    low = torch.where(value == 0, 0.0, scaled[0].sigmoid())
    high = torch.where(value == 16, 1.0, scaled[1].sigmoid())
    torch.testing.assert_close(law.log_prob(value), (high - low).log().sum(1), rtol=1e-9, atol=1e-9)


def test_discretised_logistic_keeps_its_tails_and_gradients() -> None:
    """30 scales from the mean a difference of cumulatives is 0; the product is e^{−distance}, with a gradient."""
    mean = torch.zeros(1, 1, requires_grad=True)
    law = DiscretisedLogistic(mean, torch.full((1, 1), -4.0), Centres(256))
    value = torch.tensor([[254]])
    log_p = law.log_prob(value)
    low = (254 * 2 / 256 - 1) * math.exp(4)
    expected = -low + math.log(-math.expm1(-2 / 256 * math.exp(4)))
    assert abs(log_p.item() - expected) < 1e-3
    for edge in (0, 255, 254):
        (gradient,) = torch.autograd.grad(law.log_prob(torch.tensor([[edge]])).sum(), mean)
        assert torch.isfinite(gradient).all()
        assert abs(abs(gradient.item()) - math.exp(4)) < 1e-2


def test_discretised_logistic_samples_follow_its_masses() -> None:
    law = logistic(17, 20_000)
    x = law.sample(seeded(1))
    for k in range(17):
        for i in range(5):
            expected = DiscretisedLogistic(law.mean[:1, i : i + 1], law.log_scale[:1, i : i + 1], law.centres)
            p = expected.log_prob(torch.tensor([[k]])).exp().item()
            if min(20_000 * p, 20_000 * (1 - p)) > 200:
                assert abs(z_score((x[:, i] == k).double(), p)) < LIMIT + 0.5


def test_mixture_of_normals_is_the_gaussian_mixture() -> None:
    means = torch.randn(5, 3, generator=seeded(2), dtype=torch.float64)
    log_variances = torch.randn(5, 3, generator=seeded(3), dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
    law = MixtureOfNormals(weights.log() + 3.0, means, log_variances, 30_000)
    oracle = gaussian_mixture(weights, means, log_variances.exp())
    x = torch.randn(50, 3, generator=seeded(4), dtype=torch.float64)
    torch.testing.assert_close(law.log_prob(x), oracle.log_prob(x))
    samples = law.sample(seeded(5))
    for i in range(3):
        assert abs(z_score(samples[:, i], oracle.mean()[0, i].item())) < LIMIT
    single = MixtureOfNormals(torch.zeros(1).double(), means[:1], log_variances[:1])
    torch.testing.assert_close(single.log_prob(x), Normal(means[:1], log_variances[:1]).log_prob(x))


def test_zero_decoders_are_the_independent_element_models() -> None:
    log_marginals = torch.randn(6, 4, generator=seeded(6)).log_softmax(-1)
    x = torch.randint(0, 4, (5, 1, 2, 3), generator=seeded(7))
    categorical = CategoricalEmission(log_marginals).law(torch.zeros(5, 1, 2, 3, 4))
    expected = log_marginals.gather(1, x.flatten(1).T).sum(0)
    torch.testing.assert_close(categorical.log_prob(x), expected)
    logits = torch.randn(6, generator=seeded(8))
    binary = x.clamp(max=1)
    decoded = BernoulliEmission(2, logits).law(torch.zeros(5, 1, 2, 3, 1))
    p = torch.where(binary.flatten(1) == 1, logits, -logits)
    torch.testing.assert_close(decoded.log_prob(binary), torch.nn.functional.logsigmoid(p).sum(1))


def test_a_zero_logistic_decoder_has_the_datas_own_mean_and_spread() -> None:
    """Three pixels of other means and spreads and a constant one, by 4000 draws (errors: about 1.6 % of the spread)."""
    rng = np.random.default_rng(0)
    columns = [rng.normal(mean, std, 3000) for mean, std in ((100, 4), (128, 20), (60, 10))]
    x = np.stack([*columns, np.full(3000, 7.0)], 1).round().astype(np.uint8)
    likelihood = DiscretisedLogisticOutput().build(levels_schema(x.shape[1:], 256))
    likelihood.initialise(Split(x), torch.Generator())
    draws = likelihood.law(torch.zeros(4000, 4, 2)).sample(seeded(9)).double()
    data = torch.from_numpy(x).double()
    error = (draws.mean(0) - data.mean(0)) / data.std(0)
    assert bool((error[:3].abs() < LIMIT * (2 / 3000) ** 0.5).all())
    torch.testing.assert_close(draws.std(0)[:3], data.std(0)[:3], rtol=0.12, atol=0)
    assert (draws[:, 3] == 7).double().mean() > 0.999


def test_data_that_do_not_fit_are_refused_with_a_way_out() -> None:
    with pytest.raises(UserError, match=r"two levels.*categorical"):
        BernoulliEmission(17)
    with pytest.raises(UserError, match=r"density.*categorical"):
        GaussianEmission(3).embed(torch.zeros(2, 3, dtype=torch.uint8))
    with pytest.raises(UserError, match="two levels"):
        DiscretisedLogisticEmission(Centres(1))
