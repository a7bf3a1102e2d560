"""Fitted mixtures: exact masses, EM that never rises, and the oracle's own density for real data."""

from itertools import product

import pytest
import torch

from tests.oracles import LIMIT, plane_mixture, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.models.mixture.categorical import CategoricalMixture, fit_gaussian_mixture


def mixture(components: int = 3, smoothing: float = 1.0) -> CategoricalMixture:
    torch.manual_seed(0)
    marginals = torch.randn(4, 3, generator=seeded(1)).log_softmax(-1)
    model = CategoricalMixture(marginals, components, (2, 2), smoothing)
    with torch.no_grad():
        model.logits.add_(torch.randn(model.logits.shape, generator=seeded(2)))
        model.log_weights.add_(torch.randn(components, generator=seeded(3)))
    return model.double()


EVERY = torch.tensor(list(product(range(3), repeat=4))).view(-1, 2, 2)


def test_masses_sum_to_one_and_are_the_terms() -> None:
    model = mixture()
    log_p = model.log_prob(EVERY)
    assert abs(log_p.logsumexp(0).item()) < 1e-6
    (term,) = model.terms(EVERY, UNCONDITIONAL, seeded()).values()
    torch.testing.assert_close(term, -log_p)


def test_samples_follow_the_masses() -> None:
    model, n = mixture(), 40_000
    x = model.sample(n, generator=seeded(4))
    code = (x.view(n, 4) * torch.tensor([27, 9, 3, 1])).sum(1)
    for index, log_p in enumerate(model.log_prob(EVERY).tolist()):
        p = torch.tensor(log_p).exp().item()
        if n * p > 100:
            assert abs(z_score((code == index).double(), p)) < LIMIT + 0.5


def test_posterior_is_bayes_rule() -> None:
    model = mixture()
    joint = model.responsibilities(EVERY).log() + model.log_prob(EVERY).unsqueeze(1)
    torch.testing.assert_close(joint, model.log_joint(EVERY))


def test_em_never_rises_and_recovers_what_made_the_data() -> None:
    truth = mixture()
    x = truth.sample(20_000, generator=seeded(5))
    torch.manual_seed(1)
    fitted = CategoricalMixture(torch.full((4, 3), 1 / 3).log(), 3, (2, 2), smoothing=0.1).double()
    path = fitted.em(x, 150)
    assert bool((path.diff() < 1e-5).all())
    # KL(truth ‖ fitted) over all 81 outcomes; about parameters/2n = 26/40000 at the optimum.
    p = truth.log_prob(EVERY)
    assert 0 <= (p.exp() * (p - fitted.log_prob(EVERY))).sum().item() < 0.003


def test_gradients_go_on_where_em_goes() -> None:
    """EM ends where the penalised likelihood, which the training loop descends, is stationary."""
    x = mixture().sample(2_000, generator=seeded(6))
    model = mixture(smoothing=2.0)
    model.em(x, 2000)
    loss = (model.penalty() - model.log_prob(x).sum()) / len(x)
    gradients = torch.autograd.grad(loss, [model.log_weights, model.logits])
    assert all(gradient.abs().max() < 1e-4 for gradient in gradients)


def test_gaussian_mixture_by_em_has_the_density_of_its_estimator() -> None:
    truth = plane_mixture()
    x = truth.expand(20_000).sample(seeded(7))
    fitted = fit_gaussian_mixture(x, 3)
    # On fresh data the truth wins, by about parameters/2n = 17/40000 nats.
    fresh = truth.expand(20_000).sample(seeded(8))
    assert -0.001 < (truth.log_prob(fresh) - fitted.log_prob(fresh)).mean().item() < 0.005


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="at least one component"):
        CategoricalMixture(torch.zeros(4, 3), 0, (2, 2))
    with pytest.raises(UserError, match="cannot be fitted"):
        fit_gaussian_mixture(torch.zeros(3, 2), 5)
    with pytest.raises(UserError, match="not conditioned"):
        mixture().terms(EVERY, Condition(label=torch.zeros(len(EVERY), dtype=torch.int64)), seeded())
