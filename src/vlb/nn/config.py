"""Configurations of backbones."""

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from vlb.base.checks import positive
from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.nn.mlp import ResidualMLP
from vlb.nn.unet import UNet


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """A residual MLP over all dimensions at once."""

    width: int = 512
    blocks: int = 4
    dropout: float = 0.1

    def build(self, shape: tuple[int, ...], outputs: int, classes: int) -> nn.Module:
        positive("width", self.width)
        return ResidualMLP(shape, outputs, classes, self.width, self.blocks, self.dropout)


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """A U-Net; one entry of `widths` and `attention` per resolution."""

    widths: tuple[int, ...] = (64, 64, 64)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, False, True)
    octaves: tuple[int, ...] = ()
    patch: int = 1
    dropout: float = 0.0

    def build(self, shape: tuple[int, ...], outputs: int, classes: int) -> nn.Module:
        if len(shape) != 3:
            raise UserError(f"a U-Net needs images (channels, height, width), not {shape}: use backbone=mlp")
        if len(self.widths) != len(self.attention) or not self.widths:
            raise UserError(
                f"widths and attention need one entry per resolution each, not {self.widths} and {self.attention}"
            )
        for width in (*self.widths, self.patch):
            positive("widths and patch", width)
        if min(shape[1:]) < self.patch * 2 ** (len(self.widths) - 1):
            raise UserError(
                f"{len(self.widths)} resolutions with patch {self.patch} do not fit images of {shape[1]}×{shape[2]}: "
                "give fewer widths"
            )
        return UNet(
            shape, outputs, classes, self.widths, self.blocks, self.attention, self.octaves, self.patch, self.dropout
        )


BACKBONES = Family(
    "backbone",
    {
        "mlp": MLPConfig,
        "unet": UNetConfig,
    },
)

BackboneConfig = Annotated[MLPConfig | UNetConfig, BACKBONES]
