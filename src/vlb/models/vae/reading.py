"""What an encoder sees of x: all of it as numbers; or the numbers of what is there, and what that is."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vlb.core.emissions import Emission, TableEmission


class Reading(Protocol):
    """How x enters an encoder."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the encoder sees of one example."""

    def __call__(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """x (batch, *shape of x), of which the elements `there`, same shape, are looked at, None for all; as the
        encoder sees it, (batch, *shape)."""


@dataclass(frozen=True, eq=False)
class Whole:
    """x as numbers; nothing may be absent."""

    emission: Emission
    shape: tuple[int, ...]

    def __call__(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        return self.emission.embed(x)


@dataclass(frozen=True, eq=False)
class Partial:
    """Rows of a table: the numbers of the cells that are there, 0 for others, and beside them a 1 for each column that
    is there. 0 is about the mean of every number, but what is meant by it is said by the ones."""

    emission: TableEmission

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.emission.shape[0] + self.emission.columns.count,)

    def __call__(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        there = torch.ones(x.shape, dtype=torch.bool, device=x.device) if there is None else there
        numbers = self.emission.embed(x)
        seen = torch.where(self.emission.wide(there), numbers, 0.0)
        return torch.cat((seen, there.to(seen.dtype)), 1)
