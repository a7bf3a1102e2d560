"""Schedules that a user composes: one per column, or any increasing function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import Settings
from vlb.base.errors import UserError
from vlb.models.diffusion.schedules.base import FixedSchedule, Schedule, bisect, check_ends
from vlb.models.diffusion.schedules.named import NAMED

COLUMN_SCHEDULES = Family("noise schedule of one column", NAMED)
ColumnSchedule = Annotated[FixedSchedule, COLUMN_SCHEDULES]


@dataclass(frozen=True)
class PerColumn(Settings, Schedule):
    """A given schedule for each of D dimensions, each with its own ends (Mueller et al. 2023).

    The reference coordinate is the mean of γ over dimensions.
    """

    columns: tuple[ColumnSchedule, ...] = ()

    def build(self, dimensions: int) -> Self:
        """Itself. Raises `UserError` unless there is one schedule for each of the data's dimensions."""
        if len(self.columns) != dimensions:
            raise UserError(
                f"columns lists one schedule per dimension: the data have {dimensions}, it has {len(self.columns)}"
            )
        return self

    @property
    def gamma_0(self) -> float:
        return sum(column.gamma_0 for column in self.columns) / len(self.columns)

    @property
    def gamma_1(self) -> float:
        return sum(column.gamma_1 for column in self.columns) / len(self.columns)

    def gamma(self, t: Tensor) -> Tensor:
        return torch.cat([column.gamma(t) for column in self.columns], -1)

    def rate(self, t: Tensor) -> Tensor:
        return torch.cat([column.rate(t) for column in self.columns], -1)

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(lambda t: self.gamma(t).mean(-1), gamma)


@dataclass(frozen=True)
class FromFunction(Schedule):
    """A γ(t) of one's own: any increasing function of float64 t ∈ [0, 1] that autograd can differentiate.

    Its values at 0 and 1 are the ends; its inverse is found by bisection, its rate by autograd. Only Python can offer
    it. Raises `UserError` where γ is not finite or does not increase.
    """

    function: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        t = torch.linspace(0, 1, 1001, dtype=torch.float64)
        values = self.function(t).detach().double()
        check_ends(values[0].item(), values[-1].item())
        falls = ~(values.diff() > 0)
        if bool(falls.any()):
            where = t[int(falls.double().argmax())].item()
            raise UserError(
                f"a noise schedule must increase (γ = −log SNR grows with noise); this one stops at t = {where:.3f}"
            )

    def build(self, dimensions: int) -> Self:
        """Itself."""
        return self

    @cached_property
    def _ends(self) -> tuple[float, float]:
        first, last = self.function(torch.tensor([0.0, 1.0], dtype=torch.float64)).detach().tolist()
        return first, last

    @property
    def gamma_0(self) -> float:
        return self._ends[0]

    @property
    def gamma_1(self) -> float:
        return self._ends[1]

    def gamma(self, t: Tensor) -> Tensor:
        return self.function(t.double()).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(self.function, gamma)

    def rate(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            time = t.detach().double().requires_grad_()
            (slope,) = torch.autograd.grad(self.function(time).sum(), time)
        return slope.unsqueeze(-1)


GIVEN: dict[str, type] = {"per-column": PerColumn}
