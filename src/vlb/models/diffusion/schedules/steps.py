"""Schedules of models in discrete time: T numbered steps, of which each adds noise of a given variance β.

γ at step n is that of ᾱ = Π (1 − β) over the steps up to n; between two steps it is linear in the number, and beyond
the first and the last it goes on as a straight line. With the ends of the steps themselves, step n is at t = n/(T − 1).
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Self

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import Within
from vlb.models.diffusion.schedules.base import Restricted
from vlb.models.diffusion.schedules.named import Shift

Beta = Annotated[float, Within(1e-8, 0.999)]


@dataclass(frozen=True)
class NumberedSteps(Restricted):
    """`count` steps, T; all of γ is moved by `shift`."""

    count: Annotated[int, Within(2, 100_000)] = 1000
    shift: Shift = 0.0

    @property
    @abstractmethod
    def betas(self) -> Tensor:
        """β of each step, (T,) float64."""

    @cached_property
    def table(self) -> Tensor:
        """γ at each step, (T,) float64."""
        total = -torch.log1p(-self.betas).cumsum(0)  # −log ᾱ
        return total + torch.log(-torch.expm1(-total)) + self.shift

    def number(self, gamma: Tensor) -> Tensor:
        """The step, of 0 … T − 1 and not rounded, with a noise level; the first or the last of what lies beyond."""
        return (self.unit_inverse(gamma) * (self.count - 1)).clamp(0, self.count - 1)

    def among(self, levels: int) -> Self:
        """The schedule of x at the centres of bins that has these steps for x from −1 to 1 (`numbered`), between its
        own ends."""
        shift = self.shift - 2 * math.log(levels / (levels - 1))
        first, last = (float(end) - self.shift + shift for end in self.table[[0, -1]])
        return replace(self, gamma_0=first, gamma_1=last, shift=shift)

    def unit_gamma(self, u: Tensor) -> Tensor:
        place = u.double() * (self.count - 1)
        below = place.detach().floor().clamp(0, self.count - 2).long()
        table = self.table.to(u.device)
        return table[below] + (place - below) * (table[below + 1] - table[below])

    def unit_inverse(self, gamma: Tensor) -> Tensor:
        gamma, table = gamma.double(), self.table.to(gamma.device)
        below = (torch.searchsorted(table, gamma.detach().contiguous(), right=True) - 1).clamp(0, self.count - 2)
        return (below + (gamma - table[below]) / (table[below + 1] - table[below])) / (self.count - 1)

    def unit_rate(self, u: Tensor) -> Tensor:
        below = (u.double() * (self.count - 1)).floor().clamp(0, self.count - 2).long()
        table = self.table.to(u.device)
        return (table[below + 1] - table[below]) * (self.count - 1)


@dataclass(frozen=True)
class LinearSteps(NumberedSteps):
    """β from `first` to `last` in equal differences (Ho et al. 2020)."""

    first: Beta = 1e-4
    last: Beta = 0.02

    @property
    def betas(self) -> Tensor:
        return torch.linspace(self.first, self.last, self.count, dtype=torch.float64)


@dataclass(frozen=True)
class ScaledLinearSteps(NumberedSteps):
    """√β from √first to √last in equal differences (Rombach et al. 2022)."""

    first: Beta = 0.00085
    last: Beta = 0.012

    @property
    def betas(self) -> Tensor:
        return torch.linspace(self.first**0.5, self.last**0.5, self.count, dtype=torch.float64) ** 2


@dataclass(frozen=True)
class CosineSteps(NumberedSteps):
    """ᾱ ∝ cos²(π/2 · (u + 0.008)/1.008) at u = (n + 1)/T, with β of `largest` at most (Nichol & Dhariwal 2021)."""

    largest: Beta = 0.999

    @property
    def betas(self) -> Tensor:
        u = torch.arange(self.count + 1, dtype=torch.float64) / self.count
        kept = torch.cos((u + 0.008) / 1.008 * (torch.pi / 2)) ** 2
        return (1 - kept[1:] / kept[:-1]).clamp(max=self.largest)


STEPS: dict[str, type] = {
    "linear-steps": LinearSteps,
    "scaled-linear-steps": ScaledLinearSteps,
    "cosine-steps": CosineSteps,
}
NUMBERED = Family("schedule of numbered steps", STEPS)
AnySteps = Annotated[LinearSteps | ScaledLinearSteps | CosineSteps, NUMBERED]
