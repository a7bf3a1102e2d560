"""A network for sets of points: attention without places, so that points in another order
give the same in that order."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from vlb.base.domains import BelowOne, Depth, Settings, Width, Within
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING, ROLE, UNCONDITIONAL, Condition, Role
from vlb.nn.attention import Attention
from vlb.nn.embedding import Conditioning, fourier
from vlb.nn.mlp import Modulated
from vlb.nn.stages import Network, Stage


class SetBackbone(Network):
    """(batch, N, d) -> (batch, N, d, outputs) for points whose order means nothing; starts at zero.

    Each point is a token of its coordinates and their sines; a stage is attention of all points to each other and a
    layer of each point by itself, modulated by noise level and label. With roles, a token says which of its coordinates
    are known, and nothing looks at a point that is absent: a cloud is seen as it is among larger ones.
    """

    def __init__(
        self,
        coordinates: int,
        outputs: int,
        classes: int,
        width: int,
        blocks: int,
        octaves: tuple[int, ...],
        dropout: float,
        roles: bool = False,
    ) -> None:
        super().__init__()
        self.outputs, self.octaves, self.roles = outputs, octaves, roles
        self.conditioning = Conditioning(width, classes)
        self.takes = self.conditioning.takes | (ROLE if roles else NOTHING)
        self.first = nn.Linear(coordinates * (1 + 2 * len(octaves) + roles), width)
        self.stages = nn.ModuleList(_Mixed(width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, coordinates * outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def compute(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        embedded = self.conditioning(gamma, condition).unsqueeze(1)
        tokens, there = fourier(z.transpose(1, 2), self.octaves).transpose(1, 2), None
        if self.roles:
            known = torch.zeros_like(z) if condition.role is None else (condition.role == Role.KNOWN).to(z.dtype)
            tokens = torch.cat((tokens, known), -1)
            there = None if condition.role is None else (condition.role != Role.ABSENT).any(-1)
        h = self.first(tokens)
        for stage in self.stages:
            h = stage(h, embedded, there)
        return self.last(self.norm(h)).unflatten(-1, (z.shape[-1], self.outputs))


class _Mixed(Stage):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.each = Attention(width), Modulated(width, dropout)

    def compute(self, h: Tensor, embedded: Tensor, there: Tensor | None) -> Tensor:
        return self.each(self.attention(h.transpose(1, 2), there).transpose(1, 2), embedded)


@dataclass(frozen=True, kw_only=True)
class SetAttention(Settings):
    """Attention of the points of a set to each other, whose order means nothing."""

    exchangeable: ClassVar = True

    width: Width = 128
    blocks: Depth = 4
    octaves: tuple[Annotated[int, Within(-16, 16)], ...] = (0, 1, 2)
    dropout: BelowOne = 0.0

    def build(
        self, shape: tuple[int, ...], out_shape: tuple[int, ...], classes: int, roles: bool, planes: int = 0
    ) -> SetBackbone:
        """For latents of N points of d coordinates, outputs per coordinate as the head asks for them, and labels, 0 for
        none. Raises `UserError` for other shapes, and where it is to be told planes."""
        if len(shape) != 2 or out_shape[:-1] != shape:
            raise UserError(f"attention over a set needs points (points, coordinates), not {shape}: use backbone=mlp")
        if planes:
            raise UserError("attention over a set is told no planes: leave out model.position")
        return SetBackbone(shape[1], out_shape[-1], classes, self.width, self.blocks, self.octaves, self.dropout, roles)
