"""What a model is told beside the x that it models: a label, roles of elements, known values, maps aligned with x.

A model states which parts it takes, `takes`, and refuses the others first, by `refuse_others`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor

from vlb.base.errors import UserError


class Role(IntEnum):
    """What an element of x is to a model; kept as uint8."""

    MODELLED = 0  # noised, drawn, coded, counted
    KNOWN = 1  # given as it is: a margin, an inpainting mask, given columns, the observed cells of a row to impute
    ABSENT = 2  # missing cells, what lies beyond a photograph, padding


@dataclass(frozen=True, eq=False)
class Condition:
    """What is given of a batch, each part a tensor or None; `UNCONDITIONAL` gives nothing.

    label: (batch,) int64, −1 for no label. role: (batch, *shape) uint8, a `Role` per element. values: (batch, *shape)
    in units of x, the known elements where no x is passed. planes: (batch, channels, …), other maps aligned with x: a
    coarse band, a position.

    Raises `ValueError` where the parts differ in batch size, or one is not of the shape or type above.
    """

    label: Tensor | None = None
    role: Tensor | None = None
    values: Tensor | None = None
    planes: Tensor | None = None

    def __post_init__(self) -> None:
        given = [part for part in (self.label, self.role, self.values, self.planes) if part is not None]
        if any(part.ndim == 0 for part in given) or len({len(part) for part in given}) > 1:
            raise ValueError(f"the parts of a condition are of one batch, unlike {[tuple(p.shape) for p in given]}")
        if self.label is not None and (self.label.ndim != 1 or self.label.dtype != torch.int64):
            raise ValueError(f"labels are (batch,) int64, not {tuple(self.label.shape)} {self.label.dtype}")
        if self.role is not None and self.role.dtype != torch.uint8:
            raise ValueError(f"roles are uint8, not {self.role.dtype}")
        if self.role is not None and self.values is not None and self.role.shape != self.values.shape:
            raise ValueError(f"roles {tuple(self.role.shape)} and values {tuple(self.values.shape)} are both of x")

    @property
    def parts(self) -> frozenset[str]:
        """The names of the parts that are given."""
        return frozenset(name for name in PARTS if getattr(self, name) is not None)

    @property
    def nothing(self) -> bool:
        """Whether no part is given."""
        return self.label is None and self.role is None and self.values is None and self.planes is None

    def take(self, index: slice | Tensor) -> "Condition":
        """The condition of the examples at `index`: a slice, or whole numbers or a mask on the device of the parts."""
        return self._each(lambda part: part[index])

    def repeat(self, n: int) -> "Condition":
        """Each example's condition n times in a row: of 0, 0, …, 1, 1, …, like `repeat_interleave` of x."""
        return self._each(lambda part: part.repeat_interleave(n, 0))

    def to(self, device: torch.device | str) -> "Condition":
        """The same on a device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        return Condition(*(None if part is None else change(part) for part in (getattr(self, name) for name in PARTS)))


def joined(conditions: Sequence[Condition]) -> Condition:
    """The condition of several batches, one after the other. All have the same parts."""
    return Condition(
        *(
            None if getattr(conditions[0], name) is None else torch.cat([getattr(one, name) for one in conditions])
            for name in PARTS
        )
    )


PARTS = tuple(field.name for field in fields(Condition))
UNCONDITIONAL = Condition()

# What models commonly take.
NOTHING: frozenset[str] = frozenset()
LABEL = frozenset({"label"})
ROLE = frozenset({"role"})
PLANES = frozenset({"planes"})

_REFUSALS = {
    "label": "is not conditioned on labels: leave out --condition labels and --class",
    "role": "models every element of x: leave out the condition's roles, or train one that is told them: a table by "
    "the recipe table, a diffusion model with --set model.roles=true",
    "values": "takes no known elements beside x: leave out the condition's values",
    "planes": "takes no maps aligned with x: leave out the condition's planes",
}


def refuse_others(condition: Condition, takes: frozenset[str], who: str) -> None:
    """Raises `UserError` where the condition has a part that is not in `takes`; `who`: "this hierarchy", …"""
    others = condition.parts - takes
    if others:
        raise UserError(f"{who} {next(_REFUSALS[part] for part in PARTS if part in others)}")
