"""Heads against brute force: they know z, α and σ, and must use them exactly."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracles import LIMIT, SCALINGS, gauss_legendre, seeded, z_score
from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import (
    CategoricalPosterior,
    Centres,
    ConjugateEmission,
    Continuous,
    DiscretisedMixture,
    MixtureEmission,
)
from vlb.models.diffusion.denoiser import PosteriorDenoiser, Prediction, RegressionDenoiser
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Velocity
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import UniformTime


def levels_of(scaling: str, gamma: float, n: int = 6) -> tuple[Tensor, Tensor]:
    return SCALINGS[scaling](torch.full((n, 1), gamma, dtype=torch.float64))


def read(head: ConjugateEmission, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
    """What a head makes of an output, whatever network it is of."""
    return PosteriorDenoiser(nn.Identity(), head, SCALINGS["vp"]).prediction(out, z, alpha, sigma)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("gamma", [-12.0, -4.0, 0.0, 6.0])
def test_posterior_head_is_bayes_rule(scaling: str, gamma: float) -> None:
    """x̂ = Σ v_k p_k N(z; αv_k, σ²)/Σ …, and its categorical is that posterior, by brute force in float64."""
    levels, generator = Centres(9), seeded(1)
    log_marginals = torch.randn(4, 9, generator=generator).log_softmax(-1)
    out = torch.randn(6, 4, 9, generator=generator, dtype=torch.float64)
    alpha, sigma = levels_of(scaling, gamma)
    values = levels.values(out)
    z = (
        alpha * values[torch.randint(9, (6, 4), generator=generator)]
        + sigma * torch.randn(6, 4, generator=generator).double()
    )
    prediction = read(CategoricalPosterior(log_marginals).double(), out, z, alpha, sigma)
    likelihood = torch.distributions.Normal(alpha.unsqueeze(-1) * values, sigma.unsqueeze(-1)).log_prob(z.unsqueeze(-1))
    log_posterior = ((out + log_marginals).log_softmax(-1) + likelihood).log_softmax(-1)
    torch.testing.assert_close(prediction.x, (log_posterior.exp() * values).sum(-1))
    torch.testing.assert_close(alpha * prediction.x + sigma * prediction.eps, z)
    for k in range(9):
        expected = log_posterior[..., k].sum(1)
        torch.testing.assert_close(prediction.law.log_prob(torch.full((6, 4), k)), expected, rtol=1e-7, atol=1e-7)


def test_posterior_head_gradient_is_that_of_the_plain_softmax() -> None:
    levels, generator = Centres(7), seeded(2)
    head = CategoricalPosterior(torch.randn(3, 7, generator=generator)).double()
    alpha, sigma = levels_of("vp", -1.0)
    z = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    out = torch.randn(6, 3, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    prediction = read(head, out, z, alpha, sigma)
    ours = torch.autograd.grad((weight * prediction.x).sum(), (out, z, head.bias), retain_graph=True)
    plain = (prediction.law.logits.softmax(-1) * levels.values(z)).sum(-1)
    theirs = torch.autograd.grad((weight * plain).sum(), (out, z, head.bias))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference)


def test_posterior_head_mean_stays_between_the_levels() -> None:
    head = CategoricalPosterior(torch.zeros(2, 256))
    alpha, sigma = levels_of("vp", -13.3)
    x = read(head, torch.zeros(6, 2, 256), 3 * torch.randn(6, 2, generator=seeded()), alpha, sigma).x
    assert x.abs().max() <= 255 / 256 + 1e-6


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("gamma", [-5.0, 0.0, 4.0])
def test_mixture_head_is_bayes_rule(scaling: str, gamma: float) -> None:
    """x̂ and the bin masses against numerical integration of prior × likelihood."""
    levels, components, generator = Centres(8), 3, seeded(3)
    head = MixtureEmission(levels, components, torch.tensor([0.2, -0.3]), torch.tensor([0.4, 0.2])).double()
    out = 0.5 * torch.randn(1, 2, 9, generator=generator, dtype=torch.float64)
    alpha, sigma = levels_of(scaling, gamma, 1)
    z = alpha * torch.tensor([[0.3, -0.6]]) + 0.5 * sigma
    prediction = read(head, out, z, alpha, sigma)
    raw = out.view(1, 2, components, 3) + head.bias
    weights, means, log_stds = raw.unbind(-1)
    stds = (torch.exp(2 * log_stds) + (0.2 / 8) ** 2).sqrt()
    edges = [-30.0, *(2 * k / 8 - 1 for k in range(1, 8)), 30.0]
    mass, moment = [], []
    for low, high in itertools.pairwise(edges):
        # The open bins reach far but all their mass is near.
        nodes, quadrature = gauss_legendre(max(low, -5.0), min(high, 5.0), 200)
        x = nodes.view(1, 1, 1, -1)
        prior = torch.distributions.Normal(means.unsqueeze(-1), stds.unsqueeze(-1)).log_prob(x).exp()
        prior = (weights.softmax(-1).unsqueeze(-1) * prior).sum(2)
        likelihood = torch.distributions.Normal(alpha.unsqueeze(-1) * nodes, sigma.unsqueeze(-1)).log_prob(
            z.unsqueeze(-1)
        )
        joint = prior * likelihood.exp() * quadrature
        mass.append(joint.sum(-1))
        moment.append((joint * nodes).sum(-1))
    total = torch.stack(mass).sum(0)
    torch.testing.assert_close(prediction.x, torch.stack(moment).sum(0) / total, rtol=1e-6, atol=1e-6)
    for k in range(8):
        expected = (mass[k] / total).log().sum(1)
        torch.testing.assert_close(prediction.law.log_prob(torch.full((1, 2), k)), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alpha * prediction.x + sigma * prediction.eps, z)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(gamma=st.floats(-13.3, 5), seed=st.integers(0, 999))
def test_mixture_head_is_finite_with_finite_gradients(gamma: float, seed: int) -> None:
    generator = seeded(seed)
    head = MixtureEmission(Centres(256), 4, torch.zeros(3), torch.ones(3))
    out = (3 * torch.randn(6, 3, 12, generator=generator)).requires_grad_()
    alpha, sigma = levels_of("vp", gamma)
    x = torch.randint(256, (6, 3), generator=generator)
    z = alpha * Centres(256).embed(x) + sigma * torch.randn(6, 3, generator=generator)
    prediction = read(head, out, z.float(), alpha, sigma)
    assert isinstance(prediction.law, DiscretisedMixture)
    loss = (prediction.eps**2).sum() - prediction.law.log_prob(x).sum()
    assert loss.isfinite()
    assert torch.autograd.grad(loss, out)[0].isfinite().all()


def test_mixture_head_of_one_component_is_linear_regression() -> None:
    """A Gaussian prior: x̂ = m + αs²/(α²s² + σ²)(z − αm), and the untrained head is that of its data."""
    mean, std = torch.tensor([0.2, -0.1]), torch.tensor([0.5, 0.3])
    head = MixtureEmission(Centres(256), 1, mean, std).double()
    alpha, sigma = levels_of("vp", 0.5)
    z = torch.randn(6, 2, generator=seeded(4), dtype=torch.float64)
    variance = std.double() ** 2 + (0.2 / 256) ** 2
    expected = mean + alpha * variance / (alpha**2 * variance + sigma**2) * (z - alpha * mean)
    torch.testing.assert_close(
        read(head, torch.zeros(6, 2, 3).double(), z, alpha, sigma).x, expected, rtol=1e-6, atol=1e-7
    )


class Linear(nn.Module):
    """A user's own backbone: any module called as backbone(z, gamma, condition), outputs last."""

    def __init__(self, dimensions: int, outputs: int) -> None:
        super().__init__()
        self.shape = (dimensions, outputs)
        self.layer = nn.Linear(dimensions + 1, dimensions * outputs)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition) -> Tensor:
        assert gamma.shape == (z.shape[0], 1)
        assert gamma.dtype == torch.float64
        return self.layer(torch.cat((z, gamma.to(z.dtype)), 1)).view(-1, *self.shape)


@pytest.mark.parametrize("kind", ["regression", "posterior", "mixture"])
def test_a_users_own_backbone_serves(kind: str) -> None:
    """It trains: the bound's gradient reaches all its parameters, and a step along it lowers the bound."""
    levels, generator = Centres(4), seeded(5)
    torch.manual_seed(0)
    head = MixtureEmission(levels, 2, torch.zeros(3), torch.ones(3))
    denoiser, embedding = {
        "regression": (RegressionDenoiser(Linear(3, 1), Velocity(), SCALINGS["vp"]), Continuous()),
        "posterior": (
            PosteriorDenoiser(Linear(3, 4), CategoricalPosterior(torch.zeros(3, 4)), SCALINGS["vp"]),
            levels,
        ),
        "mixture": (PosteriorDenoiser(Linear(3, head.outputs), head, SCALINGS["vp"]), levels),
    }[kind]
    model = DiffusionModel(GaussianDiffusion(LogSNRLinear(-4.0, 4.0)), denoiser, embedding, (3,))
    x = torch.randint(4, (256, 3), generator=generator)
    x = x.sort(1).values if kind != "regression" else levels.embed(x.sort(1).values)

    def loss() -> Tensor:
        return estimate(model, x, UNCONDITIONAL, UniformTime(), seeded(6)).total.mean()

    before = loss()
    before.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
    assert loss() < before


@pytest.mark.parametrize("scaling", SCALINGS)
def test_regression_head_solves_for_x_and_eps(scaling: str) -> None:
    alpha, sigma = levels_of(scaling, 0.3)
    x, eps = torch.randn(2, 6, 3, generator=seeded(7), dtype=torch.float64).unbind(0)
    a, b = Velocity()(alpha, sigma)
    denoiser = RegressionDenoiser(nn.Identity(), Velocity(), SCALINGS[scaling])
    prediction = denoiser.prediction((a * x + b * eps).unsqueeze(-1), alpha * x + sigma * eps, alpha, sigma)
    torch.testing.assert_close(prediction.x, x)
    torch.testing.assert_close(prediction.eps, eps)
    assert prediction.law is None


def test_levels_embed_to_their_values_and_decode_back() -> None:
    """v_k are the centres of K equal bins of [−1, 1]; p(x|z_0) at small σ finds the level again."""
    for count in (2, 17, 256):
        levels, x = Centres(count), torch.arange(count).unsqueeze(1)
        values = levels.embed(x).double().squeeze(1)
        torch.testing.assert_close(values, levels.values(torch.zeros(1).double()), rtol=0, atol=1e-7)
        torch.testing.assert_close(values.diff(), torch.full((count - 1,), 2 / count).double(), rtol=0, atol=3e-7)
        assert values[0].item() == pytest.approx(1 / count - 1, abs=1e-7)
        assert values[-1].item() == pytest.approx(1 - 1 / count, abs=1e-7)
        alpha, sigma = levels_of("vp", -13.3, count)
        decoded = levels.given((alpha * values.unsqueeze(1)).float(), alpha, sigma)
        assert torch.equal(decoded.mode(), x)


def test_continuous_decoder_is_the_law_of_x_under_a_flat_prior() -> None:
    """p(x|z_0) = N(z_0/α₀, σ₀²/α₀²): as a density in x it is q(z_0|x) times the Jacobian α₀."""
    alpha, sigma = levels_of("ot", -2.0)
    x, z = torch.randn(2, 6, 3, generator=seeded(8), dtype=torch.float64).unbind(0)
    expected = torch.distributions.Normal(alpha * x, sigma).log_prob(z).sum(1) + 3 * alpha.squeeze(1).log()
    torch.testing.assert_close(Continuous().given(z, alpha, sigma).log_prob(x), expected)


def test_autocast_leaves_the_head_alone() -> None:
    """Under bfloat16 autocast x̂ and ε̂ are what the same network output gives in float32, at every noise level."""
    scaling = SCALINGS["vp"]

    class Flat(nn.Module):
        def forward(self, z, gamma, condition=UNCONDITIONAL):
            return z.new_zeros(*z.shape, 256)

    denoiser = PosteriorDenoiser(Flat(), CategoricalPosterior(torch.zeros(64, 256)), scaling)
    for gamma in (-13.3, -10.0, 0.0):
        level = torch.full((1, 1), gamma, dtype=torch.float64)
        z = torch.linspace(-0.95, 0.95, 64).unsqueeze(0)
        with torch.no_grad():
            exact = denoiser(z, level)
            with torch.autocast("cpu", torch.bfloat16):
                fast = denoiser(z, level)
        assert fast.x.dtype == torch.float32
        torch.testing.assert_close(fast.x, exact.x, rtol=0, atol=0)
        torch.testing.assert_close(fast.eps, exact.eps, rtol=0, atol=0)


def test_posterior_head_samples_its_categorical() -> None:
    n = 20_000
    alpha, sigma = levels_of("vp", 1.0, n)
    head = CategoricalPosterior(torch.tensor([[0.5, 0.2, 0.3]]).log())
    data = read(head, torch.zeros(n, 1, 3), torch.full((n, 1), 0.2), alpha, sigma).law
    x = data.sample(seeded(9))
    for k in range(3):
        mass = math.exp(data.log_prob(torch.full((n, 1), k))[0].item())
        assert abs(z_score((x[:, 0] == k).double(), mass)) < LIMIT
