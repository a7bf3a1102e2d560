"""The divergence of a vector field: how fast its flow changes the logarithm of a density (Chen et al. 2018).

Both ways are Σ_p vᵀ_p J v_p over probes v_p, at one vector–Jacobian product each: the standard basis gives tr J
itself from D of them, random signs give it in expectation from one (Hutchinson 1990; Grathwohl et al. 2019).
Signs have the least variance of all independent probes, for they see the diagonal of J exactly. Probes are
drawn once per solve: with fresh ones at each evaluation there is no ODE, and an adaptive solver chases noise.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vlb.base.domains import Count, Settings
from vlb.core.distributions import sum_event
from vlb.models.diffusion.samplers.adaptive import Field


class Divergence(Protocol):
    """The probes of one solve, (P, batch or 1, *shape), for a flow of y like the argument (batch, *shape)."""

    def probes(self, like: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class ExactDivergence:
    """tr J from D products: for small D."""

    def __str__(self) -> str:
        return "exact divergence"

    def probes(self, like: Tensor, generator: torch.Generator) -> Tensor:
        dimensions = like[0].numel()
        return torch.eye(dimensions, dtype=like.dtype, device=like.device).view(dimensions, 1, *like.shape[1:])


EXACT = ExactDivergence()


@dataclass(frozen=True)
class Hutchinson(Settings):
    """tr J in expectation over `count` ≥ 1 probes of random signs per example, kept during a solve."""

    count: Count = 1

    def __str__(self) -> str:
        return f"Hutchinson's divergence, {self.count} probe{'s' if self.count > 1 else ''}"

    def probes(self, like: Tensor, generator: torch.Generator) -> Tensor:
        shape = (self.count, *like.shape)
        bits = torch.randint(2, shape, generator=generator, device=generator.device).to(like)
        return (2 * bits - 1) / math.sqrt(self.count)


def with_divergence(field: Field, shape: tuple[int, ...], probes: Tensor) -> Field:
    """The field of (y, ℓ), dℓ/dt = ∇·f, on states (batch, D + 1) that hold a flattened y (batch, *shape) and ℓ."""

    def slope(t: float, state: Tensor) -> Tensor:
        with torch.enable_grad():
            y = state[:, :-1].detach().reshape(-1, *shape).requires_grad_()
            velocity = field(t, y)
        divergence = torch.zeros(len(y), dtype=y.dtype, device=y.device)
        for probe in probes:
            (product,) = torch.autograd.grad(velocity, y, probe.expand_as(y), retain_graph=True)
            divergence += sum_event(product * probe)
        return torch.cat((velocity.detach().flatten(1), divergence.unsqueeze(1)), 1)

    return slope
