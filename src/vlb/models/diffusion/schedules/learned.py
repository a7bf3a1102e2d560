"""Schedules that are learned: one γ by the variance of the loss, or one per dimension by the bound (Section A.2).

The bound of a scalar schedule depends on its ends alone (Eq. 4.86), so that its ends are trained on the
bound – γ₀ trades the reconstruction term and γ₁ the prior term against the diffusion term between them –
and its shape on the variance of the loss (Kingma et al. 2021, §I.2). `Place.shape` marks the shape's
values; the objective multiplies the gradient that arrives there by 2L per example, which makes one
backward pass give d(L²)/dη = 2L·dL/dη to the shape and dL to everything else.

With one γ per dimension the integral becomes one along a path in D dimensions. For the exact denoiser
it still depends on the ends alone, since ½E(ε_d − ε̂_d)² are the partial derivatives of one function,
I(x; z); so it does for the exact denoiser of any other law. For a denoiser of no law, which a network
is, the path matters, and the whole schedule is trained on the bound.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from vlb.base.domains import Within
from vlb.base.errors import UserError
from vlb.models.diffusion.schedules.base import Ends, Place, Schedule, bisect, check_ends

UNITS = 32


class MonotoneShapes(nn.Module):
    """D increasing functions s of t (A.1) with s(0) = 0 and s(1) = 1, exactly; they start within 2 % of s = t.

    A network of one hidden layer with positive weights, normalised unit by unit: s is a convex combination
    of t and of the sigmoids σ(a(t − b)), each moved and scaled to run from 0 to 1.
    """

    def __init__(self, dimensions: int, units: int = UNITS) -> None:
        super().__init__()
        # Centres stay within (0, 1), by a sigmoid: outside, a steep unit would be flat and could not be scaled.
        centres = torch.logit((torch.arange(units, dtype=torch.float64) + 0.5) / units)
        self.log_slopes = nn.Parameter(torch.full((dimensions * units,), math.log(12.0), dtype=torch.float64))
        self.raw_centres = nn.Parameter(centres.repeat(dimensions))
        self.logits = nn.Parameter(torch.zeros(dimensions * (units + 1), dtype=torch.float64))
        self.dimensions = dimensions

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """s and s′: (…,) -> (…, D) each, float64."""
        t = t.double().unsqueeze(-1).unsqueeze(-1)
        slopes = self.log_slopes.view(self.dimensions, -1).exp()
        centres = self.raw_centres.view(self.dimensions, -1).sigmoid()
        weights = self.logits.view(self.dimensions, -1).softmax(-1)
        low, high = torch.sigmoid(-slopes * centres), torch.sigmoid(slopes * (1 - centres))
        value = torch.sigmoid(slopes * (t - centres))
        units = (value - low) / (high - low)
        rates = slopes * value * (1 - value) / (high - low)
        straight, curved = weights[:, 0], weights[:, 1:]
        return straight * t.squeeze(-1) + (curved * units).sum(-1), straight + (curved * rates).sum(-1)


class LearnedSchedule(nn.Module, Schedule):
    """γ_d(t) = γ₀_d + (γ₁_d − γ₀_d) s_d(t) with ends that are parameters, if learned, and cannot cross.

    The reference coordinate, in which w(λ) and p(λ) are stated, is the mean of γ over dimensions.
    """

    def __init__(self, gamma_0: float, gamma_1: float, dimensions: int, units: int, learn_ends: bool) -> None:
        super().__init__()
        check_ends(gamma_0, gamma_1)
        if units < 1 or dimensions < 1:
            raise UserError(f"a learned schedule needs units and dimensions, not {units} and {dimensions}")
        width = torch.full((dimensions,), math.log(gamma_1 - gamma_0), dtype=torch.float64)
        self.start = nn.Parameter(torch.full((dimensions,), gamma_0, dtype=torch.float64), requires_grad=learn_ends)
        self.log_width = nn.Parameter(width, requires_grad=learn_ends)
        self.shapes = MonotoneShapes(dimensions, units)

    @property
    def device(self) -> torch.device:
        return self.start.device

    @property
    def gamma_0(self) -> float:
        return float(self.start.detach().mean())

    @property
    def gamma_1(self) -> float:
        return float((self.start + self.log_width.exp()).detach().mean())

    def gamma(self, t: Tensor) -> Tensor:
        return self.start + self.log_width.exp() * self.shapes(t)[0]

    def rate(self, t: Tensor) -> Tensor:
        return self.log_width.exp() * self.shapes(t)[1]

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(lambda t: self.gamma(t).mean(-1), gamma)

    @property
    def learns_ends(self) -> bool:
        """Whether the ends are learned."""
        return self.start.requires_grad


class LearnedScalarSchedule(LearnedSchedule):
    """One γ(t) for all dimensions, whose shape is marked for the variance of the loss."""

    learns_density: ClassVar = True

    def place(self, t: Tensor) -> Place:
        value, rate = self.shapes(t)
        width = self.log_width.exp()
        return Place(self.start + width * value, width * rate, (value, rate))


@dataclass(frozen=True)
class Learned(Ends):
    """One γ(t) for all dimensions: its shape learns from the variance of the loss, its ends from the bound.

    gamma_0, gamma_1: where the ends begin, and stay unless `learn_ends`.
    """

    units: Annotated[int, Within(1, 1000)] = UNITS
    learn_ends: bool = True

    def build(self, dimensions: int) -> LearnedScalarSchedule:
        """The schedule, straight as yet. Raises `UserError` without units."""
        return LearnedScalarSchedule(self.gamma_0, self.gamma_1, 1, self.units, self.learn_ends)


@dataclass(frozen=True)
class LearnedPerDimension(Ends):
    """One γ_d(t) for each of D dimensions, learned from the bound (Sahoo et al. 2024, without dependence on x)."""

    units: Annotated[int, Within(1, 1000)] = 8
    learn_ends: bool = True

    def build(self, dimensions: int) -> LearnedSchedule:
        """The schedules, straight as yet. Raises `UserError` without units."""
        return LearnedSchedule(self.gamma_0, self.gamma_1, dimensions, self.units, self.learn_ends)


LEARNED: dict[str, type] = {"learned": Learned, "learned-per-dimension": LearnedPerDimension}
