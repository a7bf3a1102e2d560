"""What x is: how data enter the process as numbers, and how p(x | z_0) is read from z_0.

Discrete data are never treated as continuous ones: their p(x | z_0) is a mass over levels and is
part of every bound (A.39–A.42 hold for no discrete data).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vlb.core.distributions import Categorical, Distribution, Normal


class Observation(Protocol):
    """The kind of data a model is of."""

    def embed(self, x: Tensor) -> Tensor:
        """Data as the floating-point numbers that the process diffuses, same shape."""

    def decode(self, z_0: Tensor, alpha: Tensor, sigma: Tensor) -> Distribution:
        """p(x | z_0) where the denoiser offers none of its own."""


@dataclass(frozen=True)
class Levels:
    """Integers 0 … K−1, embedded as the centres v_k = (2k + 1)/K − 1 of K equal bins of [−1, 1].

    The embedded data are not standardised: V[x] ≠ 1 in Eq. 3.8, and nothing here assumes it.
    """

    count: int

    def values(self, like: Tensor) -> Tensor:
        """v_k, (K,), with the dtype and device of `like`."""
        return ((2 * torch.arange(self.count, dtype=torch.float64) + 1) / self.count - 1).to(like)

    def embed(self, x: Tensor) -> Tensor:
        return (2 * x.float() + 1) / self.count - 1

    def decode(self, z_0: Tensor, alpha: Tensor, sigma: Tensor) -> Categorical:
        """p(x = k | z_0) ∝ N(z_0; α₀ v_k, σ₀²): independent of what the network knows."""
        return Categorical(log_likelihoods(z_0, self.values(z_0), alpha, sigma))


@dataclass(frozen=True)
class Continuous:
    """Real numbers as they are; p(x | z_0) = N(z_0/α₀, σ₀²/α₀²), a density."""

    def embed(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z_0: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
        return Normal(z_0 / alpha.to(z_0.dtype), 2 * (sigma / alpha).log())


def log_likelihoods(z: Tensor, values: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """log N(z; α v_k, σ²) up to a constant: z (batch, *shape), values (K,) -> (batch, *shape, K)."""
    return -0.5 * deviations(z, values, alpha, sigma) ** 2


def deviations(z: Tensor, values: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """(z − α v_k)/σ: z (batch, *shape), values (K,) -> (batch, *shape, K).

    To be squared as it is: the expanded square would cancel at high SNR.
    """
    return (z / sigma.to(z.dtype)).unsqueeze(-1) - (alpha / sigma).to(z.dtype).unsqueeze(-1) * values
