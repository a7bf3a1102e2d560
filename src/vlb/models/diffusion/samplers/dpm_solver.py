"""DPM-Solver++ (2M), for the PF-ODE and for the SDE (Lu et al. 2022, Algorithm 2 and Section 5).

With h = (γ_t − γ_s)/2 the half step in λ, the linear part of the process is integrated exactly and x̂ is
extrapolated through the estimate of the step before, x̂_r at γ_r:

    z_s = α_s x̂ + σ_s (e^{−ηh} ε̂ + √(1 − e^{−2ηh}) ξ) + α_s (1 − e^{−(1+η)h}) ½ (γ_t − γ_s)/(γ_r − γ_t) (x̂ − x̂_r).

η = 0 is the ODE, η = 1 the SDE whose first-order step is ancestral sampling.
"""

from dataclasses import dataclass
from typing import Annotated

import torch

from vlb.base.domains import Settings, Within
from vlb.models.diffusion.samplers.stepping import Estimate, FixedStep, Level, Reverse, State


@dataclass(frozen=True)
class DPMSolver(Settings, FixedStep):
    """The multistep solver of order 2 with η ≥ 0: one evaluation per step. The first step has order 1.

    Order 2: strongly at η = 0, weakly for η > 0.
    """

    eta: Annotated[float, Within(0, 100)] = 0.0

    @property
    def deterministic(self) -> bool:
        return self.eta == 0

    @property
    def evaluations(self) -> int:
        return 1

    def step(self, reverse: Reverse, state: State, s: Level) -> State:
        t = state.level
        x, eps, _ = reverse.predict(state.z, t)
        twice = t.gamma - s.gamma
        drawn = eps
        if not self.deterministic:
            kept, noise = (-0.5 * self.eta * twice).exp(), (-torch.expm1(-self.eta * twice)).sqrt()
            drawn = kept.to(eps.dtype) * eps + noise.to(eps.dtype) * reverse.noise(state.z)
        z = s.mix(x, drawn)
        if state.past is not None:
            weight = s.alpha * -torch.expm1(-0.5 * (1 + self.eta) * twice)
            slope = 0.5 * twice / (state.past.gamma - t.gamma)
            z = z + (weight * slope).to(z.dtype) * (x - state.past.x)
        return State(z, s, Estimate(x, t.gamma))


@dataclass(frozen=True)
class DPMSolverSDE(DPMSolver):
    """`DPMSolver` for the SDE, whose first-order step is ancestral sampling."""

    eta: Annotated[float, Within(0, 100)] = 1.0


OFFERED: dict[str, type] = {"dpm2m": DPMSolver, "dpm2m-sde": DPMSolverSDE}
