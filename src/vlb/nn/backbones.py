"""The backbones that are offered, each a frozen configuration beside the module that it builds."""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.nn.mlp import MLP
from vlb.nn.unet import UNet

BACKBONES = Family("backbone", {"mlp": MLP, "unet": UNet})

Backbone = Annotated[MLP | UNet, BACKBONES]
