"""A diffusion model of the rows of a table, which knows the law of some cells given others."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.emissions import Particles, RowEmbedding, TableLaw
from vlb.models.diffusion.completion import Told
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
        emission, way = cast(RowEmbedding, self.embedding).emission, Told(DRAWS, STEPS)
        valid = torch.where(known, x, 0.0)
        size = max(1, PIECE // DRAWS)
        parts = [way(self, valid[at : at + size], known[at : at + size], generator) for at in range(0, len(x), size)]
        laws = [cast(TableLaw, part.law) for part in parts]
        law = emission.law(torch.zeros(0, *emission.out_shape)) if not laws else _joined(laws)
        even = torch.zeros(len(x), DRAWS, dtype=torch.float64)
        return Particles(emission.maps, emission.columns, x, known, even, law)


def _joined(laws: list[TableLaw]) -> TableLaw:
    """The laws of the rows of several pieces."""
    return replace(
        laws[0],
        log_weights=torch.cat([law.log_weights for law in laws]),
        means=torch.cat([law.means for law in laws]),
        variances=torch.cat([law.variances for law in laws]),
        logits=torch.cat([law.logits for law in laws]),
    )
