"""What levels are used for, against linear hierarchies where information has a closed form."""

import math

import numpy as np
import pytest
import torch

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.models.test_hvae import examples
from tests.oracles import LIMIT, seeded, z_score
from tests.vae_models import ppca_vae, two_level_bottom_up, two_level_top_down
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.core.distributions import Normal
from vlb.measure.diagnostics import (
    active_units,
    aggregate,
    aggregate_kl,
    label_probe,
    mutual_information,
    pairwise_log_prob,
    rung_use,
)
from vlb.models.vae.generative import normal


def test_pairwise_densities_are_those_of_each_gaussian() -> None:
    q = Normal(torch.randn(4, 3, generator=seeded(1)).double(), torch.randn(4, 3, generator=seeded(2)).double())
    z = torch.randn(5, 3, generator=seeded(3)).double()
    for i in range(4):
        one = Normal(q.mean[i : i + 1], q.log_variance[i : i + 1])
        torch.testing.assert_close(pairwise_log_prob(q, z)[:, i], one.log_prob(z))


def test_information_of_ppca() -> None:
    """I(x; z) = ½ Σ log(1 + w²/s²) for the exact posterior, from below as N examples can tell apart only log N."""
    oracle = PPCA()
    x = examples(oracle, 4000)
    expected = 0.5 * torch.log1p((oracle.weights**2).sum(0) / oracle.noise).sum().item()
    use = rung_use(ppca_vae(), x, seeded(4), draws=2)[0]
    # One level has no parents, so both bounds are the same number; its error is about std/√4000 = 0.02.
    assert use.information.low == use.information.high
    assert abs(use.information.low - expected) < 0.1
    # E KL(q(z|x) ‖ p) = I(x; z) + KL(q(z) ‖ p(z)) (Hoffman & Johnson 2016), and the last is 0 here.
    assert abs(use.kl - expected) < 0.1
    assert use.active == use.units == 2


def test_information_is_bracketed_where_parents_are_drawn() -> None:
    """I(x; z_0) of the top-down hierarchy, whose q(z_0 | x) averages over z_1, lies between its two bounds."""
    oracle = TwoLevels()
    x = examples(oracle, 300)
    signal = oracle.c**2 * (oracle.a**2 + oracle.b)
    truth = {0: 1.5 * math.log1p(signal / oracle.d)}
    noise = oracle.c**2 * oracle.b + oracle.d
    truth[1] = 1.5 * math.log1p((oracle.a * oracle.c) ** 2 / noise)
    for model in (two_level_top_down(), two_level_bottom_up()):
        for level, use in enumerate(rung_use(model, x, seeded(5), draws=48)):
            # 300 examples leave an error of about 0.08 nats in the mean.
            assert use.information.low - 0.3 < truth[level] < use.information.high + 0.3
            assert use.information.high - use.information.low < 0.5
            assert use.active == 3


def test_per_level_kls_sum_to_the_bounds() -> None:
    x = examples(TwoLevels(), 1000)
    for model in (two_level_top_down(), two_level_bottom_up()):
        uses = rung_use(model, x, seeded(6), draws=2)
        expected = model.bounds(x, UNCONDITIONAL, seeded(7)).kl.sum(1)
        assert abs(z_score(expected, sum(use.kl for use in uses))) < LIMIT


def test_aggregate_posteriors_of_exact_models_are_the_models_own_laws() -> None:
    """q(z_i) = p(z_i) where q is exact, at every level and for both directions, up to what 2000 examples leave."""
    x = examples(TwoLevels(), 2000)
    for model in (two_level_top_down(), two_level_bottom_up()):
        assert all(abs(kl) < 0.05 for kl in aggregate_kl(model, x, seeded(20), draws=2))


def test_a_shift_of_the_posterior_is_one_of_the_aggregate() -> None:
    """PPCA with its means moved by 0.5 in two dimensions: KL(N(½, 1) ‖ N(0, 1)) twice; and Hoffman & Johnson 2016."""
    x, model = examples(PPCA(), 3000), ppca_vae(shift=0.5)
    (mismatch,) = aggregate_kl(model, x, seeded(21), draws=2)
    assert abs(mismatch - 0.25) < 0.06
    use = rung_use(model, x, seeded(22), draws=2)[0]
    assert abs(use.kl - use.information.low - mismatch) < 0.06


def test_a_collapsed_level_shows_in_every_measure() -> None:
    """q(z_1 | z_0) = p(z_1): no KL, no information, no active unit at the top; all at the bottom."""
    model = two_level_bottom_up()
    with torch.no_grad():
        model.encoders[1].weight.zero_()  # type: ignore[union-attr, operator]
        model.encoders[1].raw.zero_()  # type: ignore[union-attr, operator]
    low, top = rung_use(model, examples(TwoLevels(), 400), seeded(8), draws=16)
    assert abs(top.kl) < 1e-9 and top.active == 0
    assert top.information.low < 1e-6 and top.information.high < 1e-6
    assert low.active == 3 and low.information.low > 2


def test_active_units_are_those_whose_mean_varies() -> None:
    means = torch.randn(1000, 3, generator=seeded(9)) * torch.tensor([1.0, 0.05, 0.2])
    assert active_units(means).tolist() == [True, False, True]


def test_information_never_exceeds_what_the_examples_can_tell() -> None:
    """Disjoint posteriors of N examples carry exactly log N."""
    q = Normal(100.0 * torch.arange(50).double().unsqueeze(1), torch.zeros(50, 1).double())
    assert mutual_information(q.sample(seeded(10)), q, []) == pytest.approx((math.log(50),) * 2)
    fresh = [q, q]
    assert mutual_information(q.sample(seeded(10)), q, fresh) == pytest.approx((math.log(50),) * 2)


def test_aggregate_is_the_mean_of_posteriors() -> None:
    """Eq. 2.35."""
    q = normal(torch.randn(6, 4, generator=seeded(11)).double())
    z = torch.randn(3, 2, generator=seeded(12)).double()
    expected = pairwise_log_prob(q, z).logsumexp(1) - math.log(6)
    torch.testing.assert_close(aggregate(q).log_prob(z), expected)


def test_probes_find_linear_labels_and_nothing_in_noise() -> None:
    z = torch.randn(600, 3, generator=seeded(13))
    labels = (z[:, 0] > 0).long().numpy()
    assert label_probe(z[:300], labels[:300], z[300:], labels[300:]) > 0.95
    noise = np.random.default_rng(0).integers(0, 2, 600)
    assert abs(label_probe(z[:300], noise[:300], z[300:], noise[300:]) - 0.5) < 0.16


def test_one_draw_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2"):
        rung_use(ppca_vae(), torch.zeros(3, 4).double(), seeded(), draws=1)
