"""The rarer members of the family with networks that were trained, not only with exact denoisers."""

import math

import pytest
import torch
from torch import nn

from tests.oracles import SCALINGS, exact_model, plane_mixture, seeded
from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres, Continuous
from vlb.data import Dataset, load
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.energy import EnergyDenoiser, energy_at
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.metropolis import annealed
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import Learned, LogSNRLinear, Schedule
from vlb.models.diffusion.times import LowDiscrepancyTime, UniformTime
from vlb.nn.mlp import MLPBackbone


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def fit(model: DiffusionModel, draw, steps: int, learning_rate: float = 3e-3) -> None:
    """Train a model on batches `draw(generator)`, its schedule with it."""
    loss, generator = DiffusionLoss().build(model), seeded(7)
    optimiser = torch.optim.Adam(model.parameters(), learning_rate, betas=(0.9, 0.99))
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        terms, _ = loss(model, draw(generator), UNCONDITIONAL, generator, 0)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    model.eval()


def pixels(data: Dataset, schedule: Schedule, scaling) -> DiffusionModel:
    """A small model of digits with a posterior head, fitted for a moment."""
    torch.manual_seed(0)
    levels = Centres(17)
    network = MLPBackbone((1, 8, 8), (1, 8, 8, 17), 0, 64, 1, 0.0)
    head = CategoricalPosterior(torch.zeros(64, 17))
    model = DiffusionModel(
        GaussianDiffusion(schedule, scaling), PosteriorDenoiser(network, head, scaling), levels, (1, 8, 8)
    )
    x = torch.from_numpy(data.train.x)
    fit(model, lambda generator: x[torch.randint(len(x), (64,), generator=generator)], 120)
    return model


@pytest.mark.parametrize("trained", ["vp", "ot"])
def test_a_trained_network_has_the_same_bound_under_every_scaling(trained: str, digits: Dataset) -> None:
    """A.45–A.48 with float32 weights: on the same draws, the bounds differ by round-off only."""
    model, x = pixels(digits, LogSNRLinear(-6.0, 5.0), SCALINGS[trained]), torch.from_numpy(digits.test.x[:100].copy())
    with torch.no_grad():
        totals = {
            name: estimate(model.under(scaling), x, UNCONDITIONAL, UniformTime(), seeded()).total.double().mean() / 64
            for name, scaling in SCALINGS.items()
        }
    assert totals[trained] / math.log(2) < 3.0  # uniform pixels cost 4.09, so that it has learnt
    for total in totals.values():
        assert total.item() == pytest.approx(totals[trained].item(), abs=1e-4)


def test_a_learned_schedule_trained_with_its_network_lowers_the_variance(digits: Dataset) -> None:
    """Beside the same schedule as it began, with the trained network and the same draws of t."""
    model = pixels(digits, Learned(-6.0, 5.0, learn_ends=False).build(64), SCALINGS["vp"])
    linear = DiffusionModel(
        GaussianDiffusion(LogSNRLinear(-6.0, 5.0), SCALINGS["vp"]), model.denoiser, model.embedding, model.shape
    )
    x = torch.from_numpy(digits.test.x.copy())
    with torch.no_grad():
        losses = [
            estimate(m, x, UNCONDITIONAL, UniformTime(), seeded(3), draws=8).diffusion.double() for m in (model, linear)
        ]
    assert losses[0].mean().item() == pytest.approx(losses[1].mean().item(), rel=0.05)  # one integral
    assert losses[0].var() < 0.7 * losses[1].var()
    assert model.process.schedule.gamma_0 == pytest.approx(-6.0)
    assert model.process.schedule.gamma_1 == pytest.approx(5.0)


@pytest.mark.slow
def test_a_trained_energy_has_a_likelihood_and_is_sampled_by_metropolis() -> None:
    """Its bound comes close to the entropy; annealed MALA from it has the mixture's moments, nearly."""
    torch.manual_seed(0)
    mixture, scaling = plane_mixture(), SCALINGS["vp"]
    schedule = LogSNRLinear(-4.0, 4.0)

    class Backbone(nn.Module):
        """An MLP in float64, the energy's network."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = MLPBackbone((2,), (2, 1), 0, 64, 2, 0.0).double()

        def forward(self, z: torch.Tensor, gamma: torch.Tensor, condition: Condition = UNCONDITIONAL) -> torch.Tensor:
            return self.layers(z, gamma, condition)

    model = DiffusionModel(
        GaussianDiffusion(schedule, scaling), EnergyDenoiser(Backbone(), scaling), Continuous(), (2,)
    )
    test = mixture.expand(2000).sample(seeded(1))

    def excess() -> float:
        """How far the bound is above that of the exact denoiser, nats, on the same draws."""
        exact = exact_model(mixture, schedule, exact_ends=False)
        with torch.no_grad():
            own, best = (
                estimate(m, test, UNCONDITIONAL, LowDiscrepancyTime(), seeded(2)).total.mean() for m in (model, exact)
            )
        return float(own - best)

    before = excess()
    fit(model, lambda generator: mixture.expand(256).sample(generator), 250)
    assert excess() < 0.25 * before

    z = torch.randn(3000, 2, generator=seeded(3), dtype=torch.float64)
    grid = torch.linspace(0, 1, 12, dtype=torch.float64)
    sample = annealed(
        lambda t: energy_at(model.denoiser, schedule.gamma(t).view(1, -1)), model.process, z, grid, 6, 0.2, seeded(4)
    )
    alpha, sigma = model.process.alpha_sigma(torch.zeros(1, dtype=torch.float64), test)
    law = mixture.diffused(alpha, sigma)
    torch.testing.assert_close(sample.mean(0), law.mean()[0], rtol=0, atol=0.25)
    torch.testing.assert_close(sample.T.cov(), law.covariance()[0], rtol=0, atol=0.4)
