"""Encoders and decoders without a noise level: dense ones, and convolutions between an image and a vector.

`DenseCoder` and `ConvolutionalCoder` are the frozen configurations of a pair of them.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.base.configuration import Family
from vlb.base.domains import BelowOne, Depth, Settings, Width
from vlb.base.errors import UserError
from vlb.nn.dropout import Dropout


class Dense(nn.Module):
    """(batch, *shape_in) -> (batch, *shape_out): a residual MLP; `blocks` 0 is one hidden layer.

    scale: factor on the last layer's initial weights; small for a decoder that should start at its bias.
    """

    def __init__(
        self, inputs: int, shape: tuple[int, ...], width: int, blocks: int, dropout: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), Dropout(dropout),
                nn.Linear(width, width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.last = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, math.prod(shape)))
        _scale(self.last[-1], scale)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h).view(len(x), *self.shape)


class DenseFeatures(nn.Module):
    """x -> features per rung, rung 0 first, each (batch, width): a deterministic bottom-up pass of dense blocks."""

    def __init__(self, inputs: int, depth: int, width: int, blocks: int, dropout: float = 0.0) -> None:
        super().__init__()
        sizes = [inputs, *[width] * (depth - 1)]
        self.levels = nn.ModuleList(Dense(size, (width,), width, blocks, dropout) for size in sizes)

    def forward(self, x: Tensor) -> list[Tensor]:
        features, h = [], x
        for level in self.levels:
            h = level(h)
            features.append(h)
        return features


class Single(nn.Module):
    """A network as the encoder of a hierarchy of one rung: its output is the only rung's features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.network(x)]


def halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    """(height, width) after `times` halvings that round up."""
    for _ in range(times):
        size = (-(-size[0] // 2), -(-size[1] // 2))
    return size


class ConvEncoder(nn.Module):
    """(batch, C, H, W) -> (batch, outputs): a convolution per resolution, then one linear layer."""

    def __init__(self, shape: tuple[int, ...], outputs: int, widths: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 3, padding=1), nn.SiLU()]
        for before, after in zip(widths, (*widths[1:], widths[-1]), strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        height, width = halved((shape[1], shape[2]), len(widths))
        last = nn.Linear(widths[-1] * height * width, outputs)
        self.layers = nn.Sequential(*layers, nn.Flatten(), Dropout(dropout), last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ConvDecoder(nn.Module):
    """(batch, latents) -> (batch, C, H, W, outputs): the mirror image of `ConvEncoder`."""

    def __init__(self, latents: int, shape: tuple[int, ...], outputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.outputs = shape[0], outputs
        self.sizes = [halved((shape[1], shape[2]), times) for times in range(len(widths), -1, -1)]
        height, width = self.sizes[0]
        self.first = nn.Sequential(
            nn.Linear(latents, widths[-1] * height * width), nn.SiLU(), nn.Unflatten(1, (widths[-1], height, width))
        )
        around = (widths[-1], *reversed(widths))
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(around))
        self.last = nn.Conv2d(widths[0], shape[0] * outputs, 3, padding=1)
        _scale(self.last, 0.1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z)
        for size, convolution in zip(self.sizes[1:], self.convolutions, strict=True):
            h = F.silu(convolution(F.interpolate(h, size=size)))
        return self.last(h).unflatten(1, (self.channels, self.outputs)).movedim(2, -1)


@dataclass(frozen=True, kw_only=True)
class DenseCoder(Settings):
    """Residual MLPs for encoder and decoder."""

    width: Width = 256
    blocks: Depth = 1
    dropout: BelowOne = 0.1

    def build(self, shape: tuple[int, ...], latents: int, out: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        """Encoder from (batch, *shape) to 2·latents numbers, and decoder to (batch, *out)."""
        encoder = Dense(math.prod(shape), (2 * latents,), self.width, self.blocks, self.dropout)
        decoder = Dense(latents, out, self.width, self.blocks, self.dropout, scale=0.1)
        return encoder, decoder


@dataclass(frozen=True, kw_only=True)
class ConvolutionalCoder(Settings):
    """Convolutions; one entry of `widths` per halving of the image."""

    widths: tuple[Width, ...] = (32, 64)
    dropout: BelowOne = 0.1

    def build(self, shape: tuple[int, ...], latents: int, out: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
        """Encoder from (batch, *shape) to 2·latents numbers, and decoder to (batch, *out)."""
        if not self.widths:
            raise UserError("widths need at least one entry")
        images_of(shape, len(self.widths), "widths")
        encoder = ConvEncoder(shape, 2 * latents, self.widths, self.dropout)
        return encoder, ConvDecoder(latents, shape, out[-1], self.widths)


CODERS = Family(
    "coder",
    {
        "dense": DenseCoder,
        "convolutional": ConvolutionalCoder,
    },
)

AnyCoder = Annotated[DenseCoder | ConvolutionalCoder, CODERS]


def images_of(shape: tuple[int, ...], halvings: int, field_name: str) -> None:
    """Raises `UserError` unless examples of a shape are images that can be halved so often."""
    if len(shape) != 3:
        raise UserError(f"convolutions need images (channels, height, width), not {shape}: use dense networks")
    smallest = min(shape[1:])
    if smallest < 2**halvings:
        most = int(math.log2(smallest))
        raise UserError(
            f"{halvings} halvings do not fit images of {shape[1]}×{shape[2]}: {field_name} may ask for at most {most}"
        )


def _scale(layer: nn.Module, factor: float) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.zero_()
