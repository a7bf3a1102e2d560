"""Descents that know some elements of x: weighted draws of what the others may be.

* `Told`: the network is told the roles, and each descent is a draw of p(modelled | known; pattern), of weight 1.
* `Smc`: a model that is never told roles is descended by particles. Known elements' latents follow q(z_s | z_t, x), the
  others the model, and a weight per step, p/q of what followed q, makes the whole an importance sampler of the
  hierarchy's own p(x_unknown | x_known), exact as the particles grow (Trippe et al. 2023 keep one path of q).
* with `twisted`, what the head says of the known elements at z_t, ψ_t = p̂(x_known | z_t), steers and weighs each step
  (Wu et al. 2023): by Tweedie's formula E[x | z_t, x_known] = x̂ + (σ²/α) ∇ log ψ_t. The last ψ is p(x_known | z_0)
  itself, so that the limit is the same; particles are kept or lost earlier, while there still are others.

Particles are resampled where their effective number falls below half.
"""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.distributions import Elementwise, Normal, sum_event
from vlb.core.emissions import Conjugate, Law
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.models.diffusion.kernels import MomentMatched, ReverseKernel, Standard
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import along

FARTHEST = 4.0  # deviations of p(x | z_t) by which a twist may move x̂: proposals are free, and these stay sensible


@dataclass(frozen=True, eq=False)
class Completed:
    """The ends of descents. z: (n·S, *latent) at the last rung, the S of an example after each other; law: p(x | z) of
    each, with log p of all elements; log_weights: (n, S), unnormalised; effective: (n,), how many even draws say as
    much, at the step where they were fewest."""

    z: Tensor
    law: Law
    log_weights: Tensor
    effective: Tensor


class Completion(Protocol):
    """A way to complete examples x (n, *shape), of which the elements that are `known` (n, *shape) are looked at."""

    def __call__(self, model: DiffusionModel, x: Tensor, known: Tensor, generator: torch.Generator) -> Completed: ...


@dataclass(frozen=True)
class Told:
    """S even descents of a network that is told the roles, in T equal steps of t."""

    draws: int = 32
    steps: int = 50

    @torch.no_grad()
    def __call__(self, model: DiffusionModel, x: Tensor, known: Tensor, generator: torch.Generator) -> Completed:
        n = len(x)
        role = torch.where(known, Role.KNOWN, Role.MODELLED).to(torch.uint8)
        condition = Condition(role=role, values=x).repeat(self.draws)
        grid = model.at(self.steps, _kernel(model))
        state = last_state(descend(grid, grid.start(n * self.draws, condition), from_prior(generator)))
        law = _law(model, state.z, grid.time(0), state.condition)
        even = torch.zeros(n, self.draws, dtype=torch.float64, device=x.device)
        return Completed(state.z, law, even, even.new_full((n,), float(self.draws)))


@dataclass(frozen=True)
class Smc:
    """S particles of a model that is told no roles, in T equal steps of t; see the module."""

    particles: int = 64
    steps: int = 50
    twisted: bool = True

    @torch.no_grad()
    def __call__(self, model: DiffusionModel, x: Tensor, known: Tensor, generator: torch.Generator) -> Completed:
        n, count, process = len(x), self.particles, model.process
        grid, kernel = model.at(self.steps, _kernel(model)), _kernel(model)
        values, told = x.repeat_interleave(count, 0), known.repeat_interleave(count, 0)
        embedded, wide = model.embedding.embed(values).double(), model.embedding.wide(told)
        top = grid.time(self.steps)
        q, prior = process.marginal(embedded, top), cast(Elementwise, model.prior_at(embedded, top))
        z = torch.where(wide, q.sample(generator), prior.sample(generator))
        log_weights = _sum(prior.log_probs(z) - q.log_probs(z), wide).view(n, count)
        least = torch.full((n,), float(count), dtype=torch.float64, device=x.device)
        before = torch.zeros(n * count, dtype=torch.float64, device=x.device)
        for number in reversed(range(self.steps)):
            s, t = grid.time(number), grid.time(number + 1)
            p, twist, shift = self._asked(model, kernel, z, s, t, values, told, wide)
            log_weights = log_weights + (twist - before).view(n, count)
            chosen, log_weights, effective = resampled(log_weights, generator)
            least = torch.minimum(least, effective)
            z, before = z[chosen], twist[chosen]
            p, shift = Normal(p.mean[chosen], p.log_variance[chosen]), shift[chosen]
            q, moved = process.posterior(z, embedded, s, t), Normal(p.mean + shift, p.log_variance)
            z = torch.where(wide, q.sample(generator), moved.sample(generator))
            proposed = torch.where(wide, q.log_probs(z), moved.log_probs(z))
            log_weights = log_weights + sum_event(p.log_probs(z) - proposed).view(n, count)
        law = _law(model, z, grid.time(0), UNCONDITIONAL)
        log_weights = log_weights + (_sum(law.log_probs(values), told) - before).view(n, count)
        return Completed(z, law, log_weights, torch.minimum(least, effective_number(log_weights)))

    def _asked(
        self,
        model: DiffusionModel,
        kernel: ReverseKernel,
        z: Tensor,
        s: Tensor,
        t: Tensor,
        values: Tensor,
        told: Tensor,
        wide: Tensor,
    ) -> tuple[Normal, Tensor, Tensor]:
        """p(z_s | z), log ψ (n·S,), and by how much the mean of what is not known is moved; 0 without a twist."""
        process, gamma = model.process, model.process.schedule.gamma(t)
        with torch.set_grad_enabled(self.twisted):
            point = z.detach().requires_grad_(self.twisted)
            prediction = model.denoise(point, gamma)
            p = cast(Normal, kernel(process, point, s, t, prediction))
            p = Normal(p.mean.detach(), p.log_variance.detach().expand(p.mean.shape))
            if not self.twisted:
                return p, z.new_zeros(len(z)), torch.zeros_like(z)
            law = prediction.law
            if not isinstance(law, Conjugate):
                raise UserError(
                    "twisted particles need a head that says p(x | z): train with head=posterior, mixture or table"
                )
            twist = _sum(law.log_probs(values), told).double()
            (slope,) = torch.autograd.grad(twist.sum(), point)
        alpha, sigma = process.scaling(along(gamma, z))
        farthest = FARTHEST * law.variance.detach().sqrt().to(z.dtype)
        x = torch.where(wide, 0.0, (sigma**2 / alpha * slope).nan_to_num(0.0, 0.0, 0.0))
        shift = process.alpha_sigma(s, z)[0] * process.fraction(s, t, z) * x.maximum(-farthest).minimum(farthest)
        return p, twist.detach(), shift


def effective_number(log_weights: Tensor) -> Tensor:
    """(Σ w)² / Σ w², (n,), of log_weights (n, S)."""
    return 1 / log_weights.softmax(1).square().sum(1)


def resampled(log_weights: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Of weights (n, S): which particles go on, (n·S,), with which weights, and how many counted before, (n,).

    Systematic resampling (Kitagawa 1996) of the examples of which fewer than half count; the others go on as they are.
    """
    n, count = log_weights.shape
    effective = effective_number(log_weights)
    few = (effective < count / 2).unsqueeze(1)
    offset = torch.rand(n, 1, generator=generator, dtype=torch.float64, device=generator.device).to(log_weights.device)
    place = torch.arange(count, device=log_weights.device)
    cumulative = log_weights.double().softmax(1).cumsum(1).contiguous()
    drawn = torch.searchsorted(cumulative, (place + offset) / count * cumulative[:, -1:]).clamp(max=count - 1)
    chosen = torch.where(few, drawn, place) + count * torch.arange(n, device=log_weights.device).unsqueeze(1)
    return chosen.flatten(), torch.where(few, 0.0, log_weights), effective


def _sum(values: Tensor, on: Tensor) -> Tensor:
    """Σ over the elements that are on, (batch,)."""
    return sum_event(torch.where(on, values, 0.0))


def _kernel(model: DiffusionModel) -> ReverseKernel:
    """The one that needs fewest steps, of Gaussian ones."""
    return MomentMatched() if model.learns_decoder else Standard()


def _law(model: DiffusionModel, z: Tensor, t: Tensor, condition: Condition) -> Law:
    """p(x | z) with log p of every element, whatever its role."""
    prediction = model.predict(z, t, condition)
    return cast(Law, prediction.law or model.embedding.given(z, *model.process.alpha_sigma(t, z)))
