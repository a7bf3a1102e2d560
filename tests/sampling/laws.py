"""What the samplers' tests share: observed orders, moments without Monte Carlo, Gaussian data per dimension."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.emissions import Continuous
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion, along
from vlb.models.diffusion.samplers.stepping import FixedStep, Reverse, arrive
from vlb.models.diffusion.schedules import FixedSchedule, LogSNRLinear, Schedule

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


def observed_order(error: Callable[[int], float], steps: tuple[int, ...]) -> float:
    """The slope of log error against log step, by least squares over numbers of steps."""
    x = torch.tensor([-math.log(n) for n in steps], dtype=torch.float64)
    y = torch.tensor([math.log(error(n)) for n in steps], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / (x * x).sum()).item()


@dataclass(frozen=True)
class ChosenNoise(Reverse):
    """Hands out given noise in place of random draws: one tensor per draw."""

    draws: list[Tensor] = field(default_factory=list)

    def noise(self, z: Tensor) -> Tensor:
        return self.draws.pop(0).expand_as(z).to(z)


def variance(method: FixedStep, model: DiffusionModel, grid: Tensor, start: float) -> float:
    """V[z_0] of a sampler on zero-mean Gaussian data on the line, exactly: z_1 ~ N(0, start).

    The sampler is linear in z_1 and its draws there. One row of the batch follows a unit of each of them,
    and the squares add up.
    """
    steps = len(grid) - 1
    z_1 = torch.zeros(steps + 1, 1, dtype=torch.float64)
    z_1[0] = math.sqrt(start)
    draws = list(torch.eye(steps + 1, dtype=torch.float64)[1:].unsqueeze(-1))
    reverse = ChosenNoise(model, torch.Generator(), UNCONDITIONAL, draws)
    return arrive(method, reverse, z_1, grid.flip(0)).square().sum().item()


@dataclass(frozen=True, eq=False)
class Bent(FixedSchedule):
    """γ_d(t) = γ₀ + (γ₁ − γ₀)(t + b_d t(1 − t)), |b_d| < 1: a schedule per dimension between the same ends."""

    bends: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))

    def gamma(self, t: Tensor) -> Tensor:
        u = t.double().unsqueeze(-1)
        return self.gamma_0 + (self.gamma_1 - self.gamma_0) * (u + self.bends * u * (1 - u))

    def inverse(self, gamma: Tensor) -> Tensor:
        return (gamma.double() - self.gamma_0) / (self.gamma_1 - self.gamma_0)

    def rate(self, t: Tensor) -> Tensor:
        return (self.gamma_1 - self.gamma_0) * (1 + self.bends * (1 - 2 * t.double().unsqueeze(-1)))


class GaussianDenoiser:
    """E[x | z] of independent N(mean_d, variance_d), under variance preservation and any schedule."""

    decodes = False
    takes = NOTHING

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        self.mean, self.variance = mean.double(), variance.double()

    def __call__(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        alpha, sigma = VP()(along(gamma, z))
        error = z - alpha * self.mean
        total = alpha**2 * self.variance + sigma**2
        return Prediction(self.mean + alpha * self.variance / total * error, sigma / total * error, None)


def gaussian_model(mean: Tensor, variance: Tensor, schedule: Schedule | None = None) -> DiffusionModel:
    """The exact diffusion model of independent Gaussians."""
    process = GaussianDiffusion(schedule or LogSNRLinear(-6.0, 4.0))
    return DiffusionModel(process, GaussianDenoiser(mean, variance), Continuous(), tuple(mean.shape))
