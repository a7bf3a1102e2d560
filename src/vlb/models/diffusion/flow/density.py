"""The density of the probability-flow ODE (Song et al. 2021, Section 4.3).

With the exact denoiser the ODE carries q(z_0) to q(z_1), and its density is q(z_0). With any other denoiser
it is another model than the diffusion model with the same denoiser: its likelihood may be better or worse
than the diffusion model's, and bounds neither that nor its bound.

In the coordinates y = z/√(α² + σ²) of `vlb.models.diffusion.samplers.ode`,

    log p(z_0) = log p(z_1) + ∫₀¹ ∇·(dy/dt) dt + Σ_d log √(α₁² + σ₁²)/√(α₀² + σ₀²).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.distributions import sum_event
from vlb.models.diffusion.flow.divergence import EXACT, Divergence, with_divergence
from vlb.models.diffusion.flow.integrate import ADAPTIVE, Integrator
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import along
from vlb.models.diffusion.samplers.ode import flow_field

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


class FlowDensity(NamedTuple):
    """log p(z), (batch,) nats, and the network evaluations of the solve, vector–Jacobian products not counted."""

    log_prob: Tensor
    evaluations: int


class CheckedDensity(NamedTuple):
    """The same by two solves: error is their difference, (batch,) nats, about that of the less exact one."""

    log_prob: Tensor
    evaluations: int
    error: Tensor


@dataclass(frozen=True, eq=False)
class Flow:
    """The probability-flow ODE of a diffusion model as a density of z at grid[0], from the prior's at grid[-1].

    grid: (T + 1,) increasing times in [0, 1], of which adaptive steps use the ends. Raises `UserError` for a bad one.
    """

    model: DiffusionModel
    integrator: Integrator = ADAPTIVE
    divergence: Divergence = EXACT
    grid: Tensor = ENDS

    def __str__(self) -> str:
        return f"{self.divergence}, {self.integrator}"

    @property
    def start(self) -> Tensor:
        """The time of z, (1,)."""
        return self.grid[:1].to(self.model.device)

    @torch.no_grad()
    def log_prob(self, z: Tensor, condition: Condition, generator: torch.Generator) -> FlowDensity:
        """log p(z) for z (batch, *shape); the generator draws the divergence's probes, once per call."""
        z = z.double()
        return self._solved(z, condition, self.divergence.probes(z, generator), self.integrator, self.grid)

    @torch.no_grad()
    def checked(self, z: Tensor, condition: Condition, generator: torch.Generator) -> CheckedDensity:
        """The same, and again by another solver with the same probes, which tells the error."""
        z = z.double()
        probes = self.divergence.probes(z, generator)
        first = self._solved(z, condition, probes, self.integrator, self.grid)
        other = self._solved(z, condition, probes, *self.integrator.other(self.grid))
        error = (first.log_prob - other.log_prob).abs()
        return CheckedDensity(first.log_prob, first.evaluations + other.evaluations, error)

    def cost(self, t: float, error: Tensor) -> Tensor:
        """What the error (batch, D + 1) of y and log p in a step from t may cost of log p: (batch,) nats per dimension.

        An error of y costs its product with the score, which is about that of the noise: y counts in units of its
        noise, sin φ, in the root mean square. log p counts by itself and absolutely, whatever it has grown to.
        """
        gamma = self.model.process.schedule.gamma(torch.tensor([t], dtype=torch.float64, device=error.device))
        noise = along(torch.sigmoid(gamma).sqrt(), error.new_zeros(1, *self.model.shape))
        y = (error[:, :-1].view(-1, *self.model.shape) / noise).flatten(1)
        return torch.maximum(y.square().mean(1).sqrt(), error[:, -1].abs() / y.shape[1])

    def _solved(
        self, z: Tensor, condition: Condition, probes: Tensor, integrator: Integrator, grid: Tensor
    ) -> FlowDensity:
        model, end = self.model, self.grid[-1:].to(z.device)
        low, high = (torch.hypot(*model.process.alpha_sigma(t, z)) for t in (self.start, end))
        field = with_divergence(flow_field(model, condition), z.shape[1:], probes)
        state = torch.cat(((z / low).flatten(1), torch.zeros_like(z).flatten(1)[:, :1]), 1)
        solved = integrator(field, state, grid, self.cost)
        z_1 = solved.y[:, :-1].view_as(z) * high
        volume = sum_event((high / low).log().expand_as(z))
        return FlowDensity(model.prior_at(z_1, end).log_prob(z_1) + solved.y[:, -1] + volume, solved.evaluations)
