"""How the columns of a table meet a model: which are real, which of these are rounded, where the tables of the
others begin."""

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.schema import Categories, Levels, Real, Schema


class Columns:
    """The columns of a schema. reals, categories: their places in x; ordered: of the categories, those that are whole
    numbers; on_line: those whose values have an order; resolutions: of the reals, 0 where they are not rounded; counts:
    values of each category; atoms: places of the columns that say which atom a real is at, the last value at none, and
    of that real."""

    def __init__(self, schema: Schema) -> None:
        if len(schema.shape) != 1:
            raise UserError("this kind of model is of tables: for pictures and sound train another")
        kinds = schema.each if schema.columns is not None else schema.each * schema.dimensions
        self.count = len(kinds)
        self.reals = [place for place, kind in enumerate(kinds) if isinstance(kind, Real)]
        self.categories = [place for place, kind in enumerate(kinds) if not isinstance(kind, Real)]
        self.names = [column.name for column in schema.columns or ()] or [str(place) for place in range(self.count)]
        places = {column.name: place for place, column in enumerate(schema.columns or ())}
        self.atoms = [
            (place, places[column.atoms_of])
            for place, column in enumerate(schema.columns or ())
            if column.atoms_of is not None
        ]
        self.ordered = [isinstance(kinds[place], Levels) for place in self.categories]
        self.on_line = [_on_line(kinds[place]) for place in self.categories]
        self.counts = [kinds[place].count or 1 for place in self.categories]
        self.resolutions = torch.tensor([_resolution(kinds[place]) for place in self.reals], dtype=torch.float64)
        self.offsets = np.concatenate(([0], np.cumsum(self.counts))).astype(int).tolist()
        self.groups = torch.repeat_interleave(
            torch.arange(len(self.counts)), torch.tensor(self.counts, dtype=torch.int64)
        )

    @property
    def rounded(self) -> list[int]:
        """The reals, by their number among the reals, that have a resolution, in the schema's order."""
        return [place for place, resolution in enumerate(self.resolutions.tolist()) if resolution]

    def centres(self, x: Tensor) -> Tensor:
        """The reals of x (n, D), rounded ones to the centres of their cells: (n, reals) float64."""
        return self.to_grid(x[:, self.reals].double())

    def to_grid(self, reals: Tensor) -> Tensor:
        """Reals (…, reals) as the centres of their cells where they are rounded, float64."""
        step = self.resolutions.to(reals.device)
        return torch.where(step > 0, (reals / step.clamp(min=1e-300)).round() * step, reals)

    def at_atoms(self, x: Tensor) -> Tensor:
        """Which cells of x (n, D) are of reals that the row says are at an atom, and so have no value: bool."""
        found = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        for which, real in self.atoms:
            found[:, real] = x[:, which] < self.counts[self.categories.index(which)] - 1
        return found

    def codes(self, x: Tensor, told: Tensor) -> Tensor:
        """The places of the categories of x (n, D) in the tables, (n, categories) int64; 0 … where they are not told.
        Raises `UserError` for one that is told and is none."""
        found = x[:, self.categories]
        offsets = torch.tensor(self.offsets[:-1], dtype=torch.int64)
        if not len(self.categories):
            return torch.zeros(found.shape, dtype=torch.int64)
        numbers = torch.where(told, found.nan_to_num().double(), 0.0).long()
        wrong = told & ((numbers < 0) | (numbers >= torch.tensor(self.counts)))
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            name = self.names[self.categories[column]]
            raise UserError(
                f"row {row}, column {name!r}: {numbers[row, column]} is none of its {self.counts[column]} values"
            )
        return numbers + offsets


def _on_line(kind: object) -> bool:
    return isinstance(kind, Levels) or (isinstance(kind, Categories) and kind.ordered)


def _resolution(kind: object) -> float:
    return (kind.resolution or 0.0) if isinstance(kind, Real) else 0.0
