"""Solvers of dy/dt = f(t, y) over a grid of times, with what they cost: adaptive steps, or the grid's own.

Both step by the method of Dormand & Prince, of order 5. All examples of a batch take the same steps – adaptive
ones, those that the worst of them needs – so a network is asked at one time for the whole batch. Each names another
solver, whose solution differs by about the error of the less exact of the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import torch
from torch import Tensor

from vlb.base.domains import Settings, Within
from vlb.models.diffusion.grids import check_grid
from vlb.models.diffusion.samplers.adaptive import NODES, Field, dormand_prince, solve

# What the error (batch, n) of a step from t costs, (batch,).
Cost = Callable[[float, Tensor], Tensor]


class Solution(NamedTuple):
    """y at the last time of the grid, and how often the field was evaluated."""

    y: Tensor
    evaluations: int


class Integrator(Protocol):
    """From y (batch, n) at grid[0] to grid[-1]; grid (T + 1,) increasing in [0, 1]; cost: of a step's error."""

    def __call__(self, field: Field, y: Tensor, grid: Tensor, cost: Cost) -> Solution: ...

    def other(self, grid: Tensor) -> tuple["Integrator", Tensor]:
        """Another solver and its grid, to tell the error by."""


@dataclass(frozen=True)
class AdaptiveSteps(Settings):
    """Steps whose local error costs at most `tolerance`, the largest of the batch.

    Of a grid only the ends matter. With a network in float32, a tolerance below about 1e-6 costs evaluations and
    gains nothing.
    """

    tolerance: Annotated[float, Within(1e-14, 1)] = 1e-5

    def __str__(self) -> str:
        return f"adaptive steps, tolerance {self.tolerance:g}"

    def __call__(self, field: Field, y: Tensor, grid: Tensor, cost: Cost) -> Solution:
        check_grid(grid)

        def size(t: float, error: Tensor, old: Tensor, new: Tensor) -> float:
            return cost(t, error).max().item() / self.tolerance

        *_, last = solve(field, y, float(grid[0]), float(grid[-1]), size)
        return Solution(last.y, last.evaluations)

    def other(self, grid: Tensor) -> tuple[Integrator, Tensor]:
        """With ten times the tolerance: about the ten-fold error, and two thirds of the steps."""
        return AdaptiveSteps(10 * self.tolerance), grid


ADAPTIVE = AdaptiveSteps()


@dataclass(frozen=True)
class FixedSteps:
    """One step between neighbouring times of the grid: six evaluations each."""

    def __str__(self) -> str:
        return "fixed steps"

    def __call__(self, field: Field, y: Tensor, grid: Tensor, cost: Cost) -> Solution:
        check_grid(grid)
        times = grid.tolist()
        slope = field(times[0], y)
        for t, stride in zip(times, grid.diff().tolist(), strict=False):
            trial = dormand_prince(field, t, y, slope, stride)
            y, slope = trial.y, trial.slope
        return Solution(y, 1 + (len(NODES) - 1) * (len(times) - 1))

    def other(self, grid: Tensor) -> tuple[Integrator, Tensor]:
        """With every other time, or with one between where there is a single step."""
        if len(grid) == 2:
            return self, torch.cat((grid[:1], grid.mean().reshape(1), grid[1:]))
        return self, torch.cat((grid[:-1:2], grid[-1:]))
