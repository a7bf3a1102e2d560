"""The probability-flow ODE with adaptive steps: x̂ to a tolerance, downwards and upwards.

Its coordinates are the variance-preserving y = z/√(α² + σ²) and the angle φ = arctan(σ/α), in which nothing
is large at either end (Salimans & Ho 2022):

    dy/dφ = cos φ · ε̂ − sin φ · x̂,    dφ/dt = ½ sin φ cos φ · γ′(t).

The same y and φ belong to every scaling; a schedule per dimension has an angle per dimension.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.domains import Settings, Share, Within
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.models.diffusion.grids import check_grid
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import along
from vlb.models.diffusion.samplers.adaptive import Field, Tolerances, solve


@dataclass(frozen=True)
class ProbabilityFlow(Settings):
    """Dormand–Prince 5(4) on the PF-ODE: order 5, with strides that keep the local error within tolerance.

    rtol, atol: relative and absolute tolerance of y, whose noise has unit scale. Of a grid only the ends
    matter. With a network in float32, a tolerance below about 1e-6 costs evaluations and gains nothing.
    """

    rtol: Share = 1e-5
    atol: Annotated[float, Within(1e-14, 1)] = 1e-5

    @property
    def evaluations(self) -> None:
        return None

    def __call__(
        self,
        model: DiffusionModel,
        z_1: Tensor,
        grid: Tensor,
        generator: torch.Generator,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """z at grid[0] from z_1 at grid[-1], like z_1; the generator is not used. Raises `UserError`."""
        check_grid(grid)
        return self.flow(model, z_1, float(grid[-1]), float(grid[0]), condition)

    def encode(self, model: DiffusionModel, z_0: Tensor, grid: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """z at grid[-1] from z_0 at grid[0], like z_0: the inverse of the call, to tolerance. Raises `UserError`."""
        check_grid(grid)
        return self.flow(model, z_0, float(grid[0]), float(grid[-1]), condition)

    @torch.no_grad()
    def flow(
        self, model: DiffusionModel, z: Tensor, start: float, end: float, condition: Condition = UNCONDITIONAL
    ) -> Tensor:
        """z at time `end` from z at time `start`, in either direction: (batch, *shape)."""
        y = z / _norm(model, start, z)
        for point in solve(flow_field(model, condition), y, start, end, Tolerances(self.rtol, self.atol)):
            y = point.y
        return y * _norm(model, end, z)


OFFERED: dict[str, type] = {"ode": ProbabilityFlow}


def flow_field(model: DiffusionModel, condition: Condition = UNCONDITIONAL) -> Field:
    """dy/dt of the PF-ODE in variance-preserving coordinates: (t, y (batch, *shape)) -> like y."""
    model.check_condition(condition)
    process = model.process

    def field(t: float, y: Tensor) -> Tensor:
        time = torch.tensor([t], dtype=torch.float64, device=y.device)
        gamma = process.schedule.gamma(time)
        wide = along(gamma, y)
        cos, sin = torch.sigmoid(-wide).sqrt(), torch.sigmoid(wide).sqrt()
        alpha, sigma = process.scaling(wide)
        z = torch.hypot(alpha, sigma).to(y.dtype) * y
        x, eps, _ = model.denoise(z, gamma, condition)
        speed = 0.5 * sin * cos * along(process.schedule.rate(time), y)
        return (speed * cos).to(y.dtype) * eps.to(y.dtype) - (speed * sin).to(y.dtype) * x.to(y.dtype)

    return field


def _norm(model: DiffusionModel, t: float, z: Tensor) -> Tensor:
    """√(α² + σ²) at time t, in the dtype of z."""
    time = torch.tensor([t], dtype=torch.float64, device=z.device)
    return torch.hypot(*model.process.alpha_sigma(time, z)).to(z.dtype)
