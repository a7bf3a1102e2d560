"""Levels as the centres of bins of [−1, 1], and real numbers as they are.

Discrete data are never treated as continuous ones: their p(x | z_0) is a mass over levels and is part of every bound
(A.39–A.42 hold for no discrete data).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.distributions import Normal
from vlb.core.emissions.laws import Listed


@dataclass(frozen=True)
class Centres:
    """Integers 0 … K−1, embedded as the centres v_k = (2k + 1)/K − 1 of K equal bins of [−1, 1].

    The embedded data are not standardised: V[x] ≠ 1 in Eq. 3.8, and nothing here assumes it.
    """

    count: int

    def values(self, like: Tensor) -> Tensor:
        """v_k, (K,), with the dtype and device of `like`."""
        return ((2 * torch.arange(self.count, dtype=torch.float64) + 1) / self.count - 1).to(like)

    def embed(self, x: Tensor) -> Tensor:
        """x (batch, *shape) as the centre of its bin, float32."""
        return (2 * x.float() + 1) / self.count - 1

    def nearest(self, value: Tensor) -> Tensor:
        """The level in whose bin a number lies, the outermost ones reaching to infinity: int64."""
        return ((value + 1) * (self.count / 2)).floor().clamp(0, self.count - 1).long()

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Listed:
        """p(x = k | z) ∝ N(z; α v_k, σ²): independent of what a network knows."""
        values = self.values(z)
        return Listed(torch.zeros((), dtype=z.dtype, device=z.device), values).given(z, alpha, sigma)


@dataclass(frozen=True)
class Continuous:
    """Real numbers as they are; p(x | z) = N(z/α, σ²/α²), a density."""

    def embed(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
        """The Gaussian about z/α."""
        return Normal(z / alpha.to(z.dtype), 2 * (sigma / alpha).log())
