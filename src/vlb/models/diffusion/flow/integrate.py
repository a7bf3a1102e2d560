"""Solvers of dy/dt = f(t, y) over a grid of times, with what they cost: adaptive steps, or the grid's own.

Both step by the method of Dormand & Prince, of order 5. All examples of a batch take the same steps – adaptive
ones, those that the worst of them needs – so a network is asked at one time for the whole batch.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from torch import Tensor

from vlb.base.domains import Settings, Share, Within
from vlb.models.diffusion.grids import check_grid
from vlb.models.diffusion.samplers.adaptive import NODES, Field, dormand_prince, solve


class Solution(NamedTuple):
    """y at the last time of the grid, and how often the field was evaluated."""

    y: Tensor
    evaluations: int


class Integrator(Protocol):
    """From y (batch, n) at grid[0] to grid[-1]; grid (T + 1,) increasing in [0, 1]."""

    def __call__(self, field: Field, y: Tensor, grid: Tensor) -> Solution: ...


@dataclass(frozen=True)
class AdaptiveSteps(Settings):
    """Steps whose local error stays within atol + rtol |y|, in the root mean square over an example.

    Of a grid only the ends matter. With a network in float32, a tolerance below about 1e-6 costs evaluations and
    gains nothing.
    """

    rtol: Share = 1e-5
    atol: Annotated[float, Within(1e-14, 1)] = 1e-5

    def __str__(self) -> str:
        if self.rtol == self.atol:
            return f"adaptive steps, tolerance {self.atol:g}"
        return f"adaptive steps, tolerance {self.atol:g} + {self.rtol:g} |y|"

    def __call__(self, field: Field, y: Tensor, grid: Tensor) -> Solution:
        check_grid(grid)
        *_, last = solve(field, y, float(grid[0]), float(grid[-1]), rtol=self.rtol, atol=self.atol)
        return Solution(last.y, last.evaluations)


ADAPTIVE = AdaptiveSteps()


@dataclass(frozen=True)
class FixedSteps:
    """One step between neighbouring times of the grid: six evaluations each."""

    def __str__(self) -> str:
        return "fixed steps"

    def __call__(self, field: Field, y: Tensor, grid: Tensor) -> Solution:
        check_grid(grid)
        times = grid.tolist()
        slope = field(times[0], y)
        for t, stride in zip(times, grid.diff().tolist(), strict=False):
            trial = dormand_prince(field, t, y, slope, stride)
            y, slope = trial.y, trial.slope
        return Solution(y, 1 + (len(NODES) - 1) * (len(times) - 1))
