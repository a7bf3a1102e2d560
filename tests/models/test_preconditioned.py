"""The head in units of what z alone leaves open: exact for Gaussian data, and a law at every noise level."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.oracles import seeded
from vlb.base.configuration import override
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Bins, Centres, DiscretisedMixture
from vlb.data import Split, load
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.kernels import ExactMixture
from vlb.models.diffusion.preconditioned import PreconditionedDenoiser
from vlb.models.diffusion.process import VP
from vlb.store.runs import Run, diffusion_model
from vlb.training.loop import fit
from vlb.training.recipes import recipe

LEVELS = 1 << 16


class Output(nn.Module):
    """The same output everywhere; remembers what it was given."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers, self.seen = numbers, torch.zeros(0)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        self.seen = z
        return self.numbers.expand(*z.shape, -1)


def made(numbers: Tensor, deviation: float) -> PreconditionedDenoiser:
    denoiser = PreconditionedDenoiser(Output(numbers), Bins(Centres(LEVELS)), len(numbers) // 3, VP()).double()
    denoiser.get_buffer("deviation").fill_(deviation)
    return denoiser


@pytest.mark.parametrize("gamma", [-16.0, -8.0, 0.0, 4.0])
def test_silence_of_the_network_is_the_exact_law_of_gaussian_data(gamma: float) -> None:
    """N(αs²z/v, σ²s²/v), v = α²s² + σ², up to the tenth of a bin that is added to every component."""
    s, level = 0.1, torch.full((1, 1), gamma, dtype=torch.float64)
    alpha, sigma = VP()(level)
    z = torch.linspace(-0.3, 0.3, 7, dtype=torch.float64)[None]
    v = alpha**2 * s**2 + sigma**2
    for numbers in (torch.zeros(3), torch.zeros(6), torch.zeros(15)):
        found = made(numbers.double(), s)(z, level)
        torch.testing.assert_close(found.x, alpha * s**2 / v * z)
        torch.testing.assert_close(found.eps, sigma / v * z)
        assert isinstance(found.law, DiscretisedMixture)
        spread = (sigma**2 * s**2 / v).expand_as(z) + (0.1 * 2 / LEVELS) ** 2
        torch.testing.assert_close(found.law.variance, spread)


def test_prediction_keeps_z() -> None:
    """αx̂ + σε̂ = z in float32 too, to the digits of σ at every level; the network sees unit variance."""
    denoiser = made(torch.randn(9, generator=seeded(0)).double(), 0.1).float()
    for gamma in (-16.0, -4.0, 3.0):
        level = torch.full((1, 1), gamma, dtype=torch.float64)
        alpha, sigma = (part.float() for part in VP()(level))
        x = 0.1 * torch.randn(1, 4000, generator=seeded(1))
        z = alpha * x + sigma * torch.randn(1, 4000, generator=seeded(2))
        found = denoiser(z, level)
        assert ((alpha * found.x + sigma * found.eps - z).abs() < 1e-6).all()
        assert isinstance(denoiser.backbone, Output)
        assert abs(denoiser.backbone.seen.var().item() - 1) < 6 * (2 / 4000) ** 0.5  # 6σ: 2e-9


def test_masses_sum_to_one_over_all_levels() -> None:
    level = torch.full((1, 1), -6.0, dtype=torch.float64)
    law = made(torch.randn(9, generator=seeded(3)).double(), 0.1)(
        torch.tensor([[0.05]], dtype=torch.float64), level
    ).law
    assert law is not None
    every = torch.arange(LEVELS).unsqueeze(1)
    assert isinstance(law, DiscretisedMixture)
    total = torch.cat([law.log_probs(part) for part in every.split(4096)]).exp().sum()
    assert abs(total.item() - 1) < 1e-9


def test_few_examples_do_not_say_that_elements_never_vary() -> None:
    """Of one example a place shows no spread, but places differ; of many alike, only the law of one place counts."""
    bins = Bins(Centres(256))
    x = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)
    spread = x.astype(float).std() * 2 / 256
    assert bins.deviation(Split(x)) == pytest.approx(spread / 2**0.5)
    assert bins.deviation(Split(np.repeat(x, 1000, 0))) == pytest.approx(spread / 1001**0.5)
    assert bins.deviation(Split(np.full_like(x, 7))) == 2 / 256


def test_the_density_about_the_mean_trains_the_shape_alone() -> None:
    """It integrates to one, a shift of all components has no gradient, and the best variance is that about the mean."""
    numbers = torch.randn(2, 3, generator=seeded(4), dtype=torch.float64)
    parts = [part.clone().requires_grad_() for part in (numbers[0], numbers[1], torch.tensor([0.2, 0.5, 0.1]).double())]
    law = DiscretisedMixture(*(part.expand(2001, 1, 3) for part in parts), Centres(256))
    x = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None]
    density = law.log_density_about_mean(x)
    assert torch.trapezoid(density[:, 0].detach().exp(), x[:, 0]).item() == pytest.approx(1, abs=1e-9)
    shift = torch.autograd.grad(density[700], parts[1], retain_graph=True)[0].sum()
    assert abs(shift.item()) < 1e-12
    sample = torch.randn(500, 1, generator=seeded(5), dtype=torch.float64)
    variance = (sample - 0.3).square().mean().reshape(1, 1, 1).requires_grad_()
    one = torch.zeros(500, 1, 1, dtype=torch.float64)
    single = DiscretisedMixture(one, one + 0.3, variance.expand(500, 1, 1), Centres(256))
    assert abs(torch.autograd.grad(single.log_density_about_mean(sample).mean(), variance)[0].item()) < 1e-12


def test_training_with_the_shape_brings_few_steps_nearer(tmp_path: Path) -> None:
    """Of digits, the bound at T = 4 after a few steps of training, bits/dim."""
    bounds = []
    for shape in (0.0, 0.1):
        experiment = recipe("digits")
        for setting in ("backbone=mlp", "backbone.width=64", "backbone.blocks=1", "steps=150", f"loss.shape={shape}",
                        "model.head=preconditioned", "validate_every=0"):  # fmt: skip
            experiment = override(experiment, setting)
        run = Run.create(tmp_path / f"{shape}", experiment, load("digits"))
        assert fit(experiment, load("digits"), run)
        found = measure_bound(
            diffusion_model(run.model(), "this test").at(4, ExactMixture()),
            load("digits").validation.subset(60),
            passes=2,
        )
        bounds.append(found.bits_per_dim)
    assert bounds[1] < bounds[0] - 0.05
