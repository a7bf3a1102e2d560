"""A residual MLP for vectors and small images."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vlb.base.domains import BelowOne, Depth, Settings, Width
from vlb.core.condition import NOTHING, PLANES, ROLE, UNCONDITIONAL, Condition
from vlb.nn.dropout import Dropout
from vlb.nn.embedding import Conditioning, beside, seen
from vlb.nn.stages import Network, Stage


class MLPBackbone(Network):
    """(batch, *shape) -> (batch, *out_shape); starts at zero. roles: whether it is told the roles of
    elements; planes: how many maps aligned with images it is told."""

    def __init__(
        self,
        shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        classes: int,
        width: int,
        blocks: int,
        dropout: float,
        roles: bool = False,
        planes: int = 0,
    ) -> None:
        super().__init__()
        self.out_shape, self.roles, self.planes = out_shape, roles, planes
        self.conditioning = Conditioning(width, classes)
        self.takes = self.conditioning.takes | (ROLE if roles else NOTHING) | (PLANES if planes else NOTHING)
        numbers = math.prod(shape) * (4 if roles else 1) + planes * math.prod(shape[1:])
        self.first = nn.Linear(numbers, width)
        self.blocks = nn.ModuleList(Modulated(width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, math.prod(out_shape))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def compute(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        embedded = self.conditioning(gamma, condition)
        h = z.flatten(1)
        if self.roles:
            h = torch.cat(seen(h, None if condition.role is None else condition.role.flatten(1)), 1)
        if self.planes:
            h = beside(h, condition)
        h = self.first(h)
        for block in self.blocks:
            h = block(h, embedded)
        return self.last(self.norm(h)).view(len(z), *self.out_shape)


class Modulated(Stage):
    """A residual block of two layers on the last axis of h (batch, …, width), scaled and shifted by what is embedded,
    (batch, …, width), which broadcasts against it."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), Dropout(dropout), nn.Linear(width, width))

    def compute(self, h: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.modulation(embedded).chunk(2, -1)
        return h + self.layers(self.norm(h) * (1 + scale) + shift)


@dataclass(frozen=True, kw_only=True)
class MLP(Settings):
    """A residual MLP over all dimensions at once."""

    exchangeable: ClassVar = False

    width: Width = 512
    blocks: Depth = 4
    dropout: BelowOne = 0.1

    def build(
        self, shape: tuple[int, ...], out_shape: tuple[int, ...], classes: int, roles: bool, planes: int = 0
    ) -> MLPBackbone:
        """For latents of a shape, outputs as the head asks for them, labels, 0 for none, and, if it is told them, roles
        and so many planes."""
        return MLPBackbone(shape, out_shape, classes, self.width, self.blocks, self.dropout, roles, planes)
