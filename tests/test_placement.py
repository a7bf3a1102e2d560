"""Placing levels: shortest paths against brute force, measured costs against quadrature and the bound."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, exact_model, line_mixture, noise_error, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.bound import elbo
from vlb.core.condition import Condition
from vlb.models.diffusion.kernels import Standard
from vlb.models.diffusion.placement import Costs, average, cheapest, measure_costs
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import gaussian_mixture


def random_costs(count: int, seed: int) -> Costs:
    values = torch.rand(count, count + 2, generator=seeded(seed), dtype=torch.float64)
    return Costs(torch.linspace(0, 1, count, dtype=torch.float64), values[:, 0], values[:, 1], values[:, 2:])


@settings(derandomize=True, deadline=None, max_examples=40)
@given(count=st.integers(2, 7), steps=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_cheapest_is_brute_force(count: int, steps: int, seed: int) -> None:
    costs = random_costs(count, seed)
    if steps >= count:
        with pytest.raises(UserError, match="candidate times allow"):
            cheapest(costs, steps)
        return
    chosen = cheapest(costs, steps)
    assert len(chosen) == steps + 1 and bool((chosen.diff() > 0).all())
    every = (costs.total(torch.tensor(path)) for path in itertools.combinations(range(count), steps + 1))
    assert costs.total(chosen) == pytest.approx(min(every))


def test_costs_of_the_standard_kernel_are_those_of_quadrature() -> None:
    """½ expm1(γ_t − γ_s) m(λ_t), the prior and decoder at every candidate."""
    mixture, n = line_mixture(), 20_000
    model = exact_model(mixture, LogSNRLinear(-3.0, 3.0), exact_ends=False)
    x, times = mixture.expand(n).sample(seeded()), torch.linspace(0, 1, 5)
    costs = measure_costs(model, x, times, Standard(), seeded(1))
    for i, j in itertools.combinations(range(5), 2):
        gamma_s, gamma_t = -3.0 + 1.5 * i, -3.0 + 1.5 * j
        expected = 0.5 * math.expm1(gamma_t - gamma_s) * noise_error(mixture, -gamma_t)
        # E‖ε − ε̂‖⁴ ≤ 3 for this mixture, which bounds the standard error.
        error = 0.5 * math.expm1(gamma_t - gamma_s) * math.sqrt(3 / n)
        assert abs(costs.steps[i, j].item() - expected) < LIMIT * error
    # N(0, 1) against N(αx, σ²), closed form; and Gaussian decoding, whose entropy is known.
    for j in range(5):
        gamma = torch.tensor(-3.0 + 1.5 * j, dtype=torch.float64)
        alpha2, sigma2 = torch.sigmoid(-gamma), torch.sigmoid(gamma)
        prior = 0.5 * (sigma2 - 1 - sigma2.log() + alpha2 * x**2).mean()
        assert costs.coarse[j].item() == pytest.approx(prior.item(), rel=1e-9)
        entropy = 0.5 * (1 + math.log(2 * math.pi) + gamma.item())
        assert abs(costs.fine[j].item() - entropy) < LIMIT * math.sqrt(0.5 / n)


def test_total_of_a_path_is_its_bound_and_the_best_path_is_better_than_an_even_one() -> None:
    mixture, n = line_mixture(), 4_000
    model = exact_model(mixture, LogSNRLinear(-7.0, 6.0), exact_ends=False)
    x, times = mixture.expand(n).sample(seeded()), torch.linspace(0, 1, 25)
    costs = measure_costs(model, x, times, Standard(), seeded(2))
    best, even = cheapest(costs, 4), torch.tensor([0, 6, 12, 18, 24])
    assert costs.total(best) < costs.total(even) - 0.1
    fresh = mixture.expand(20_000).sample(seeded(3))
    for chosen in (best, even):
        grid = model.at(times[chosen])
        total = elbo(grid, grid.infer(fresh), fresh, seeded(4)).total
        # The costs have an error of their own, of the same size per example.
        assert abs(total.mean().item() - costs.total(chosen)) < LIMIT * total.std().item() * math.sqrt(2 / n)


def test_a_prior_of_ones_own_holds_the_top() -> None:
    model = exact_model(line_mixture(), LogSNRLinear(-3.0, 3.0))
    x = line_mixture().expand(100).sample(seeded())
    costs = measure_costs(model, x, torch.linspace(0, 1, 9), Standard(), seeded(1))
    assert bool(costs.coarse[:-1].isinf().all()) and math.isfinite(costs.coarse[-1])
    assert cheapest(costs, 3)[-1] == 8
    with pytest.raises(ValueError, match="prior of its own"):
        grid = model.at(torch.tensor([0.0, 0.5]))
        elbo(grid, grid.infer(x), x, seeded())


def test_average_weighs_batches_by_their_size() -> None:
    mixture = line_mixture()
    model = exact_model(mixture, LogSNRLinear(-3.0, 3.0), exact_ends=False)
    x, times = mixture.expand(30).sample(seeded()), torch.linspace(0, 1, 4)
    parts = [measure_costs(model, part, times, Standard(), seeded(1)) for part in (x[:10], x[10:])]
    together = average(parts, [10, 20])
    expected = model.prior_kl(x, seeded(), times[1:2].double()).mean()
    assert together.coarse[1].item() == pytest.approx(expected.item(), rel=1e-9)
    weighted = (parts[0].total(torch.tensor([0, 2])) + 2 * parts[1].total(torch.tensor([0, 2]))) / 3
    assert together.total(torch.tensor([0, 2])) == pytest.approx(weighted)


def test_free_ends_are_exact_where_the_model_is() -> None:
    """Stopping early loses nothing with an exact decoder: the continuous bound between any two times."""
    mixture, n = line_mixture(), 20_000
    x = mixture.expand(n).sample(seeded())
    fine, early = (exact_model(mixture, LogSNRLinear(-3.0, 3.0)) for _ in range(2))
    totals = []
    for model, grid in ((fine, torch.linspace(0, 1, 257)), (early, torch.linspace(0.25, 1, 193))):
        hierarchy = model.at(grid)
        totals.append(elbo(hierarchy, hierarchy.infer(x), x, seeded(5)).total + mixture.log_prob(x))
    assert abs(z_score(totals[0] - totals[1])) < LIMIT + 1  # the two differ by O(1/T) of the step between them
    assert totals[1].mean() < 0.02


def test_costs_of_a_conditional_model_are_conditional() -> None:
    """Placed by costs given y: those of the model that knows one component of the mixture, not of all."""
    n, schedule, times = 4_000, LogSNRLinear(-3.0, 3.0), torch.linspace(0, 1, 4)
    one = gaussian_mixture(torch.ones(1), torch.tensor([[-0.7]]), torch.tensor([[[0.04]]]))  # the first of the two
    x, labels = one.expand(n).sample(seeded()), Condition(label=torch.zeros(n, dtype=torch.long))
    model = exact_model(line_mixture(), schedule, exact_ends=False)
    told = measure_costs(model, x, times, Standard(), seeded(1), labels)
    untold = measure_costs(model, x, times, Standard(), seeded(1))
    alone = measure_costs(exact_model(one, schedule, exact_ends=False), x, times, Standard(), seeded(1))
    torch.testing.assert_close(told.steps, alone.steps)
    upper = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    assert bool((told.steps[upper] < untold.steps[upper]).all())
