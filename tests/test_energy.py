"""Energies as denoisers, and what they can be used for, against laws whose density is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import LIMIT, SCALINGS, plane_mixture, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Continuous
from vlb.data import load
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Regression, RegressionDenoiser
from vlb.models.diffusion.energy import Energy, EnergyDenoiser, compose, energy_at
from vlb.models.diffusion.metropolis import annealed, hamiltonian, langevin, start
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import EDM, Velocity
from vlb.models.diffusion.process import GaussianDiffusion, along
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import UniformTime
from vlb.models.mixture.gaussian import GaussianMixture, gaussian_mixture
from vlb.nn.mlp import MLP
from vlb.nn.unet import UNetBackbone
from vlb.store.experiment import Experiment


class Ideal(nn.Module):
    """The f for which E(z, γ) is −log q(z_t) of a mixture plus a constant: any f with the right ⟨z, f⟩."""

    def __init__(self, mixture: GaussianMixture, scaling) -> None:
        super().__init__()
        self.mixture, self.scaling = mixture, scaling

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        alpha, sigma = self.scaling(along(gamma, z))
        normal = 0.5 * (z**2 / (alpha**2 + sigma**2)).sum(1, keepdim=True)
        missing = -self.mixture.diffused(alpha, sigma).log_prob(z).unsqueeze(1) - normal
        return (sigma * missing * z / (z**2).sum(1, keepdim=True)).unsqueeze(-1)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("gamma", [-4.0, 0.0, 5.0])
def test_energy_denoiser_is_the_gradient_of_its_energy(scaling, gamma: float) -> None:
    """With E = −log q(z_t), ε̂ is the posterior mean of ε and αx̂ + σε̂ = z (Eq. 4.24)."""
    mixture = plane_mixture()
    denoiser = EnergyDenoiser(Ideal(mixture, scaling), scaling)
    level = torch.full((1, 1), gamma, dtype=torch.float64)
    alpha, sigma = scaling(level)
    z = mixture.diffused(alpha, sigma).expand(30).sample(seeded())
    prediction = denoiser(z, level)
    torch.testing.assert_close(prediction.eps, mixture.posterior_noise(z, alpha, sigma), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(alpha * prediction.x + sigma * prediction.eps, z)
    log_q = mixture.diffused(alpha, sigma).log_prob(z)
    energy = energy_at(denoiser, level)(z)
    torch.testing.assert_close(energy - energy[0], log_q[0] - log_q, rtol=1e-9, atol=1e-9)


def test_an_untrained_energy_is_the_standard_normal() -> None:
    """A silent backbone has ε̂ = σz/(α² + σ²), and its bound on N(0, 1) data is tight."""

    class Silent(nn.Module):
        def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
            return 0 * z.unsqueeze(-1)

    n = 40_000
    x = torch.randn(n, 1, generator=seeded(), dtype=torch.float64)
    for scaling in SCALINGS.values():
        process = GaussianDiffusion(LogSNRLinear(-12.0, 8.0), scaling)
        model = DiffusionModel(process, EnergyDenoiser(Silent(), scaling), Continuous(), (1,))
        with torch.no_grad():
            total = estimate(model, x, UNCONDITIONAL, UniformTime(), seeded(1)).total
        nll = 0.5 * (x**2 + math.log(2 * math.pi)).squeeze(1)
        assert abs(z_score(total - nll)) < LIMIT


def test_training_differentiates_the_gradient() -> None:
    """The gradient of a loss on ε̂ agrees with finite differences: create_graph is on where it must be."""
    torch.manual_seed(0)
    data = load("digits")
    model = Experiment(
        recipe="digits", model=Diffusion(head=Energy(), backbone=MLP(width=8, blocks=1, dropout=0.0))
    ).build(data)
    model = model.double()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    x = torch.from_numpy(data.train.x[:8].copy())

    def loss() -> Tensor:
        return model.term(x, torch.full((8,), 0.4), UNCONDITIONAL, seeded(2)).mean()

    loss().backward()
    weight = model.denoiser.backbone.first.weight
    for index in ((0, 3), (5, 20)):
        step, start_value = 1e-5, weight.data[index].item()
        values = []
        for sign in (1, -1):
            weight.data[index] = start_value + sign * step
            values.append(loss().item())
        weight.data[index] = start_value
        assert weight.grad[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-9)


def test_attention_is_differentiated_twice() -> None:
    """Backbones with attention serve: their fused kernels have no second derivative, so others are used."""
    network = UNetBackbone((1, 8, 8), 1, 0, (8, 8), 1, (False, True), (), 1, 0.0)
    denoiser = EnergyDenoiser(network, SCALINGS["vp"])
    z = torch.randn(2, 1, 8, 8, generator=seeded())
    denoiser(z, torch.zeros(1, 1, dtype=torch.float64)).eps.square().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())
    with torch.no_grad():
        assert not denoiser(z, torch.zeros(1, 1, dtype=torch.float64)).eps.requires_grad


def test_heads_are_reached_from_configurations() -> None:
    data = load("digits")
    for head in (Regression(output=EDM(0.7)), Energy()):
        model = Experiment(recipe="digits", model=Diffusion(head=head, backbone=MLP(width=8, blocks=1))).build(data)
        with torch.no_grad():
            bound = estimate(model, torch.from_numpy(data.test.x[:4].copy()), UNCONDITIONAL, UniformTime(), seeded())
        assert bool(bound.total.isfinite().all())
    with pytest.raises(UserError, match="sigma_data: expected"):
        EDM(0.0)


def test_other_denoisers_have_no_energy() -> None:
    denoiser = RegressionDenoiser(nn.Identity(), Velocity(), SCALINGS["vp"])
    with pytest.raises(UserError, match="head=energy"):
        energy_at(denoiser, torch.zeros(1, 1))


# --- Metropolis-corrected sampling ---------------------------------------------------------------------------


def mixture_energy(mixture: GaussianMixture):
    return lambda z: -mixture.log_prob(z)


@pytest.mark.parametrize("method", ["langevin", "hamiltonian"])
def test_the_law_is_invariant(method: str) -> None:
    """Chains that start at the mixture stay there, at a step so large that a fifth or more is rejected."""
    mixture, n, generator = plane_mixture(), 20_000, seeded(3)
    energy = mixture_energy(mixture)
    chain = start(energy, mixture.expand(n).sample(generator))
    rates = []
    for _ in range(8):
        if method == "langevin":
            chain, acceptance = langevin(energy, chain, 0.05, generator)
        else:
            chain, acceptance = hamiltonian(energy, chain, 0.25, 4, generator)
        rates.append(acceptance.mean().item())
    assert min(rates) > 0.2 and max(rates) < 0.8
    z, mean, covariance = chain.z, mixture.mean()[0], mixture.covariance()[0]
    for i in range(2):
        assert abs(z_score(z[:, i], mean[i].item())) < LIMIT
        for j in range(2):
            assert abs(z_score((z[:, i] - mean[i]) * (z[:, j] - mean[j]), covariance[i, j].item())) < LIMIT
    for j, weight in enumerate((0.5, 0.3, 0.2)):
        assert abs(z_score(mixture.responsibilities(z)[:, j], weight)) < LIMIT


def test_without_the_test_langevin_is_biased() -> None:
    """The control: the same step without rejection leaves another law behind."""
    mixture, n, generator = plane_mixture(), 20_000, seeded(4)
    z = mixture.expand(n).sample(generator)
    for _ in range(8):
        z = z + 0.05 * mixture.score(z) + math.sqrt(0.1) * torch.randn(z.shape, generator=generator, dtype=z.dtype)
    mean, covariance = mixture.mean()[0], mixture.covariance()[0]
    assert max(abs(z_score((z[:, i] - mean[i]) ** 2, covariance[i, i].item())) for i in range(2)) > LIMIT


def test_acceptance_tends_to_one_at_its_rate() -> None:
    """1 − acceptance = O(τ^{3/2}) for MALA and O(step³) for HMC over a fixed number of leapfrogs."""
    mixture, n = gaussian_mixture(torch.ones(1), torch.zeros(1, 2), torch.tensor([[1.0, 0.4]])), 20_000
    energy = mixture_energy(mixture)
    chain = start(energy, mixture.expand(n).sample(seeded(5)))
    rejected = [1 - langevin(energy, chain, tau, seeded(6)).acceptance.mean().item() for tau in (0.04, 0.01, 0.0025)]
    for before, after in pairwise(rejected):
        assert 6.5 < before / after < 9.5  # 4^{3/2} = 8
    assert rejected[-1] < 1e-3
    rejected = [
        1 - hamiltonian(energy, chain, step, 3, seeded(7)).acceptance.mean().item() for step in (0.2, 0.1, 0.05)
    ]
    for before, after in pairwise(rejected):
        assert 6.5 < before / after < 9.5  # 2³ = 8
    assert rejected[-1] < 1e-2


def test_product_of_gaussians_is_the_closed_form() -> None:
    """Σ w_i E_i of N(m_i, C_i): the precision is Σ w_i C_i⁻¹; sampled from far away, through noise levels."""
    scaling, n = SCALINGS["vp"], 4_000
    means = torch.tensor([[1.0, 0.0], [-0.5, 1.0]], dtype=torch.float64)
    covariances = torch.tensor([[[0.5, 0.1], [0.1, 0.3]], [[0.4, -0.1], [-0.1, 0.8]]], dtype=torch.float64)
    experts = [gaussian_mixture(torch.ones(1), means[i : i + 1], covariances[i : i + 1]) for i in range(2)]
    weights = [1.0, 0.7]
    precision = sum(w * torch.linalg.inv(c) for w, c in zip(weights, covariances, strict=True))
    mean = torch.linalg.solve(
        precision, sum(w * torch.linalg.solve(c, m) for w, c, m in zip(weights, covariances, means, strict=True))
    )
    product = gaussian_mixture(torch.ones(1), mean.unsqueeze(0), torch.linalg.inv(precision).unsqueeze(0))

    z = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    together = compose([mixture_energy(e) for e in experts], weights)(z)
    torch.testing.assert_close(together - together[0], product.log_prob(z)[0] - product.log_prob(z))
    energies = [mixture_energy(e) for e in experts]
    torch.testing.assert_close(compose(energies)(z), energies[0](z) + energies[1](z))

    process = GaussianDiffusion(LogSNRLinear(-9.0, 4.0), scaling)

    def energy(t: Tensor):
        alpha, sigma = process.alpha_sigma(t, z)
        return compose([mixture_energy(e.diffused(alpha, sigma)) for e in experts], weights)

    # σ² shrinks the steps towards the data; at these times they still mix.
    grid = process.schedule.inverse(torch.tensor([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64))
    x = torch.randn(n, 2, generator=seeded(8), dtype=torch.float64)
    x = annealed(energy, process, x, grid, 40, 0.3, seeded(9))
    # Composed noisy laws: diffused experts' precisions add, and the last level is what is sampled.
    alpha, sigma = process.alpha_sigma(grid[:1], z)
    levels = [e.diffused(alpha, sigma) for e in experts]
    precision = sum(w * torch.linalg.inv(e.covariance()[0]) for w, e in zip(weights, levels, strict=True))
    shift = sum(w * torch.linalg.solve(e.covariance()[0], e.mean()[0]) for w, e in zip(weights, levels, strict=True))
    expected, covariance = torch.linalg.solve(precision, shift), torch.linalg.inv(precision)
    for i in range(2):
        assert abs(z_score(x[:, i], expected[i].item())) < LIMIT
        assert abs(z_score((x[:, i] - expected[i]) ** 2, covariance[i, i].item())) < LIMIT


def test_compositions_need_a_weight_each() -> None:
    with pytest.raises(UserError, match="one weight per energy"):
        compose([mixture_energy(plane_mixture())], [1.0, 2.0])
