"""Particle filters over a descent, against exact conditionals: of linear chains, whose every law is Gaussian, at any
number of steps; of mixtures, whose denoiser is exact, in many."""

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from tests.oracles import LIMIT, plane_mixture, z_score
from vlb.core.bound import descent_log_ratio
from vlb.core.condition import Condition, Role
from vlb.core.distributions import Normal
from vlb.core.draws import RowDraws
from vlb.core.emissions import Continuous
from vlb.core.hierarchy import Rung
from vlb.models.diffusion.filter import Filter, Filtered, Replacing, Twisting, effective
from vlb.models.diffusion.kernels import MomentMatched
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VARIANCE_PRESERVING, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import GaussianMixture, MarginalDenoiser, Marginals, gaussian_mixture

BOTH = pytest.mark.parametrize("kind", [Replacing, Twisting])


def modelled(mixture: GaussianMixture, low: float = -8.0, high: float = 8.0) -> DiffusionModel:
    """The diffusion model of a mixture, whose head says the exact law of each element."""
    process = GaussianDiffusion(LogSNRLinear(low, high))
    denoiser = MarginalDenoiser(mixture, VARIANCE_PRESERVING)
    return DiffusionModel(process, denoiser, Continuous(), (mixture.means.shape[-1],))


def correlated() -> GaussianMixture:
    """One Gaussian of three correlated reals."""
    a = torch.tensor([[0.9, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.4, 0.5, 0.5]], dtype=torch.float64)
    return gaussian_mixture(torch.ones(1).double(), torch.tensor([[0.3, -0.2, 0.1]]).double(), (a @ a.T).unsqueeze(0))


def found(
    kind: type[Filter], model: DiffusionModel, x: Tensor, known: list[int], steps: int, paths: int, particles: int
) -> Filtered:
    """Of rows x (n, D), of each of which the same elements are known; equal rows draw otherwise."""
    mask = torch.zeros_like(x).bool()
    mask[:, known] = True
    different = RowDraws(torch.arange(len(x)).double().unsqueeze(1), Condition(), 0)
    role = torch.where(mask, Role.KNOWN, Role.MODELLED).to(torch.uint8)
    return kind(model, Condition(role=role, values=torch.where(mask, x, 0.0)), steps, paths, particles, different).run()


def chain(model: DiffusionModel, steps: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of x under a discrete-time model all of whose steps are linear in z: each is read
    from where it takes 0 and the unit vectors."""
    grid, d = model.at(steps, MomentMatched()), model.shape[0]
    points = torch.cat((torch.zeros(1, d), torch.eye(d))).double()
    mean, covariance = torch.zeros(d).double(), torch.zeros(d, d).double()

    def moved(law_mean: Tensor, variance: Tensor) -> None:
        nonlocal mean, covariance
        slope = (law_mean[1:] - law_mean[:1]).T
        mean = slope @ mean + law_mean[0]
        covariance = slope @ covariance @ slope.T + torch.diag(variance)

    prior = grid.top(points)
    covariance = torch.diag(prior.log_variance.expand(points.shape)[0].exp())  # type: ignore[attr-defined]
    for number in range(grid.depth - 1, 0, -1):
        step = grid.down(number, points)
        moved(step.mean, step.log_variance.expand(points.shape)[0].exp())  # type: ignore[attr-defined]
    law = model.predict(points, grid.time(0)).law
    assert isinstance(law, Marginals)
    moved(law.mean, law.variance[0])
    return mean, covariance


def conditioned(mean: Tensor, covariance: Tensor, x: Tensor, known: list[int]) -> tuple[Tensor, Tensor, float]:
    """Mean and covariance of the other elements, and log p of the known ones."""
    others = [place for place in range(len(mean)) if place not in known]
    own = covariance[known][:, known]
    gain = covariance[others][:, known] @ own.inverse()
    law = torch.distributions.MultivariateNormal(mean[known], own)
    rest = covariance[others][:, others] - gain @ covariance[known][:, others]
    return mean[others] + gain @ (x[known] - mean[known]), rest, float(law.log_prob(x[known]))


@BOTH
@pytest.mark.parametrize("steps", [2, 5])
def test_the_mean_weight_is_p_of_what_is_known_without_bias(kind: type[Filter], steps: int) -> None:
    """Of a chain of Gaussians, in however few steps: over 4,000 filters of 2 paths of 4 particles. A false alarm in one
    of a million seeds (z beyond 5)."""
    model, x, known = modelled(correlated(), -3.0, 3.0), torch.tensor([0.9, -0.5, 0.0]).double(), [0, 1]
    *_, log_p = conditioned(*chain(model, steps), x, known)
    evidence = found(kind, model, x.expand(4000, -1), known, steps, 2, 4).log_evidence
    assert abs(z_score((evidence - log_p).exp(), 1.0)) < LIMIT
    assert evidence.mean() < log_p  # its logarithm is a bound


@BOTH
def test_weighted_particles_have_the_conditional_mean_and_covariance_of_the_chain(kind: type[Filter]) -> None:
    """Σ w f over the mean of Σ w, of 4,000 filters, within five standard errors of a ratio (the delta method)."""
    model, x, known = modelled(correlated(), -3.0, 3.0), torch.tensor([0.9, -0.5, 0.0]).double(), [0, 1]
    mean, covariance, log_p = conditioned(*chain(model, 5), x, known)
    end = found(kind, model, x.expand(4000, -1), known, 5, 2, 4)
    weights = (end.log_weights - log_p).exp()
    law = end.law
    assert isinstance(law, Marginals)
    own = law.mean[:, 2].view(weights.shape)
    error = own - mean[0]
    for f in (error, error.square() + law.variance[:, 2].view(weights.shape) - covariance[0, 0]):
        assert abs(z_score((weights * f).mean(1))) < LIMIT


def test_one_particle_that_knows_everything_is_the_bound() -> None:
    """With all elements known, the log of the weight is log p(x, z) − log q(z | x) of the same latents."""
    model, x = modelled(plane_mixture()), torch.tensor([[0.4, -0.8], [-1.0, 0.2]]).double()
    end = found(Replacing, model, x, [0, 1], 6, 1, 1)
    own, grid = RowDraws(torch.arange(2).double().unsqueeze(1), Condition(), 0), model.at(6, MomentMatched())

    def choose(number: int, rung: Rung) -> Tensor:
        shared = own.normal(1, torch.Size((2,)))
        own.normal(1, torch.Size((2,)))  # of what is not known
        if number:
            own.uniform(1, torch.Size((1,)))
        return cast(Normal, rung.q).moved(shared)

    ratio, state = descent_log_ratio(grid, grid.infer(x), choose)
    assert torch.allclose(end.log_weights[:, 0], ratio + grid.likelihood(state).log_prob(x), rtol=1e-9, atol=1e-9)


def conditional(mixture: GaussianMixture, x0: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and variances of x₁ given x₀ in the plane."""
    covariances = torch.einsum("jik,jk,jlk->jil", mixture.basis, mixture.variances[0], mixture.basis)
    means, own = mixture.means[0], covariances[:, 0, 0]
    log_joint = mixture.log_weights[0] - 0.5 * ((x0 - means[:, 0]).square() / own + own.log())
    gain = covariances[:, 0, 1] / own
    return (
        log_joint.softmax(0),
        means[:, 1] + gain * (x0 - means[:, 0]),
        covariances[:, 1, 1] - gain * covariances[:, 0, 1],
    )


@BOTH
def test_mixtures_are_given_what_is_known(kind: type[Filter]) -> None:
    """x₁ given x₀ = 0.45 lies in two clusters, of weights 0.66 and 0.34. Over 100 filters in 60 steps: mean, second
    moment, and the weight of a cluster within five standard errors and what 60 steps leave, 0.03."""
    mixture = plane_mixture()
    x = torch.tensor([0.45, 0.0]).double().expand(100, -1)
    end = found(kind, modelled(mixture), x, [0], 60, 2, 32)
    weights, means, variances = conditional(mixture, 0.45)
    own = end.law.mean[:, 1].view(100, -1)  # type: ignore[attr-defined]
    law = end.log_weights.flatten(1)
    shares = law.softmax(1)
    upper = torch.special.ndtr((means - 0.0) / variances.sqrt())
    for f, exact in (
        (own, weights @ means),
        (own.square(), weights @ (variances + means.square())),
        ((own > 0).double(), weights @ upper),
    ):
        values = (shares * f).sum(1)
        assert abs(float(values.mean() - exact)) < LIMIT * float(values.std()) / math.sqrt(100) + 0.03


def test_unweighted_replacement_does_not_draw_from_the_conditional() -> None:
    """Known parts from q and the rest from p, of even weight, has the mean 0.93 in place of 1.35; with weights it is
    that of the conditional, within five standard errors and what 60 steps leave, 0.03."""
    mixture = gaussian_mixture(
        torch.ones(1).double(), torch.zeros(1, 2).double(), torch.tensor([[[1.0, 0.9], [0.9, 1.0]]]).double()
    )
    model, x = modelled(mixture), torch.tensor([1.5, 0.0]).double()
    even = found(Replacing, model, x.expand(1000, -1), [0], 60, 1, 1).law.mean[:, 1]  # type: ignore[attr-defined]
    assert abs(z_score(even, 1.35)) > 12
    right = found(Replacing, model, x.expand(60, -1), [0], 60, 4, 16)
    values = (right.log_weights.softmax(1) * right.law.mean[:, 1].view(60, -1)).sum(1)  # type: ignore[attr-defined]
    allowed = LIMIT * float(values.std()) / math.sqrt(60) + 0.03
    assert abs(float(values.mean()) - 1.35) < allowed < abs(float(even.mean()) - 1.35)


@BOTH
def test_more_particles_know_more(kind: type[Filter]) -> None:
    """log p(x_k) is bounded the tighter, the more particles: the means of 200 filters of 2, 8 and 32 of them rise."""
    model, x = modelled(correlated(), -6.0, 5.0), torch.tensor([0.9, -0.5, 0.0]).double().expand(200, -1)
    means = [float(found(kind, model, x, [0, 1], 20, 1, size).log_evidence.mean()) for size in (2, 8, 32)]
    assert means == sorted(means)
    assert means[-1] < conditioned(*chain(model, 20), x[0], [0, 1])[2] + 0.05


def test_effective_numbers() -> None:
    assert torch.allclose(effective(torch.zeros(1, 5)), torch.tensor([5.0]))
    assert torch.allclose(effective(torch.tensor([[0.0, -1e9, -1e9]])), torch.tensor([1.0]))


def test_marginals_are_those_of_the_joint() -> None:
    """Moments, and the density of each element by its own mixture; 40,000 draws within five standard errors."""
    joint = plane_mixture().posterior(torch.tensor([[0.3, -0.2]]).double(), 0.8, 0.6)
    law = Marginals(joint)
    assert torch.allclose(law.mean, joint.mean()) and torch.allclose(law.variance[0], joint.covariance()[0].diagonal())
    covariances = torch.einsum("jik,jk,jlk->jil", joint.basis, joint.variances[0], joint.basis)
    for d in range(2):
        one = gaussian_mixture(
            joint.log_weights[0].exp(), joint.means[0, :, d : d + 1], covariances[:, d, d].view(-1, 1, 1)
        )
        x = torch.tensor([[0.1, -0.4]]).double()
        assert torch.allclose(law.log_probs(x)[:, d], one.log_prob(x[:, d : d + 1]))
    drawn = Marginals(joint.expand(40_000)).sample(torch.Generator().manual_seed(0))
    for d in range(2):
        assert abs(z_score(drawn[:, d], float(law.mean[0, d]))) < LIMIT
        assert abs(z_score((drawn[:, d] - law.mean[0, d]).square(), float(law.variance[0, d]))) < LIMIT
