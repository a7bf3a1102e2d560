"""What a noise schedule answers, and how a named one is given finite ends."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError

# On digits, by a model whose exact bound is known: below, float32 does not tell z from αx, costing 0.002 bits/dim at
# γ₀ = −24, 0.01 at −30, 0.2 at −33, 3.7 at −36; above, nothing is to be learned, and at 10⁶ draws of λ miss what is.
Gamma = Annotated[float, Within(-25, 50)]


class Place(NamedTuple):
    """Noise levels of a batch of times, as training sees them.

    gamma, rate: γ(t) and γ′(t), (batch, 1 or D). shape: the tensors (batch, …) through which gradients
    reach parameters that move γ between its ends only; the bound does not depend on them, its variance does.
    """

    gamma: Tensor
    rate: Tensor
    shape: tuple[Tensor, ...] = ()


class Schedule(ABC):
    """γ(t) with its inverse and rate, finite at both ends.

    learns_density: whether it learns its shape, p(λ), from the variance of the loss.
    """

    learns_density: ClassVar = False

    @property
    def learns_ends(self) -> bool:
        """Whether the ends are learned."""
        return False

    @property
    @abstractmethod
    def gamma_0(self) -> float:
        """γ at t = 0 (data), of the scalar reference coordinate."""

    @property
    @abstractmethod
    def gamma_1(self) -> float:
        """γ at t = 1 (noise), of the scalar reference coordinate."""

    @property
    def device(self) -> torch.device:
        """Where the tensors of a schedule that learns are; others have none, and answer where they are asked."""
        return torch.device("cpu")

    @abstractmethod
    def gamma(self, t: Tensor) -> Tensor:
        """γ(t) = −log SNR(t) (A.14): (…,) -> (…, 1) or (…, D), float64."""

    @abstractmethod
    def inverse(self, gamma: Tensor) -> Tensor:
        """t with γ(t) = `gamma`, of the scalar reference coordinate: (…,) -> (…,), float64."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """γ′(t) > 0: (…,) -> (…, 1) or (…, D), float64."""

    def place(self, t: Tensor) -> Place:
        """γ and γ′ at times t (batch,), with what learns its shape from the variance of the loss."""
        return Place(self.gamma(t), self.rate(t))

    def density(self, log_snr: Tensor) -> Tensor:
        """p(λ) = −dt/dλ, the density of λ when t is uniform (Eq. 4.100–4.102): (…,) -> (…,)."""
        return 1 / self.rate(self.inverse(-log_snr)).mean(-1)


@dataclass(frozen=True)
class Ends(Settings):
    """Where a schedule begins, at γ₀ (data), and ends, at γ₁ (noise), whatever its shape.

    Raises `UserError` unless γ₀ < γ₁, both finite.
    """

    gamma_0: Gamma = -13.3
    gamma_1: Gamma = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ends(self.gamma_0, self.gamma_1)


@dataclass(frozen=True)
class FixedSchedule(Ends, Schedule):
    """A schedule that learns nothing: its own configuration."""

    def build(self, dimensions: int) -> Self:
        """Itself; dimensions: of the data."""
        return self


@dataclass(frozen=True)
class Restricted(FixedSchedule):
    """A named γ of u ∈ (0, 1), restricted to u = u₀ + (u₁ − u₀) t, where γ runs from γ₀ to γ₁.

    Raises `UserError` where float64 does not tell u₀ from u₁.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            told_apart = 0 < self.stretch[1] < math.inf
        except OverflowError:
            told_apart = False
        if not told_apart:
            raise UserError(f"{self}: there is nothing of this schedule between its ends; choose other values")

    @cached_property
    def stretch(self) -> tuple[float, float]:
        """u₀ and u₁ − u₀."""
        ends = self.unit_inverse(torch.tensor([self.gamma_0, self.gamma_1], dtype=torch.float64))
        return ends[0].item(), (ends[1] - ends[0]).item()

    @abstractmethod
    def unit_gamma(self, u: Tensor) -> Tensor:
        """The unrestricted γ(u)."""

    @abstractmethod
    def unit_inverse(self, gamma: Tensor) -> Tensor:
        """u with γ(u) = `gamma`."""

    @abstractmethod
    def unit_rate(self, u: Tensor) -> Tensor:
        """dγ/du."""

    def gamma(self, t: Tensor) -> Tensor:
        start, width = self.stretch
        return self.unit_gamma(start + width * t.double()).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        start, width = self.stretch
        return (self.unit_inverse(gamma.double()) - start) / width

    def rate(self, t: Tensor) -> Tensor:
        start, width = self.stretch
        return (width * self.unit_rate(start + width * t.double())).unsqueeze(-1)


def check_ends(gamma_0: float, gamma_1: float) -> None:
    """Raises `UserError` unless γ₀ < γ₁, both finite."""
    if not (math.isfinite(gamma_0) and math.isfinite(gamma_1)):
        raise UserError(f"the ends of a noise schedule must be finite, not γ₀ = {gamma_0}, γ₁ = {gamma_1}")
    if not gamma_0 < gamma_1:
        raise UserError(
            f"a noise schedule needs γ₀ < γ₁ (γ = −log SNR grows with noise), not γ₀ = {gamma_0}, γ₁ = {gamma_1}"
        )


@torch.no_grad()
def bisect(increasing: Callable[[Tensor], Tensor], target: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """u in [low, high] with increasing(u) = target, to float64 precision: (…,) -> (…,)."""
    target = target.double()
    below, above = torch.full_like(target, low), torch.full_like(target, high)
    for _ in range(60):
        middle = 0.5 * (below + above)
        smaller = increasing(middle) < target
        below, above = torch.where(smaller, middle, below), torch.where(smaller, above, middle)
    return 0.5 * (below + above)
