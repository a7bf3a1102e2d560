"""Importance weighting over trajectories of a diffusion model, against a mixture whose log p(x) is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import LIMIT, exact_model, plane_mixture, seeded, z_score
from vlb.core.bound import elbo
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres
from vlb.measure.importance import ImportanceWeighted
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.discrete import GridDiffusion
from vlb.models.diffusion.kernels import ExactMixture
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import GaussianMixture, exact_reverse, gaussian_mixture

MARGINALS = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


class ExactGrid(GridDiffusion):
    """A grid whose p(z_s | z_t) is the true reverse kernel."""

    def reverse(self, z_t: Tensor, s: Tensor, t: Tensor, condition: Condition) -> GaussianMixture:
        return exact_reverse(plane_mixture(), self.model.process, z_t, s, t)


class Silent(nn.Module):
    """A backbone that says nothing: with a posterior head, the model of independent elements."""

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        return z.new_zeros(*z.shape, 3)


def independent_model(gamma_0: float = -3.0) -> DiffusionModel:
    """Two independent elements of three levels with MARGINALS, in float64; its ends lose nothing that can be seen."""
    denoiser = PosteriorDenoiser(Silent(), CategoricalPosterior(MARGINALS.log()), VP()).double()
    return DiffusionModel(GaussianDiffusion(LogSNRLinear(gamma_0, 16.0)), denoiser, Centres(3), (2,))


def log_mass(x: Tensor) -> Tensor:
    """log p(x) of independent elements with MARGINALS, (batch,) nats."""
    return MARGINALS.double().log().gather(1, x.T).sum(0)


def drawn(model: GridDiffusion, x: Tensor, draws: int, seed: int) -> Tensor:
    return ImportanceWeighted(model, draws).terms(x, UNCONDITIONAL, seeded(seed))[("importance_weighted",)]


@pytest.mark.parametrize("steps", [1, 5])
def test_a_trajectory_weighs_p_with_the_true_reverse_kernel(steps: int) -> None:
    """log p(x, z) − log q(z | x) = log p(x) at every draw, so that K changes nothing and all draws count alike."""
    mixture = plane_mixture()
    model = exact_model(mixture, LogSNRLinear(-4.0, 3.0))
    grid = ExactGrid(model, torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    x = mixture.expand(20).sample(seeded(1))
    terms, sums = ImportanceWeighted(grid, 3).observed(x, UNCONDITIONAL, seeded(2))
    value = terms[("importance_weighted",)]
    torch.testing.assert_close(value, -mixture.log_prob(x), rtol=1e-8, atol=1e-8)
    assert sums["effective"] / sums["examples"] == pytest.approx(3, rel=1e-6)  # 3 is the most: it is so of each


def test_a_trajectory_weighs_p_of_discrete_data() -> None:
    """The same for masses: independent elements, their exact mixture kernel and their decoder."""
    grid = independent_model().at(4, ExactMixture())
    x = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    torch.testing.assert_close(drawn(grid, x, 2, 3), -log_mass(x), rtol=0, atol=2e-3)


def test_one_draw_is_the_elbo_in_expectation() -> None:
    """K = 1 averages to the sum of KLs, though no KL is used."""
    mixture, n = plane_mixture(), 40_000
    x = mixture.expand(n).sample(seeded(4))
    grid = exact_model(mixture, LogSNRLinear(-4.0, 3.0)).at(6)
    bound = elbo(grid, grid.infer(x), x, seeded(5)).total
    assert abs(z_score(drawn(grid, x, 1, 6) - bound)) < LIMIT


def test_more_draws_tighten_and_stay_above() -> None:
    """E[−bound] falls with K by more than chance, and on the data's average stays above the entropy, E[−log q(x)]."""
    mixture, n = plane_mixture(), 2_000
    x = mixture.expand(n).sample(seeded(7))
    grid = exact_model(mixture, LogSNRLinear(-4.0, 3.0)).at(6)
    bounds = [drawn(grid, x, draws, seed) + mixture.log_prob(x) for seed, draws in enumerate((1, 4, 16, 64))]
    for few, more in pairwise(bounds):
        assert z_score(few - more) > LIMIT
    assert all(z_score(gap) > -LIMIT for gap in bounds)
    assert bounds[-1].mean() < 0.25 * bounds[0].mean()


def test_weights_are_unbiased_for_a_density() -> None:
    """E_q[w] = p_θ(x), the discrete-time model's own density at any T, which integrates to one over x."""
    proposal, n = gaussian_mixture(torch.ones(1), torch.zeros(1, 2), 1.5 * torch.eye(2).unsqueeze(0)), 100_000
    x = proposal.expand(n).sample(seeded(8))
    model = exact_model(plane_mixture(), LogSNRLinear(-1.0, 1.0))
    for steps in (2, 8):
        with torch.no_grad():
            ratio = model.at(steps).log_weight(x, UNCONDITIONAL, seeded(9)) - proposal.log_prob(x)
        assert abs(z_score(ratio.exp(), 1.0)) < LIMIT


def test_the_bound_says_what_it_is() -> None:
    weighted = ImportanceWeighted(independent_model().at(4, ExactMixture()), 8)
    assert str(weighted.bound) == (
        "importance-weighted discrete-time variational bound on -log p(x), T = 4, mixture kernel, K = 8"
    )
    assert weighted.shape == (2,) and math.isfinite(drawn(weighted.model, torch.zeros(1, 2).long(), 1, 0).item())
