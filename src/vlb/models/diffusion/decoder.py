"""How x is decoded from z_0: every element at once, or a lattice at a time.

Given z_t, elements are independent in one step, which costs what they tell about each other. Many steps make that
little; so does decoding in a few groups, each told the values of those before it,

    p(x | z_0) = Π_g p(x_g | z_0, x_{<g}),

from a γ₀ that leaves the finest detail to it, and few steps above.
"""

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.schema import Schema

MOST_GROUPS = 64  # each of which is a network evaluation


class Decoder(Settings, ABC):
    """The configuration of p(x | z_0), for a network that says a law of each element."""

    @abstractmethod
    def groups(self, schema: Schema) -> Tensor | None:
        """The group of each element of x, (*shape) int64 from 0, in the order of decoding; None where all are decoded
        at once. Raises `UserError` for data that have no such groups."""


@dataclass(frozen=True, kw_only=True)
class Together(Decoder):
    """All elements at once, independent given z_0: one network evaluation."""

    def groups(self, schema: Schema) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Lattices(Decoder):
    """Every `stride`-th element along each axis at once, one such lattice after the other: strideᵃ network evaluations
    on a axes. The network is told which elements are known; channels of a place are decoded together."""

    stride: Annotated[int, Within(2, 8)] = 2

    def groups(self, schema: Schema) -> Tensor:
        sizes = schema.layout.grid
        if not sizes:
            raise UserError("lattices are of pictures, sound and volumes: set model.decoder=together")
        if self.stride ** len(sizes) > MOST_GROUPS:
            raise UserError(
                f"a stride of {self.stride} along {len(sizes)} axes makes more than {MOST_GROUPS} lattices: set a "
                "smaller model.decoder.stride"
            )
        index = torch.zeros(sizes, dtype=torch.int64)
        for place in torch.meshgrid(*(torch.arange(size) % self.stride for size in sizes), indexing="ij"):
            index = index * self.stride + place
        turn = spread(self.stride, len(sizes))[index]
        turn = turn.unique(return_inverse=True)[1]  # along axes shorter than the stride some have no element
        return turn.expand(schema.shape).contiguous()


def grouped(groups: Tensor, n: int, condition: Condition) -> Tensor:
    """The groups of n examples, (n, *shape), −1 of what a condition says is not modelled."""
    each = groups.expand(n, *groups.shape)
    return each if condition.role is None else torch.where(condition.role == Role.MODELLED, each, -1)


def told(condition: Condition, group: Tensor, before: int | Tensor) -> Condition:
    """The same with the elements of groups before a number, or of each example before its own (batch, 1, …), known;
    their values are in the latent."""
    role = torch.zeros_like(group, dtype=torch.uint8) if condition.role is None else condition.role
    known = (group >= 0) & (group < before)
    return replace(condition, role=torch.where(known, int(Role.KNOWN), role).to(torch.uint8), values=None)


def only(condition: Condition, counts: Tensor) -> Condition:
    """The same where of what is modelled no more than some elements count, (batch, *shape) bool: not for a network."""
    assert condition.role is not None
    return replace(condition, role=torch.where(counts, condition.role, int(Role.ABSENT)).to(torch.uint8))


def spread(stride: int, axes: int) -> Tensor:
    """The places of a cell of stride^axes in the order in which each is as far as can be from those before it, around
    the cell's borders: (stride^axes,) int64, by place the turn, places numbered with the last axis fastest."""
    places = list(itertools.product(range(stride), repeat=axes))

    def apart(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        return sum(min((i - j) % stride, (j - i) % stride) ** 2 for i, j in zip(a, b, strict=True))

    chosen = places[:1]
    while len(chosen) < len(places):
        left = [place for place in places if place not in chosen]
        # Of equally near ones, what is far from all of them together; then the first.
        chosen.append(max(left, key=lambda place: sorted(apart(place, other) for other in chosen)))
    turn = torch.empty(len(places), dtype=torch.int64)
    turn[torch.tensor([places.index(place) for place in chosen])] = torch.arange(len(places))
    return turn


DECODERS = Family("decoder", {"together": Together, "lattices": Lattices})
AnyDecoder = Annotated[Together | Lattices, DECODERS]
