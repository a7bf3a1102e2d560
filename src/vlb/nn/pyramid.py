"""Convolutional networks of a residual hierarchy: latents are images of several resolutions (Child 2021)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.nn.coder import halved
from vlb.nn.dropout import Dropout


class Block(nn.Module):
    """A residual block of two convolutions, (batch, C, H, W) -> the same; it starts as the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), Dropout(dropout),
            _zero(nn.Conv2d(width, width, 3, padding=1)),
        )  # fmt: skip

    def forward(self, h: Tensor) -> Tensor:
        return h + self.layers(h)


class Pyramid(nn.Module):
    """(batch, C, H, W) -> features per rung, rung 0 first: (batch, width, ·, ·) at 2^−halvings of the size."""

    def __init__(self, channels: int, halvings: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        self.halvings = halvings
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in halvings)

    def forward(self, x: Tensor) -> list[Tensor]:
        h, scale, features = self.first(x), 0, []
        for halving, block in zip(self.halvings, self.blocks, strict=True):
            for _ in range(halving - scale):
                h = F.avg_pool2d(h, 2, ceil_mode=True)
            scale = halving
            h = block(h)
            features.append(h)
        return features


class Join(nn.Module):
    """(h, z) -> the features of the rung below: h plus z, a block, and the step to the next resolution."""

    def __init__(self, latents: int, width: int, dropout: float, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.project = nn.Conv2d(latents, width, 1)
        self.block = Block(width, dropout)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        h = self.block(h + self.project(z))
        return h if h.shape[-2:] == self.size else F.interpolate(h, size=self.size)


class Parameters(nn.Module):
    """(batch, inputs, H, W) -> the 2·latents numbers of a Gaussian per place; starts at zero."""

    def __init__(self, inputs: int, latents: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(), nn.Conv2d(inputs, width, 3, padding=1), nn.SiLU(), _zero(nn.Conv2d(width, 2 * latents, 1))
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


class Output(nn.Module):
    """Features (batch, width, H, W) -> (batch, C, H, W, outputs); starts at zero."""

    def __init__(self, width: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.channels, self.outputs = channels, outputs
        self.layers = nn.Sequential(nn.SiLU(), _zero(nn.Conv2d(width, channels * outputs, 1)))

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h).unflatten(1, (self.channels, self.outputs)).movedim(2, -1)


def top_features(shape: tuple[int, ...], halvings: int, width: int) -> Tensor:
    """Small random features above the top latent, (1, width, ·, ·)."""
    size = halved((shape[1], shape[2]), halvings)
    return torch.randn(1, width, *size) / math.sqrt(width)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
