"""A diffusion model of the rows of a table, which knows the law of some cells given others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.models.diffusion.methods import Descended, Method, Told
from vlb.models.diffusion.model import DiffusionModel

TOLD = Told()


class TableDiffusion(DiffusionModel):
    """See `DiffusionModel`; x is (n, D), its embedding a `RowEmbedding`."""

    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Descended:
        """p(cells that are not known | those that are) of rows x (n, D), known (n, D), as the model of that pattern of
        roles has it, by descents of each row: the even mixture of what the head says at their ends.

        Raises `UserError` for a model that is told no roles; see `by`.
        """
        return self.by(TOLD).conditional(x, known, generator)

    def by(self, method: Method) -> "Filling":
        """The same by another method."""
        return Filling(self, method)


@dataclass(frozen=True)
class Filling:
    """A diffusion model of rows that fills gaps by a method."""

    model: TableDiffusion
    method: Method

    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Descended:
        """See `TableDiffusion.conditional`; the draws of a row are a function of its known cells and of one seed, which
        is drawn. Raises `UserError` for a model that the method does not go with."""
        return self.method(self.model, x, known, int(torch.randint(1 << 31, (), generator=generator)))
