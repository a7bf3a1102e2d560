"""Heun's method of the PF-ODE in σ̃ = σ/α, and its stochastic form (Karras et al. 2022, Algorithms 1 and 2).

A step averages ε̂ at both its ends:

    z_s = α_s x̂_t + σ_s ε̂_t + ½ α_s (σ̃_s − σ̃_t)(ε̂_s − ε̂_t),

where ε̂_s is predicted at the Euler step α_s x̂_t + σ_s ε̂_t. The stochastic form first goes up to more noise
along the forward process, γ_t → γ̂, then down from there; as the forward process keeps q(z_t) exactly, only the
steps of the ODE are in error.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.domains import NonNegative, Positive, Settings, Within
from vlb.base.errors import UserError
from vlb.models.diffusion.samplers.stepping import FixedStep, Level, Reverse, State


@dataclass(frozen=True)
class Heun(Settings, FixedStep):
    """Heun's method with churn κ ≥ 0: two evaluations per step.

    Order 2: strongly at κ = 0, weakly for κ > 0.

    churn: a step from γ_t to γ_s first rises to γ̂ = γ_t + κ(γ_t − γ_s), at most by log 2 (σ̃ by √2, as in
    Algorithm 2) and at most to γ₁. The S_churn of the paper is κ(γ₁ − γ₀)/2 on a grid uniform in λ; stated per
    step it depends on no number of steps. low, high: σ̃ within which there is churn (S_tmin, S_tmax), by
    default without a limit above.
    inflation: the factor of the noise (S_noise), which keeps the law only at 1.
    """

    churn: Annotated[float, Within(0, 100)] = 0.0
    low: NonNegative = 0.0
    high: Positive | None = None
    inflation: Annotated[float, Within(0, 100, above=True)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self._limit:
            raise UserError(f"churn needs 0 ≤ low < high in σ/α, not {self.low} and {self.high}")

    @property
    def _limit(self) -> float:
        return math.inf if self.high is None else self.high

    @property
    def deterministic(self) -> bool:
        return self.churn == 0

    @property
    def evaluations(self) -> int:
        return 2

    def step(self, reverse: Reverse, state: State, s: Level) -> State:
        if not self.deterministic:
            state = self.raised(reverse, state, s)
        t, first = state.level, reverse.predict(state.z, state.level)
        euler = s.mix(first.x, first.eps)
        second = reverse.predict(euler, s)
        # α_s (σ̃_s − σ̃_t) without the difference of nearly equal numbers.
        stride = s.alpha * (0.5 * t.gamma).exp() * torch.expm1(0.5 * (s.gamma - t.gamma))
        return State(euler + (0.5 * stride).to(euler.dtype) * (second.eps - first.eps), s)

    def raised(self, reverse: Reverse, state: State, s: Level) -> State:
        """The state after the forward process from γ_t to γ̂, q(z_γ̂ | z_t) (Eq. 3.22)."""
        z, t = state.z, state.level
        rise = (self.churn * (t.gamma - s.gamma)).clamp(max=math.log(2))
        ratio = (0.5 * t.gamma).exp()
        rise = torch.where((ratio >= self.low) & (ratio <= self._limit), rise, 0.0)
        top = reverse.levels(torch.ones(1, dtype=torch.float64), z)[0]
        up = reverse.level(torch.minimum(t.gamma + rise, top.gamma))
        spread = self.inflation * up.sigma * (-torch.expm1(t.gamma - up.gamma)).sqrt()
        return State(_scaled(up.alpha / t.alpha, z) + _scaled(spread, reverse.noise(z)), up)


@dataclass(frozen=True)
class HeunSDE(Heun):
    """`Heun` with as much churn as serves most models."""

    churn: Annotated[float, Within(0, 100)] = 0.5


OFFERED: dict[str, type] = {"heun": Heun, "heun-sde": HeunSDE}


def _scaled(factor: Tensor, z: Tensor) -> Tensor:
    return factor.to(z.dtype) * z
