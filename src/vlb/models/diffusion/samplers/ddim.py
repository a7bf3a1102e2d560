"""DDIM: from the PF-ODE's Euler step (η = 0) to ancestral sampling (η = 1).

    z_s = α_s x̂ + σ_s (√(1 − η²c) ε̂ + η√c ξ),   c = −expm1(γ_s − γ_t),   ξ ~ N(0, 1).

At η = 1 this is N(μ_Q, σ_Q²) of Eq. 3.102–3.103 (A.21) written with x̂ and ε̂.
"""

from dataclasses import dataclass

import torch

from vlb.base.domains import Settings, Share
from vlb.models.diffusion.samplers.stepping import FixedStep, Level, Reverse, State


@dataclass(frozen=True)
class DDIM(Settings, FixedStep):
    """Song, Meng & Ermon (2021), Eq. 12, with η ∈ [0, 1]: one evaluation per step.

    Order 1: strongly at η = 0, where it is the Euler method of dz̃/dσ̃ = ε̂; weakly for η > 0.
    """

    eta: Share = 0.0

    @property
    def deterministic(self) -> bool:
        return self.eta == 0

    @property
    def evaluations(self) -> int:
        return 1

    def step(self, reverse: Reverse, state: State, s: Level) -> State:
        prediction = reverse.predict(state.z, state.level)
        eps = prediction.eps
        if not self.deterministic:
            delta = s.gamma - state.level.gamma
            # 1 − η²c without the cancellation of c ≈ 1.
            kept = (1 - self.eta**2 + self.eta**2 * delta.exp()).sqrt()
            drawn = self.eta * (-torch.expm1(delta)).sqrt()
            eps = kept.to(eps.dtype) * eps + drawn.to(eps.dtype) * reverse.noise(state.z)
        return State(s.mix(prediction.x, eps), s)


OFFERED: dict[str, type] = {"ddim": DDIM}
