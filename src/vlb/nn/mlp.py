"""A residual MLP for vectors and small images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlb.base.domains import BelowOne, Depth, Settings, Width
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.nn.dropout import Dropout
from vlb.nn.embedding import Conditioning


class MLPBackbone(nn.Module):
    """(batch, *shape) -> (batch, *shape, outputs); starts at zero."""

    def __init__(
        self, shape: tuple[int, ...], outputs: int, classes: int, width: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        dimensions = torch.Size(shape).numel()
        self.conditioning = Conditioning(width, classes)
        self.takes = self.conditioning.takes
        self.first = nn.Linear(dimensions, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, dimensions * outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        embedded = self.conditioning(gamma, condition)
        h = self.first(z.flatten(1))
        for block in self.blocks:
            h = block(h, embedded)
        return self.last(self.norm(h)).view(*z.shape, -1)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), Dropout(dropout), nn.Linear(width, width))

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.modulation(embedded).chunk(2, -1)
        return h + self.layers(self.norm(h) * (1 + scale) + shift)


@dataclass(frozen=True, kw_only=True)
class MLP(Settings):
    """A residual MLP over all dimensions at once."""

    width: Width = 512
    blocks: Depth = 4
    dropout: BelowOne = 0.1

    def build(self, shape: tuple[int, ...], outputs: int, classes: int) -> MLPBackbone:
        """For data of a shape, as many outputs per element as the head asks for, and labels, 0 for none."""
        return MLPBackbone(shape, outputs, classes, self.width, self.blocks, self.dropout)
