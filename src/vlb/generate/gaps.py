"""What a model says of the missing cells of rows: draws, points, and how sure it is, by the columns of the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.schema import AnyKind, Categories, Column, Real
from vlb.data.columns import placed
from vlb.data.rows import of_file
from vlb.generate.points import Point
from vlb.models.protocols import Imputing, Law, Resampling, offers

TRIES = 1000
FEW = 10  # effective draws, below which a law is hardly known


@dataclass(frozen=True, eq=False)
class Gaps:
    """Rows x (n, D) float64 of the columns of a schema, of which the cells that are `known` (n, D) are looked at.

    What is said of them is a list by the columns of the table, each (n,): reals as they are, rounded to their
    resolution, of other kinds the numbers of values. `other`, which stands for no text, is never among them: the law is
    that given that it is not. generator: of what laws draw that are not exact.
    """

    model: Imputing
    columns: tuple[Column, ...]
    x: Tensor
    known: Tensor
    generator: torch.Generator

    @cached_property
    def law(self) -> Law:
        """Of the cells that are not known."""
        return self.model.conditional(self.x, self.known, self.generator)

    @property
    def effort(self) -> str:
        """How far the law can be trusted, in words; empty where it is exact."""
        return trusted([self.law], "row")

    @cached_property
    def probabilities(self) -> dict[int, Tensor]:
        """Of the listed values of the columns of categories, by place, (n, values) each."""
        places = [place for place, column in enumerate(self.columns) if column.kind.count is not None]
        found = zip(places, self.law.probabilities(), strict=True)
        return {place: _listed(p, self.columns[place].kind) for place, p in found}

    def draw(self, generator: torch.Generator) -> list[np.ndarray]:
        """One draw of all missing cells of each row, together. Raises `UserError` where only `other` is likely."""
        x = self.law.sample(generator)
        for _ in range(TRIES):
            again = self._unlisted(x)
            if not again.any():
                return [values for _, values in of_file(x.numpy(), self.columns)]
            x[again] = self.model.conditional(self.x[again], self.known[again], self.generator).sample(generator)
        raise UserError(
            "a row can hardly have listed values in its missing cells, by what the model saw: list more values of the "
            "columns that have `other` in schema.toml, and train again"
        )

    def point(self, point: Point) -> list[np.ndarray]:
        """One value of each missing cell, by itself."""
        reals = point.of_reals(self.law)
        found = []
        for place, column in placed(self.columns):
            if column.atoms:
                values = torch.zeros(len(self.x), dtype=torch.float64)
                rows, p, law = self._at_atoms(place)
                order = torch.tensor(column.atoms, dtype=torch.float64).argsort()
                p = torch.cat((p[:, :-1][:, order], p[:, -1:]), 1)
                atoms = torch.tensor(column.atoms, dtype=torch.float64)[order]
                values[rows] = point.of_atoms(p, atoms, law, place + 1)
            elif isinstance(column.kind, Real):
                values = reals[:, place]
            else:
                values = point.of_categories(self.probabilities[place], column.kind)
            found.append(_rounded(values.double().numpy(), column.kind))
        return found

    def deviations(self) -> list[np.ndarray | None]:
        """The standard deviation of each missing cell of the real columns, None for others."""
        reals = self.law.deviation()
        found: list[np.ndarray | None] = []
        for place, column in placed(self.columns):
            if not isinstance(column.kind, Real):
                found.append(None)
                continue
            values = reals[:, place]
            if column.atoms:
                values = torch.zeros(len(self.x), dtype=torch.float64)
                rows, p, law = self._at_atoms(place)
                mean, deviation = law.mean()[:, place + 1], law.deviation()[:, place + 1]
                atoms = torch.tensor(column.atoms, dtype=torch.float64)
                centre = p[:, :-1] @ atoms + p[:, -1] * mean
                squares = (p[:, :-1] * (atoms - centre.unsqueeze(1)).square()).sum(1)
                values[rows] = (squares + p[:, -1] * (deviation.square() + (mean - centre).square())).sqrt()
            found.append(values.numpy())
        return found

    def likelihoods(self, values: list[np.ndarray]) -> list[np.ndarray | None]:
        """The probability of each value of the columns of categories, by itself; None for reals."""
        found: list[np.ndarray | None] = []
        for (place, column), own in zip(placed(self.columns), values, strict=True):
            if isinstance(column.kind, Real):
                found.append(None)
                continue
            p = self.probabilities[place]
            chosen = torch.from_numpy(own.astype(np.int64)).clamp(max=p.shape[1] - 1)
            found.append(p.gather(1, chosen.unsqueeze(1)).squeeze(1).numpy())
        return found

    def _at_atoms(self, place: int) -> tuple[Tensor, Tensor, Law]:
        """The rows in which it is missing which atom a cell is at, (m,); p of which, (m, k + 1); and the law given that
        it is at none: other values have another law in rows that are likely at an atom."""
        rows = (~self.known[:, place]).nonzero().squeeze(1)
        x, known, p = self.x[rows].clone(), self.known[rows].clone(), self.probabilities[place][rows]
        x[:, place], known[:, place] = float(p.shape[1] - 1), True
        return rows, p, self.model.conditional(x, known, self.generator)

    def _unlisted(self, x: Tensor) -> Tensor:
        """Rows in which a missing cell was drawn as `other`, (n,) bool."""
        found = torch.zeros(len(x), dtype=torch.bool)
        for place, column in enumerate(self.columns):
            if isinstance(column.kind, Categories) and column.kind.other:
                found |= ~self.known[:, place] & (x[:, place] == len(column.kind.values))
        return found


def trusted(laws: Sequence[object], what: str) -> str:
    """How far laws of rows, or of `what` else, can be trusted, in words; empty where they are exact."""
    found = [law for law in laws if offers(law, Resampling)]
    if not found:
        return ""
    draws, effective = found[0].draws, torch.cat([law.effective for law in found])
    words = f"by {draws} {found[0].drawn} of each {what}"
    if bool((effective > draws - 1e-6).all()):
        return words
    few = float((effective < FEW).double().mean())
    return (
        f"{words}, effective {float(effective.median()):.0f} in the median and below {FEW} in {few:.0%} of the {what}s"
    )


def _listed(p: Tensor, kind: AnyKind) -> Tensor:
    """Without `other`."""
    if not (isinstance(kind, Categories) and kind.other):
        return p
    return p[:, :-1] / p[:, :-1].sum(1, keepdim=True)


def _rounded(values: np.ndarray, kind: AnyKind) -> np.ndarray:
    if not isinstance(kind, Real) or kind.resolution is None:
        return values
    rounded: np.ndarray = np.rint(values / kind.resolution) * kind.resolution
    return rounded
