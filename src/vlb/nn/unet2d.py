"""The U-Net of the package diffusers, `UNet2DModel`, for models that were trained there: its module, run as it is."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vlb.base.domains import BelowOne, Positive, Settings, Width, Within
from vlb.base.errors import UserError
from vlb.core.condition import LABEL, NOTHING, UNCONDITIONAL, Condition
from vlb.nn.dropout import Dropout
from vlb.nn.stages import Network

Down = Literal["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
Up = Literal["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]
Resampled = Literal["conv", "resnet"]


class UNet2DBackbone(Network):
    """z (batch, C, H, W) and the numbers of steps (batch, 1) -> (batch, C, H, W, 1)."""

    def __init__(self, network: nn.Module, classes: int = 0) -> None:
        """network: a `UNet2DModel`, whose dropout becomes one that is drawn by the step; classes: of the labels that it
        is told, 0 for none."""
        super().__init__()
        self.network, self.classes = network, classes
        self.takes = LABEL if classes else NOTHING
        for part in list(network.modules()):
            for name, child in part.named_children():
                if type(child) is nn.Dropout:
                    setattr(part, name, Dropout(child.p))

    def compute(self, z: Tensor, number: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        label = self._numbered(condition.label, z) if self.classes else None
        out: Tensor = self.network(z, number.mean(-1).float(), label, return_dict=False)[0]
        return out.unsqueeze(-1)

    def _numbered(self, label: Tensor | None, z: Tensor) -> Tensor:
        """Labels as the network numbers them. Raises `UserError` for none where it has no number for that."""
        label = torch.full_like(z[:, 0, 0, 0], -1, dtype=torch.int64) if label is None else label
        none = label < 0
        if self.network.config.num_class_embeds == self.classes and bool(none.any()):  # type: ignore[union-attr]
            raise UserError("this network has a number for each class and none for no label: say which by --class")
        return torch.where(none, self.classes, label)


@dataclass(frozen=True, kw_only=True)
class UNet2D(Settings):
    """The settings of `UNet2DModel`, under its own names and with its defaults; what it offers beside them – other
    embeddings of labels or time, blocks of other families of models – is not taken.

    num_class_embeds: of a model that is told labels, how many there are, or one more, the last of which is no label."""

    exchangeable: ClassVar = False

    center_input_sample: bool = False
    time_embedding_dim: Width | None = None
    freq_shift: Annotated[int, Within(0, 1)] = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[Down, ...] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D")
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: tuple[Up, ...] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    block_out_channels: tuple[Width, ...] = (224, 448, 672, 896)
    layers_per_block: Annotated[int, Within(1, 100)] = 2
    mid_block_scale_factor: Positive = 1.0
    downsample_padding: Annotated[int, Within(0, 1)] = 1
    downsample_type: Resampled = "conv"
    upsample_type: Resampled = "conv"
    dropout: BelowOne = 0.0
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    attention_head_dim: Width | None = 8
    norm_num_groups: Width = 32
    attn_norm_num_groups: Width | None = None
    norm_eps: Positive = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    num_class_embeds: Width | None = None

    def build(
        self, shape: tuple[int, ...], out_shape: tuple[int, ...], classes: int, roles: bool, planes: int = 0
    ) -> UNet2DBackbone:
        """For images (channels, height, width) and one number per element.

        Raises `UserError` where the package diffusers is not installed, for what is no image, is of a size that does
        halve so often, or is to be told roles, planes or other labels, and for settings that do not go together.
        """
        if len(shape) != 3 or out_shape != (*shape, 1):
            raise UserError(f"unet2d predicts a number per element of images (channels, height, width), not of {shape}")
        if roles or planes:
            raise UserError("unet2d is told no roles or planes: use backbone=unet")
        if self.num_class_embeds not in ((classes, classes + 1) if classes else (None,)):
            raise UserError(
                f"num_class_embeds={self.num_class_embeds} does not fit labels of {classes} classes: give as many, or "
                "one more for no label"
                if classes
                else f"num_class_embeds={self.num_class_embeds} is for a model that is told labels: --condition labels"
            )
        if any(side % 2 ** (len(self.block_out_channels) - 1) for side in shape[1:]):
            raise UserError(
                f"{len(self.block_out_channels)} resolutions do not fit {shape[1]}×{shape[2]} pixels, which do not "
                "halve so often"
            )
        try:
            network = require_diffusers().UNet2DModel(
                in_channels=shape[0], out_channels=shape[0], sample_size=shape[1:], **dataclasses.asdict(self)
            )
        except (ValueError, ZeroDivisionError, IndexError) as error:
            raise UserError(f"these settings make no UNet2DModel: {error}") from error
        return UNet2DBackbone(network, classes)


def require_diffusers() -> Any:
    """The package diffusers. Raises `UserError` where it is not installed."""
    try:
        import diffusers
    except ImportError as error:
        raise UserError("models of diffusers need the package diffusers: pip install 'vlb[diffusers]'") from error
    return diffusers
