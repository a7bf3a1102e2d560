"""A diffusion model of the rows of a table, which knows the law of some cells given others."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.emissions import Particles, RowEmbedding, TableLaw
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.models.diffusion.kernels import MomentMatched
from vlb.models.diffusion.model import DiffusionModel

DRAWS, STEPS = 32, 50
PIECE = 1 << 16  # descents that are made at once


class TableDiffusion(DiffusionModel):
    """See `DiffusionModel`; x is (n, D), its embedding a `RowEmbedding`."""

    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Particles:
        """p(cells that are not known | those that are) of rows x (n, D), known (n, D), as the model of that pattern of
        roles has it, by 32 descents of each row: the even mixture of what the head says at their ends.

        Raises `UserError` for a model that is told no roles.
        """
        if "role" not in self.takes:
            raise UserError(
                "gaps are filled by a diffusion model that is told roles: train with --set model.roles=true"
            )
        emission = cast(RowEmbedding, self.embedding).emission
        valid, size = torch.where(known, x, 0.0), max(1, PIECE // DRAWS)
        pieces = [slice(at, at + size) for at in range(0, len(x), size)]
        laws = [self._completed(valid[piece], known[piece], generator) for piece in pieces]
        law = emission.law(torch.zeros(0, *emission.out_shape)) if not laws else _joined(laws)
        even = torch.zeros(len(x), DRAWS, dtype=torch.float64)
        return Particles(emission.maps, emission.columns, x, known, even, law)

    @torch.no_grad()
    def _completed(self, x: Tensor, known: Tensor, generator: torch.Generator) -> TableLaw:
        """p(x | z) at the ends of descents that are told the known cells, those of a row after each other."""
        role = torch.where(known, Role.KNOWN, Role.MODELLED).to(torch.uint8)
        condition = Condition(role=role, values=x).repeat(DRAWS)
        grid = self.at(STEPS, MomentMatched())
        state = last_state(descend(grid, grid.start(len(x) * DRAWS, condition), from_prior(generator)))
        return cast(TableLaw, self.predict(state.z, grid.time(0), state.condition).law)


def _joined(laws: list[TableLaw]) -> TableLaw:
    """The laws of the rows of several pieces."""
    return replace(
        laws[0],
        log_weights=torch.cat([law.log_weights for law in laws]),
        means=torch.cat([law.means for law in laws]),
        variances=torch.cat([law.variances for law in laws]),
        logits=torch.cat([law.logits for law in laws]),
    )
