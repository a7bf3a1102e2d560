"""The backbones that are offered, each a frozen configuration beside the module that it builds."""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.nn.mlp import MLP
from vlb.nn.sets import SetAttention
from vlb.nn.unet import UNet
from vlb.nn.unet2d import UNet2D

BACKBONES = Family("backbone", {"mlp": MLP, "unet": UNet, "unet2d": UNet2D, "set-attention": SetAttention})

Backbone = Annotated[MLP | UNet | UNet2D | SetAttention, BACKBONES]
