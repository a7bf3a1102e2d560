"""What a noise schedule answers, and how a named one is given finite ends."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError


class Place(NamedTuple):
    """Noise levels of a batch of times, as training sees them.

    gamma, rate: γ(t) and γ′(t), (batch, 1 or D). shape: the tensors (batch, …) through which gradients
    reach parameters that move γ between its ends only; the bound does not depend on them, its variance does.
    """

    gamma: Tensor
    rate: Tensor
    shape: tuple[Tensor, ...] = ()


class Schedule(nn.Module, ABC):
    """γ(t) with its inverse and rate, finite at both ends."""

    def __init__(self, gamma_0: float, gamma_1: float) -> None:
        """Raises `UserError` unless γ₀ < γ₁, both finite."""
        super().__init__()
        check_ends(gamma_0, gamma_1)
        self._ends = (float(gamma_0), float(gamma_1))

    @property
    def gamma_0(self) -> float:
        """γ at t = 0 (data), of the scalar reference coordinate."""
        return self._ends[0]

    @property
    def gamma_1(self) -> float:
        """γ at t = 1 (noise), of the scalar reference coordinate."""
        return self._ends[1]

    @abstractmethod
    def gamma(self, t: Tensor) -> Tensor:
        """γ(t): (…,) -> (…, 1) or (…, D), float64."""

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


class Restricted(Schedule):
    """A named γ of u ∈ (0, 1), restricted to u = u₀ + (u₁ − u₀) t, where γ runs from γ₀ to γ₁."""

    def __init__(self, gamma_0: float, gamma_1: float) -> None:
        super().__init__(gamma_0, gamma_1)
        ends = self.unit_inverse(torch.tensor([gamma_0, gamma_1], dtype=torch.float64))
        self.start, self.width = ends[0].item(), (ends[1] - ends[0]).item()

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
        return self.unit_gamma(self.start + self.width * t.double()).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        return (self.unit_inverse(gamma.double()) - self.start) / self.width

    def rate(self, t: Tensor) -> Tensor:
        return (self.width * self.unit_rate(self.start + self.width * t.double())).unsqueeze(-1)


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
