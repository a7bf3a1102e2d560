"""Per-datapoint inference closes the amortisation gap; importance weights close the rest."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.models.test_hvae import examples
from tests.oracles import LIMIT, seeded, z_score
from tests.vae_models import ppca_vae, small_categorical_vae, two_level_top_down
from vlb.base.errors import UserError
from vlb.core.bound import elbo
from vlb.core.condition import UNCONDITIONAL
from vlb.data import Split
from vlb.measure.evaluation import measure_bound
from vlb.measure.importance import FromPrior, ImportanceWeighted, importance_bound
from vlb.measure.refinement import amortisation_gap, refine
from vlb.models.vae.generative import normal


def test_refining_a_wrong_encoder_reaches_the_posterior() -> None:
    """The family holds the posterior, so the gap is all of KL(q ‖ p(z|x)) (Eq. 5.1), and refined it is log p(x)."""
    model, oracle = ppca_vae(stretch=2.0, shift=0.4), PPCA()
    x = examples(oracle, 40)
    refined = refine(model, x, seeded(1), sweeps=3, steps=80, draws=16)
    with torch.no_grad():
        looseness = normal(model.encoder(x)[0]).kl(oracle.posterior(x)).mean().item()
        total = torch.stack([elbo(refined, refined.infer(x), x, seeded(i)).total for i in range(50)]).mean()
        gap = amortisation_gap(model, refined, x, seeded(2), 200).mean()
    assert looseness > 0.3
    assert abs(total.item() + oracle.log_prob(x).mean().item()) < 0.05
    assert abs(gap.item() - looseness) < 0.05


def test_refining_leaves_an_exact_q_alone_and_parameters_untouched() -> None:
    model = two_level_top_down()
    x = examples(TwoLevels(), 10)
    before = [p.clone() for p in model.parameters()]
    refined = refine(model, x, seeded(3), sweeps=1, steps=20, draws=8)
    # KL ≈ precision/2 · change²: what gradient noise leaves is small.
    gap = amortisation_gap(model, refined, x, seeded(4), 400).mean()
    assert -0.1 < gap.item() < 0.03
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_refining_both_levels_beats_a_stretched_top() -> None:
    model, oracle = two_level_top_down(stretch=2.5), TwoLevels()
    x = examples(oracle, 20)
    refined = refine(model, x, seeded(5), sweeps=2, steps=50, draws=8)
    with torch.no_grad():
        ratio = 2.5
        looseness = 1.5 * (ratio - 1 - torch.tensor(ratio).log().item())
    assert abs(amortisation_gap(model, refined, x, seeded(6), 200).mean().item() - looseness) < 0.1


@pytest.mark.parametrize("draws", [1, 7])
def test_importance_bound_is_the_mean_weight_in_log_space(draws: int) -> None:
    model, x = ppca_vae(stretch=1.5), examples(PPCA(), 5)
    mean, bound, effective = importance_bound(lambda x, g: model.log_weight(x, UNCONDITIONAL, g), x, draws, seeded(7))
    generator = seeded(7)
    with torch.no_grad():
        weights = torch.stack([model.log_weight(x, UNCONDITIONAL, generator) for _ in range(draws)])
    torch.testing.assert_close(mean, -weights.mean(0))
    torch.testing.assert_close(bound, -(weights.exp().mean(0)).log())
    torch.testing.assert_close(effective, weights.exp().sum(0) ** 2 / (weights * 2).exp().sum(0))


def test_far_weights_do_not_underflow() -> None:
    _, bound, effective = importance_bound(lambda x, g: x - 5000.0, torch.zeros(3), 4, seeded())
    torch.testing.assert_close(bound, torch.full((3,), 5000.0).double())
    torch.testing.assert_close(effective, torch.full((3,), 4.0).double())


def test_prior_and_posterior_draws_estimate_the_same_p() -> None:
    """Eq. 2.1 and importance weighting agree on a discrete VAE, where the prior's draws are not hopeless; both fall."""
    model = small_categorical_vae()
    x = torch.randint(0, 3, (1000, 4), generator=seeded(8)).numpy().astype(np.uint8)
    split = Split(x)
    naive, weighted = (
        [measure_bound(ImportanceWeighted(drawn, k), split, passes=2, batch=512).totals for k in (1, 8, 64)]
        for drawn in (FromPrior(model), model)
    )
    for path in (naive, weighted):
        assert z_score(torch.from_numpy(path[0] - path[2])) > LIMIT
        for few, more in pairwise(path):
            assert z_score(torch.from_numpy(few - more)) > -LIMIT
    many = measure_bound(ImportanceWeighted(model, 200), split, passes=2)
    reference = measure_bound(ImportanceWeighted(FromPrior(model), 200), split, passes=2)
    assert abs(many.totals.mean() - reference.totals.mean()) < 0.03
    effective = many.observed("effective", "examples")
    assert effective is not None and 1 <= effective <= 200
    assert str(many.bound) == "importance-weighted variational bound on -log p(x), K = 200"


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UserError, match="at least one draw"):
        importance_bound(lambda x, _: x, torch.zeros(1), 0, seeded())
    with pytest.raises(UserError, match="at least one draw"):
        ImportanceWeighted(ppca_vae(), 0)
