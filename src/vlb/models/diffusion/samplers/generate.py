"""From nothing to x and from x to a latent, with any sampler.

The ends are the model's own: z_1 is drawn from its prior, and x is read from p(x | z_0).
"""

from typing import Protocol

import torch
from torch import Tensor

from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import Distribution
from vlb.models.diffusion.grids import check_grid
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers.stepping import Sampler


class Invertible(Sampler, Protocol):
    """A sampler that can be walked upwards: deterministic fixed steps, or `ProbabilityFlow`."""

    def encode(
        self, model: DiffusionModel, z_0: Tensor, grid: Tensor, condition: Condition = UNCONDITIONAL
    ) -> Tensor: ...


@torch.no_grad()
def generate(
    model: DiffusionModel,
    sampler: Sampler,
    n: int,
    grid: Tensor,
    generator: torch.Generator,
    condition: Condition = UNCONDITIONAL,
) -> Tensor:
    """n examples, (n, *shape): z ~ p at the top of `grid`, down to its bottom by `sampler`, x ~ p(x | z) there.

    The grid may begin above t = 0 where the head decodes, as in `model.at`. Raises `UserError` for a bad grid.
    """
    check_grid(grid)
    model.check_condition(condition)
    grid = grid.to(model.device)
    like = torch.zeros(n, *model.latent, dtype=torch.float64, device=model.device)
    z_1 = model.prior_at(like, grid[-1:]).sample(generator)
    z_0 = sampler(model, z_1, grid, generator, condition)
    return model.likelihood(z_0, condition, grid[:1]).sample(generator).view(n, *model.shape)


@torch.no_grad()
def encode(
    model: DiffusionModel, sampler: Invertible, x: Tensor, grid: Tensor, condition: Condition = UNCONDITIONAL
) -> Tensor:
    """z_1 of x (batch, *shape) by the PF-ODE, from the mean α₀x of q(z_0 | x): like x, float64.

    For data with levels this is the ODE's latent of the bin's centre.
    """
    check_grid(grid)
    grid = grid.to(x.device)
    z_0 = model.process.marginal(model.embedding.embed(x).double(), grid[:1]).mean
    return sampler.encode(model, z_0, grid, condition)


@torch.no_grad()
def decode(
    model: DiffusionModel, sampler: Invertible, z_1: Tensor, grid: Tensor, condition: Condition = UNCONDITIONAL
) -> Distribution:
    """p(x | z_0) at the end of the PF-ODE from z_1: its mode or mean is x where z_1 came from `encode`."""
    check_grid(grid)
    grid = grid.to(z_1.device)
    return model.likelihood(sampler(model, z_1, grid, torch.Generator(), condition), condition, grid[:1])
