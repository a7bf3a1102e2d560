"""Levels as the centres of bins of [−1, 1], and real numbers as they are.

Discrete data are never treated as continuous ones: their p(x | z_0) is a mass over levels and is part of every bound
(A.39–A.42 hold for no discrete data).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vlb.core.distributions import Normal, refuse_nan
from vlb.core.emissions.listed import Listed
from vlb.core.marginals import IMPOSSIBLE
from vlb.core.schema import Schema


@dataclass(frozen=True)
class Centres:
    """Integers 0 … K−1, embedded as the centres v_k = (2k + 1)/K − 1 of K equal bins of [−1, 1].

    The embedded data are not standardised: V[x] ≠ 1 in Eq. 3.8, and nothing here assumes it. count: K, the largest
    where elements differ; each: K of every element (D,) of a vector, where they differ.
    """

    count: int
    each: tuple[int, ...] | None = None

    @classmethod
    def of(cls, schema: Schema) -> Self:
        """Those of a schema. Raises `UserError` for data without levels."""
        counts = schema.counts
        return cls(schema.levels, counts if any(count != schema.levels for count in counts) else None)

    def counts(self, like: Tensor) -> Tensor:
        """K of every element, () or (D,), with the dtype and device of `like`."""
        return torch.tensor(self.count if self.each is None else self.each).to(like)

    def width(self, like: Tensor) -> Tensor:
        """Of the bins, 2/K of every element, () or (D,), with the dtype and device of `like`."""
        return (2 / torch.tensor(self.count if self.each is None else self.each, dtype=torch.float64)).to(like)

    def values(self, like: Tensor) -> Tensor:
        """v_k, (K,), or (D, K) where elements differ, with the dtype and device of `like`; 0 where an element does not
        have the value."""
        numbers = 2 * torch.arange(self.count, dtype=torch.float64) + 1
        if self.each is None:
            return (numbers / self.count - 1).to(like)
        counts = torch.tensor(self.each, dtype=torch.float64).unsqueeze(1)
        return torch.where(numbers < 2 * counts, numbers / counts - 1, 0.0).to(like)

    def impossible(self) -> Tensor:
        """What is added to logits so that no mass goes to values that an element does not have: (1, K) or (D, K)."""
        if self.each is None:
            return torch.zeros(1, self.count)
        has = torch.arange(self.count) < torch.tensor(self.each).unsqueeze(1)
        return torch.where(has, 0.0, IMPOSSIBLE)

    def embed(self, x: Tensor) -> Tensor:
        """x (batch, *shape) as the centre of its bin, float32."""
        x = x.float()
        return (2 * x + 1) / (self.count if self.each is None else self.counts(x)) - 1

    def wide(self, elements: Tensor) -> Tensor:
        """The same: an element is one number."""
        return elements

    def roles(self, role: Tensor) -> Tensor:
        """The same."""
        return role

    def unembed(self, value: Tensor) -> Tensor:
        """The inverse of `embed`, in units of levels and within their range; not rounded."""
        counts = self.counts(value)
        return (((value + 1) * counts - 1) / 2).clamp(min=0).minimum(counts - 1)

    def nearest(self, value: Tensor) -> Tensor:
        """The level in whose bin a number lies, the outermost ones reaching to infinity: int64."""
        counts = self.counts(value)
        return (refuse_nan(value + 1) * (counts / 2)).floor().clamp(min=0).minimum(counts - 1).long()

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Listed:
        """p(x = k | z) ∝ N(z; α v_k, σ²): independent of what a network knows."""
        return Listed(self.impossible().to(z), self.values(z)).given(z, alpha, sigma)


@dataclass(frozen=True)
class Continuous:
    """Real numbers as they are; p(x | z) = N(z/α, σ²/α²), a density."""

    def embed(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def wide(self, elements: Tensor) -> Tensor:
        """The same: an element is one number."""
        return elements

    def roles(self, role: Tensor) -> Tensor:
        """The same."""
        return role

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
        """The Gaussian about z/α."""
        return Normal(z / alpha.to(z.dtype), 2 * (sigma / alpha).log())
