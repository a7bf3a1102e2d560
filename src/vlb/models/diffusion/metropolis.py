"""Sampling from an energy with a Metropolis test, which makes the law exact at any step size.

`start` evaluates an energy, `langevin` and `hamiltonian` make one step: MALA (Roberts & Tweedie 1996)
and HMC (Neal 2011). Each example is a chain of its own. Along a descent through noise levels they
correct what a composition of scores gets wrong (Du et al. 2023): `annealed`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vlb.core.distributions import standard_normal, sum_event
from vlb.models.diffusion.energy import EnergyFunction
from vlb.models.diffusion.process import GaussianDiffusion


class Chain(NamedTuple):
    """Where the chains are: z (batch, *shape), its energy (batch,), ∇E (batch, *shape)."""

    z: Tensor
    energy: Tensor
    slope: Tensor


class Move(NamedTuple):
    """A step's result: the chains after it, and the probability (batch,) with which each was to move."""

    chain: Chain
    acceptance: Tensor


def start(energy: EnergyFunction, z: Tensor) -> Chain:
    """Chains at z (batch, *shape)."""
    with torch.enable_grad():
        point = z.detach().requires_grad_()
        value = energy(point)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return Chain(z.detach(), value.detach(), slope.detach())


def langevin(energy: EnergyFunction, chain: Chain, step: float, generator: torch.Generator) -> Move:
    """z′ = z − τ∇E + √(2τ) n, accepted by Metropolis–Hastings; step: τ, in the units of z squared."""
    noise = standard_normal(chain.z.shape, generator, chain.z)
    proposal = start(energy, chain.z - step * chain.slope + (2 * step) ** 0.5 * noise)
    back = chain.z - proposal.z + step * proposal.slope
    log_ratio = chain.energy - proposal.energy + 0.5 * sum_event(noise**2) - sum_event(back**2) / (4 * step)
    return _accept(chain, proposal, log_ratio, generator)


def hamiltonian(energy: EnergyFunction, chain: Chain, step: float, leapfrogs: int, generator: torch.Generator) -> Move:
    """`leapfrogs` steps of size `step`, in the units of z, of H = E(z) + ‖p‖²/2 with a fresh p, then the test."""
    momentum = standard_normal(chain.z.shape, generator, chain.z)
    before, proposal = chain.energy + 0.5 * sum_event(momentum**2), chain
    for _ in range(leapfrogs):
        half = momentum - 0.5 * step * proposal.slope
        proposal = start(energy, proposal.z + step * half)
        momentum = half - 0.5 * step * proposal.slope
    log_ratio = before - proposal.energy - 0.5 * sum_event(momentum**2)
    return _accept(chain, proposal, log_ratio, generator)


def annealed(
    energy_at: Callable[[Tensor], EnergyFunction],
    process: GaussianDiffusion,
    z: Tensor,
    grid: Tensor,
    moves: int,
    size: float,
    generator: torch.Generator,
) -> Tensor:
    """Follow a sequence of energies down a grid, `moves` Langevin steps of size·σ_t² at each of its times.

    energy_at: t (1,) -> the energy at t, of a composition, say; z: (batch, *shape) at the noisy end; grid:
    (T + 1,) increasing. Returns latents at grid[0], (batch, *shape).
    """
    for t in grid.flip(0).split(1):
        energy = energy_at(t)
        _, sigma = process.alpha_sigma(t, z)
        chain = start(energy, z)
        for _ in range(moves):
            chain = langevin(energy, chain, size * float(sigma.mean()) ** 2, generator).chain
        z = chain.z
    return z


def _accept(chain: Chain, proposal: Chain, log_ratio: Tensor, generator: torch.Generator) -> Move:
    probability = torch.nan_to_num(log_ratio, nan=-torch.inf).clamp(max=0).exp()
    uniform = torch.rand(probability.shape, generator=generator, dtype=torch.float64, device=generator.device)
    moved = uniform.to(probability.device) < probability

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(moved.view(-1, *(1 for _ in old.shape[1:])), new, old)

    return Move(Chain(*(choose(new, old) for new, old in zip(proposal, chain, strict=True))), probability)
