"""Ancestral sampling in the samplers' protocol: the descent of `model.at(grid)` from a given z_1."""

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.domains import Settings
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.hierarchy import Rung, descend, last_state
from vlb.models.diffusion.grids import check_grid
from vlb.models.diffusion.kernels import KERNELS, ReverseKernel, Standard
from vlb.models.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Ancestral(Settings):
    """Each latent from p(z_s | z_t) of the hierarchy (Eq. 3.103): one evaluation per step, weak order 1.

    kernel: which p(z_s | z_t).
    """

    kernel: Annotated[ReverseKernel, KERNELS] = field(default_factory=Standard)

    @property
    def evaluations(self) -> int:
        return 1

    @torch.no_grad()
    def __call__(
        self,
        model: DiffusionModel,
        z_1: Tensor,
        grid: Tensor,
        generator: torch.Generator,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """z_0 from z_1 (batch, *shape). Raises `UserError` for a bad grid."""
        check_grid(grid)
        hierarchy = model.at(grid, self.kernel)
        top = hierarchy.depth - 1

        def choose(number: int, rung: Rung) -> Tensor:
            return z_1 if number == top else rung.p.sample(generator)

        return last_state(descend(hierarchy, hierarchy.start(len(z_1), condition), choose)).z


OFFERED: dict[str, type] = {"ancestral": Ancestral}
