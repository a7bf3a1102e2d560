"""One value for a cell from its law: mean, median or mode; of reals, of reals with atoms, of categories."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from vlb.core.schema import AnyKind, Categories
from vlb.data.numbers import notation
from vlb.models.protocols import Law


class Point(Protocol):
    """A statistic of the law of a cell. more: how many times the draws it needs that a mean does, where a law is known
    by draws: one value of it hangs on those beside it alone."""

    more: int

    def of_reals(self, law: Law) -> Tensor:
        """(n, D), of which the real columns are looked at."""

    def of_atoms(self, p: Tensor, atoms: Tensor, law: Law, place: int) -> Tensor:
        """(n,). p: (n, k + 1) of the k atoms, in order of size, and of another value, whose law is the column `place`
        of `law`."""

    def of_categories(self, p: Tensor, kind: AnyKind) -> Tensor:
        """The number of a value, (n,), by p (n, values)."""


class Mean:
    """E[x]; of categories that are numbers, the listed one next to it; of others, the likeliest."""

    more = 1

    def of_reals(self, law: Law) -> Tensor:
        return law.mean()

    def of_atoms(self, p: Tensor, atoms: Tensor, law: Law, place: int) -> Tensor:
        return p[:, :-1] @ atoms + p[:, -1] * law.mean()[:, place]

    def of_categories(self, p: Tensor, kind: AnyKind) -> Tensor:
        values = numbers(kind)
        if values is None:
            return p.argmax(1)
        return ((p @ values).unsqueeze(1) - values).abs().argmin(1)


class Median:
    """The least value with at least half of the mass at or below it; of categories without order, the likeliest."""

    more = 4

    def of_reals(self, law: Law) -> Tensor:
        return law.quantile(0.5)

    def of_atoms(self, p: Tensor, atoms: Tensor, law: Law, place: int) -> Tensor:
        # What is left of ½ beyond so many atoms, as a level of the law of other values.
        left = 0.5 - torch.cat((torch.zeros(len(p), 1, dtype=p.dtype), p[:, :-1].cumsum(1)), 1)
        levels = left / p[:, -1:].clamp(min=1e-300)
        found = []
        for level in levels.T:
            value = law.quantile(level.clamp(1e-12, 1 - 1e-12))[:, place]
            value = torch.where(level <= 0, -torch.inf, value)
            found.append(torch.where(level >= 1, torch.inf, value))
        median = found[-1]
        for number in range(len(atoms) - 1, -1, -1):
            reached = found[number + 1] <= atoms[number]
            median = torch.where(reached, torch.minimum(found[number], atoms[number]), median)
        return median

    def of_categories(self, p: Tensor, kind: AnyKind) -> Tensor:
        if isinstance(kind, Categories) and not kind.ordered:
            return p.argmax(1)
        return (p.cumsum(1) < 0.5 * p.sum(1, keepdim=True)).sum(1).clamp(max=p.shape[1] - 1)


class Mode:
    """The value of the largest density or mass: an atom, where one is likelier than all other values together."""

    more = 4

    def of_reals(self, law: Law) -> Tensor:
        return law.mode()

    def of_atoms(self, p: Tensor, atoms: Tensor, law: Law, place: int) -> Tensor:
        likeliest = p.argmax(1)
        at = atoms[likeliest.clamp(max=len(atoms) - 1)]
        return torch.where(likeliest < len(atoms), at, law.mode()[:, place])

    def of_categories(self, p: Tensor, kind: AnyKind) -> Tensor:
        return p.argmax(1)


POINTS: Mapping[str, Point] = MappingProxyType({"mean": Mean(), "median": Median(), "mode": Mode()})


def numbers(kind: AnyKind) -> Tensor | None:
    """The values of a column with an order as numbers, (values,) float64; None where they are none."""
    if not isinstance(kind, Categories):
        return torch.arange(kind.count or 0, dtype=torch.float64)
    read = notation(kind.values) if kind.ordered else None
    return None if read is None else torch.tensor([read(text) for text in kind.values], dtype=torch.float64)
