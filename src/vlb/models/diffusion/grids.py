"""Step grids: T + 1 increasing times from 0 to 1, float64, where a sampler evaluates the denoiser.

A grid says where the steps are, whatever the schedule says about training. All of these are placed on
the schedule's scalar reference coordinate γ = −λ.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError
from vlb.models.diffusion.schedules import Schedule

Density = Callable[[Tensor], Tensor]


class Grid(Settings, ABC):
    """Where the steps are: increasing times from 0 to 1 under a schedule."""

    @abstractmethod
    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """The times of T steps, (T + 1,) float64. Raises `UserError` for less than one step."""

    def build(self, learned: Callable[[], Density]) -> "Grid":
        """The grid that is called; learned: the p(λ) that training learned, or an error, asked only where needed."""
        return self


@dataclass(frozen=True)
class UniformT(Grid):
    """T equal steps in t."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.linspace(0, 1, _positive(steps) + 1, dtype=torch.float64)


@dataclass(frozen=True)
class UniformLogSNR(Grid):
    """T equal steps in λ = log SNR (Lu et al. 2022)."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return _times(
            schedule, torch.linspace(schedule.gamma_0, schedule.gamma_1, _positive(steps) + 1, dtype=torch.float64)
        )


@dataclass(frozen=True)
class EDMGrid(Grid):
    """T equal steps in σ̃^{1/ρ}, σ̃ = σ/α (Karras et al. 2022, Eq. 5).

    A larger ρ puts more steps where there is little noise. Raises `UserError` unless ρ > 0.
    """

    rho: Annotated[float, Within(0.1, 1e9)] = 7.0

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        # σ̃^{1/ρ} relative to its largest value, so that no noise level overflows.
        smallest = torch.tensor(0.5 * (schedule.gamma_0 - schedule.gamma_1) / self.rho, dtype=torch.float64).exp()
        root = smallest + (1 - smallest) * torch.linspace(0, 1, _positive(steps) + 1, dtype=torch.float64)
        return _times(schedule, schedule.gamma_1 + 2 * self.rho * root.log())


@dataclass(frozen=True)
class Quantiles(Grid):
    """T steps with equal shares of a density over λ.

    density: λ (n,) -> values ≥ 0 (n,), of any total: a learned p(λ), the measured error per λ, another schedule's
    `density`. It is integrated by trapezoids between `points` equidistant nodes. Raises `UserError` where it is
    negative, not finite, zero throughout, or so narrow that two steps fall together.
    """

    density: Density
    points: Annotated[int, Within(2, 10**7)] = 10_001

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        gamma = torch.linspace(schedule.gamma_0, schedule.gamma_1, self.points, dtype=torch.float64)
        values = self.density(-gamma).detach().cpu().double().reshape(-1)
        if values.shape != gamma.shape or not bool(values.isfinite().all()) or bool((values < 0).any()):
            raise UserError("the density of a step grid must return one finite value ≥ 0 for each λ it is given")
        cumulative = torch.cat((torch.zeros(1, dtype=torch.float64), torch.cumulative_trapezoid(values, gamma)))
        if not cumulative[-1] > 0:
            raise UserError(
                f"the density of a step grid is zero on all of λ from {-schedule.gamma_1:g} to {-schedule.gamma_0:g}: "
                "give one with some mass there"
            )
        target = torch.linspace(0, 1, _positive(steps) + 1, dtype=torch.float64) * cumulative[-1]
        above = torch.searchsorted(cumulative, target).clamp(1, self.points - 1)
        low, high = cumulative[above - 1], cumulative[above]
        share = torch.where(high > low, (target - low) / (high - low), 0.0)
        grid = _times(schedule, gamma[above - 1] + share * (gamma[above] - gamma[above - 1]))
        check_grid(grid)
        return grid


@dataclass(frozen=True)
class LearnedQuantiles:
    """T steps with equal shares of the p(λ) that the times of a loss learned; built from it."""

    def build(self, learned: Callable[[], Density]) -> Quantiles:
        """The grid of that p(λ)."""
        return Quantiles(learned())


GRIDS = Family("step grid", {"t": UniformT, "snr": UniformLogSNR, "edm": EDMGrid, "learned": LearnedQuantiles})


def check_grid(grid: Tensor) -> None:
    """Raises `UserError` unless `grid` is (T + 1,) increasing times in [0, 1], T ≥ 1."""
    if grid.ndim != 1 or len(grid) < 2:
        raise UserError(f"a step grid is a list of at least two times, not of shape {tuple(grid.shape)}")
    if not bool((grid.diff() > 0).all()):
        where = int((~(grid.diff() > 0)).nonzero()[0])
        raise UserError(
            f"a step grid must increase, and t[{where}] = {float(grid[where]):g} is followed by "
            f"{float(grid[where + 1]):g}: sort it, and leave out repeated times"
        )
    if not (grid[0] >= 0 and grid[-1] <= 1):
        raise UserError(f"the times of a step grid lie in [0, 1], not from {float(grid[0]):g} to {float(grid[-1]):g}")


def _positive(steps: int) -> int:
    if steps < 1:
        raise UserError(f"a step grid needs at least one step, not {steps}")
    return steps


def _times(schedule: Schedule, gamma: Tensor) -> Tensor:
    """The times of increasing γ, with ends that are 0 and 1 without round-off."""
    with torch.no_grad():
        times = schedule.inverse(gamma.to(schedule.device)).cpu()
    times[0], times[-1] = 0.0, 1.0
    return times
