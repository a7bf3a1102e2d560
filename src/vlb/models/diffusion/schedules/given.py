"""Schedules that a user composes: one per column, or any increasing function."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.models.diffusion.schedules.base import Schedule, bisect


class PerColumn(Schedule):
    """A given schedule for each of D dimensions, each with its own ends (Mueller et al. 2023).

    The reference coordinate is the mean of γ over dimensions.
    """

    def __init__(self, columns: Sequence[Schedule]) -> None:
        """columns: D schedules of one γ each. Raises `UserError` where there are none."""
        if not columns:
            raise UserError("a schedule per column needs at least one column")
        count = len(columns)
        super().__init__(sum(c.gamma_0 for c in columns) / count, sum(c.gamma_1 for c in columns) / count)
        self.columns = nn.ModuleList(columns)

    @property
    def gamma_0(self) -> float:
        return sum(c.gamma_0 for c in self._schedules()) / len(self.columns)

    @property
    def gamma_1(self) -> float:
        return sum(c.gamma_1 for c in self._schedules()) / len(self.columns)

    def _schedules(self) -> list[Schedule]:
        return [column for column in self.columns if isinstance(column, Schedule)]

    def gamma(self, t: Tensor) -> Tensor:
        return torch.cat([column.gamma(t) for column in self._schedules()], -1)

    def rate(self, t: Tensor) -> Tensor:
        return torch.cat([column.rate(t) for column in self._schedules()], -1)

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(lambda t: self.gamma(t).mean(-1), gamma)


class FromFunction(Schedule):
    """A γ(t) of one's own: any increasing function of float64 t ∈ [0, 1] that autograd can differentiate.

    Its values at 0 and 1 are the ends; its inverse is found by bisection, its rate by autograd.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        """function: (…,) -> (…,). Raises `UserError` where γ is not finite or does not increase."""
        t = torch.linspace(0, 1, 1001, dtype=torch.float64)
        values = function(t).detach().double()
        super().__init__(values[0].item(), values[-1].item())
        falls = ~(values.diff() > 0)
        if bool(falls.any()):
            where = t[int(falls.double().argmax())].item()
            raise UserError(
                f"a noise schedule must increase (γ = −log SNR grows with noise); this one stops at t = {where:.3f}"
            )
        self.function = function

    def gamma(self, t: Tensor) -> Tensor:
        return self.function(t.double()).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(self.function, gamma)

    def rate(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            time = t.detach().double().requires_grad_()
            (slope,) = torch.autograd.grad(self.function(time).sum(), time)
        return slope.unsqueeze(-1)
