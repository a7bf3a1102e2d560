"""Descents that are told some elements of x: draws of what the others may be.

The network is told the roles, so that each descent is a draw of p(modelled | known; pattern), and all count alike.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vlb.core.condition import Condition, Role
from vlb.core.emissions import Law
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.models.diffusion.kernels import MomentMatched, ReverseKernel, Standard
from vlb.models.diffusion.model import DiffusionModel

FARTHEST = 4.0  # deviations of p(x | z_t) by which a twist may move x̂: proposals are free, and these stay sensible


@dataclass(frozen=True, eq=False)
class Completed:
    """The ends of descents. z: (n·S, *latent) at the last rung, the S of an example after each other; law: p(x | z) of
    each, with log p of all elements."""

    z: Tensor
    law: Law


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
        return Completed(state.z, _law(model, state.z, grid.time(0), state.condition))


def _kernel(model: DiffusionModel) -> ReverseKernel:
    """The one that needs fewest steps, of Gaussian ones."""
    return MomentMatched() if model.learns_decoder else Standard()


def _law(model: DiffusionModel, z: Tensor, t: Tensor, condition: Condition) -> Law:
    """p(x | z) with log p of every element, whatever its role."""
    prediction = model.predict(z, t, condition)
    return cast(Law, prediction.law or model.embedding.given(z, *model.process.alpha_sigma(t, z)))
