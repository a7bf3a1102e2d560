"""Particle filters over the descent of a diffusion model: some elements of x are known, and the model is not told so.

What is sought is p(z_{0:T} | x_k) ∝ p(z_{0:T}) p(x_k | z_0), of a model of all elements together. Particles descend by
proposals r, in which the known numbers of each latent are drawn from q given their values, and are weighted by

    w_T = p(z_T) ψ_T(z_T) / r(z_T),    w_s = w_t · p(z_s | z_t) ψ_s(z_s) / (r(z_s | z_t) ψ_t(z_t)),

with ψ_0 = p(x_k | z_0). However ψ is chosen in between, the weights at the end are proper: for every f, the mean of
w f(z_0) is ∫ p(z_{0:T}, x_k) f(z_0) dz in expectation, and the mean weight p(x_k) (Del Moral 2004). Where the weights
of a path of particles are uneven, they are resampled, and share the mean of their weights from then on, which keeps
this.

* `Replacing`: ψ = 1 before the end, and all particles of a path share one draw of the known numbers: the bootstrap
  filter for observations z_k ~ q(z_k | x_k) (Trippe et al. 2023), here with weights for whole paths, too.
* `Twisting`: ψ_t = Π p(x_d | z_t) over the known elements, as the head has it; unknown numbers of r are moved along its
  gradient (Wu et al. 2023).
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, cast

import torch
from torch import Tensor

from vlb.core.condition import Condition, Role
from vlb.core.distributions import Normal
from vlb.core.draws import RowDraws
from vlb.core.emissions import Law
from vlb.core.hierarchy import Choose, Rung, descend, last_state
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.discrete import GridDiffusion
from vlb.models.diffusion.kernels import MomentMatched
from vlb.models.diffusion.model import DiffusionModel

UNEVEN = 0.5  # share of the particles: with fewer effective ones they are resampled
FARTHEST = 2.0  # standard deviations of a step, by which a gradient moves a number at most


class Cloud(NamedTuple):
    """Particles between two rungs. ahead: the laws of the next latent, p and the proposal r (in place of q), of which
    there are none at the end; law: p(x | z) at z; twist: log ψ(z), (n·P·K,); log_weights: (n·P, K); effective: (n, P),
    the least number of effective particles of each path so far."""

    z: Tensor
    ahead: Rung | None
    law: Law | None
    twist: Tensor
    log_weights: Tensor
    effective: Tensor


class Filtered(NamedTuple):
    """What is left: p(x | z_0) of n·S particles, those of a row after each other; log_weights: (n, S), not normalised,
    of which the mean of the weights estimates p(x_k) without bias; effective: (n,), how many even particles there were,
    at the least of the descent."""

    law: Law
    log_weights: Tensor
    effective: Tensor

    @property
    def log_evidence(self) -> Tensor:
        """The log of an unbiased estimate of p(x_k), in the mean below log p(x_k): (n,) nats."""
        return self.log_weights.logsumexp(1) - math.log(self.log_weights.shape[1])


class Filter(ABC):
    """A hierarchy of P·K particles for each row (n, D), of which the known cells are told: their descent weighs and
    resamples. See the module."""

    def __init__(
        self, model: DiffusionModel, told: Condition, steps: int, paths: int, particles: int, own: RowDraws
    ) -> None:
        """told: roles and values (n, D). The model's head decodes, and its prior is a Gaussian of each number by
        itself."""
        assert told.role is not None and told.values is not None
        self.grid: GridDiffusion = model.at(steps, MomentMatched())
        self.rows, self.paths, self.particles, self.own = len(told.values), paths, particles, own
        each = paths * particles
        self.x = told.values.repeat_interleave(each, 0)
        self.known = (told.role == Role.KNOWN).repeat_interleave(each, 0)
        self.embedded = model.embedding.embed(told.values).double().repeat_interleave(each, 0)
        self.on = (model.embedding.roles(told.role) == Role.KNOWN).repeat_interleave(each, 0)

    @property
    def depth(self) -> int:
        return self.grid.depth

    @torch.no_grad()
    def run(self) -> Filtered:
        """The descent."""
        cloud = last_state(descend(self, self.start(), self.proposed()))
        log_weights = cloud.log_weights.reshape(self.rows, -1)
        least = torch.minimum(cloud.effective.sum(1), effective(log_weights))
        assert cloud.law is not None
        return Filtered(cloud.law, log_weights, least)

    def start(self) -> Cloud:
        """Before the top."""
        z, top = torch.zeros_like(self.embedded), self.grid.time(self.depth - 1)
        p = cast(Normal, self.grid.model.prior_at(z, top))
        ahead = Rung(p, self.proposal(p, self.grid.model.process.marginal(self.embedded, top)))
        nothing = z.new_zeros(self.rows * self.paths, self.particles)
        most = nothing.new_full((self.rows, self.paths), float(self.particles))
        return Cloud(z, ahead, None, nothing.flatten(), nothing, most)

    def rung(self, number: int, state: Cloud) -> Rung:
        assert state.ahead is not None
        return state.ahead

    def likelihood(self, state: Cloud) -> Law:
        assert state.law is not None
        return state.law

    def proposed(self) -> Choose:
        """Draws from proposals, each row's by its own generator."""

        def choose(number: int, rung: Rung) -> Tensor:
            return cast(Normal, rung.q).moved(self.noise(self.embedded.shape[1:]))

        return choose

    def advance(self, number: int, state: Cloud, z: Tensor) -> Cloud:
        assert state.ahead is not None
        p, r = cast(Normal, state.ahead.p), cast(Normal, state.ahead.q)
        prediction, twist, slope = self.look(number, z) if number else self.end(z)
        gained = (p.log_probs(z) - r.log_probs(z)).sum(1) + twist - state.twist
        log_weights = state.log_weights + gained.view(state.log_weights.shape)
        if number == 0:
            return Cloud(z, None, cast(Law, prediction.law), twist, log_weights, state.effective)
        below, time, process = self.grid.time(number - 1), self.grid.time(number), self.grid.model.process
        step = cast(Normal, self.grid.kernel(process, z, below, time, prediction))
        moved = step if slope is None else Normal(step.mean + bounded_move(step, slope), step.log_variance)
        r = self.proposal(moved, process.posterior(z, self.embedded, below, time))
        count = effective(log_weights)
        ancestors, log_weights = self.resampled(log_weights, count)
        least = torch.minimum(state.effective, count.view(state.effective.shape))
        return Cloud(
            z[ancestors], Rung(step.take(ancestors), r.take(ancestors)), None, twist[ancestors], log_weights, least
        )

    def proposal(self, unknown: Normal, known: Normal) -> Normal:
        """The law of one latent: of its known numbers that given their values."""
        mean = torch.where(self.on, known.mean, unknown.mean)
        return Normal(mean, torch.where(self.on, known.log_variance, unknown.log_variance))

    def resampled(self, log_weights: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Ancestors (n·P·K,) and weights (n·P, K): systematic resampling of the paths whose weights are uneven."""
        uneven = (count < UNEVEN * self.particles).unsqueeze(1)
        every = torch.arange(self.particles, dtype=torch.float64)
        points = (every + self.own.uniform(self.paths, torch.Size((1,)))) / self.particles
        cumulative = log_weights.softmax(1).cumsum(1).cpu()
        chosen = torch.searchsorted(cumulative, points * cumulative[:, -1:], right=True).clamp(max=self.particles - 1)
        chosen = torch.where(uneven, chosen.to(uneven.device), torch.arange(self.particles, device=uneven.device))
        even = log_weights.logsumexp(1, keepdim=True) - math.log(self.particles)
        first = self.particles * torch.arange(len(log_weights), device=uneven.device).unsqueeze(1)
        return (first + chosen).flatten(), torch.where(uneven, even, log_weights)

    def told(self, law: Law) -> Tensor:
        """log p of what is known, (n·P·K,)."""
        return torch.where(self.known, law.log_probs(self.x), 0.0).sum(1)

    def end(self, z: Tensor) -> tuple[Prediction, Tensor, None]:
        """The same as `look` at z_0, from which no step goes on."""
        prediction = self.grid.model.predict(z, self.grid.time(0))
        return prediction, self.told(cast(Law, prediction.law)), None

    @abstractmethod
    def look(self, number: int, z: Tensor) -> tuple[Prediction, Tensor, Tensor | None]:
        """The prediction at z, log ψ(z) and its gradient, where proposals are moved by it."""

    @abstractmethod
    def noise(self, event: torch.Size) -> Tensor:
        """Standard noise for one latent of all particles."""


class Replacing(Filter):
    """See the module."""

    def look(self, number: int, z: Tensor) -> tuple[Prediction, Tensor, Tensor | None]:
        return self.grid.model.predict(z, self.grid.time(number)), torch.zeros_like(z[:, 0]), None

    def noise(self, event: torch.Size) -> Tensor:
        shared = self.own.normal(self.paths, event).repeat_interleave(self.particles, 0)
        return torch.where(self.on.cpu(), shared, self.own.normal(self.paths * self.particles, event)).to(
            self.on.device
        )


class Twisting(Filter):
    """See the module."""

    def look(self, number: int, z: Tensor) -> tuple[Prediction, Tensor, Tensor | None]:
        with torch.enable_grad():
            at = z.detach().requires_grad_(True)
            prediction = self.grid.model.predict(at, self.grid.time(number))
            twist = self.told(cast(Law, prediction.law))
            (slope,) = torch.autograd.grad(twist.sum(), at)
        return prediction, twist.detach(), slope

    def noise(self, event: torch.Size) -> Tensor:
        return self.own.normal(self.paths * self.particles, event).to(self.on.device)


def effective(log_weights: Tensor) -> Tensor:
    """(Σ w)² / Σ w² of each row: (n, S) -> (n,), between 1 and S."""
    return 1 / log_weights.softmax(1).square().sum(1)


def bounded_move(step: Normal, slope: Tensor) -> Tensor:
    """The variance of a step times a gradient, at most `FARTHEST` deviations."""
    deviation = (0.5 * step.log_variance).exp()
    return deviation * (deviation * slope).clamp(-FARTHEST, FARTHEST)
