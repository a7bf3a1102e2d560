"""A U-Net for waves, images and volumes of any channel count and size, after VDM's (Kingma et al. 2021, §B)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.base.domains import BelowOne, Depth, Settings, Width, Within
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING, PLANES, ROLE, UNCONDITIONAL, Condition
from vlb.nn.attention import Attention, ElementNorm
from vlb.nn.axes import AXES, Axes, fold, unfold, zeroed
from vlb.nn.dropout import Dropout
from vlb.nn.embedding import Conditioning, beside, fourier, seen
from vlb.nn.stages import Network, Stage


class UNetBackbone(Network):
    """(batch, C, …) -> (batch, C, …, outputs) for one to three axes beside the channels; starts at zero.

    widths: channels per resolution, each half the one before; attention where `attention` says so
    and in the middle. `patch` folds as many elements along each axis into channels before the first convolution. roles:
    whether it is told the roles of elements, planes: how many maps aligned with them it is told, all as further
    channels.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        classes: int,
        widths: tuple[int, ...],
        blocks: int,
        attention: tuple[bool, ...],
        octaves: tuple[int, ...],
        patch: int,
        dropout: float,
        roles: bool = False,
        planes: int = 0,
    ) -> None:
        super().__init__()
        channels, axes = shape[0], len(shape) - 1
        self.axes = AXES[axes]
        width = 4 * widths[0]
        self.outputs, self.octaves, self.patch, self.roles = outputs, octaves, patch, roles
        self.planes = planes
        self.conditioning = Conditioning(width, classes)
        self.takes = self.conditioning.takes | (ROLE if roles else NOTHING) | (PLANES if planes else NOTHING)
        fine = 1 + 2 * len(octaves)
        inputs = (channels * (2 * fine + 2 if roles else fine) + planes) * patch**axes
        self.first = self.axes.convolution(inputs, widths[0], 3, padding=1)

        def stage(before: int, after: int, attend: bool) -> _Stage:
            residual = _Residual(self.axes, before, after, width, dropout)
            return _Stage(residual, Attention(after) if attend else nn.Identity())

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, current = [widths[0]], widths[0]
        for number, (after, attend) in enumerate(zip(widths, attention, strict=True)):
            stages = nn.ModuleList()
            for _ in range(blocks):
                stages.append(stage(current, after, attend))
                current = after
                skips.append(current)
            if number < len(widths) - 1:
                skips.append(current)
            self.down.append(stages)
        self.middle = nn.ModuleList([stage(current, current, True), stage(current, current, False)])
        for after, attend in reversed(list(zip(widths, attention, strict=True))):
            stages = nn.ModuleList()
            for _ in range(blocks + 1):
                stages.append(stage(current + skips.pop(), after, attend))
                current = after
            self.up.append(stages)
        self.norm = ElementNorm(current)
        self.last = zeroed(self.axes.convolution(current, channels * outputs * patch**axes, 1))
        self.to(memory_format=self.axes.memory)  # type: ignore[call-overload]

    def compute(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        embedded = self.conditioning(gamma, condition)
        if self.roles:
            values, planes = seen(z, condition.role)
            h = torch.cat((fourier(values, self.octaves), planes), 1)
        else:
            h = fourier(z, self.octaves)
        if self.planes:
            h = beside(h, condition)
        if self.patch > 1:
            h = fold(h, self.patch)
        h = self.first(h.contiguous(memory_format=self.axes.memory))
        skips = [h]
        for resolution, stages in enumerate(self.down):
            assert isinstance(stages, nn.ModuleList)
            if resolution:
                h = self.axes.halved(h)
                skips.append(h)
            for stage in stages:
                h = stage(h, embedded)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, embedded)
        for stages in self.up:
            assert isinstance(stages, nn.ModuleList)
            for stage in stages:
                skip = skips.pop()
                if skip.shape[2:] != h.shape[2:]:
                    h = F.interpolate(h, size=skip.shape[2:])
                h = stage(torch.cat((h, skip), 1), embedded)
        out = self.last(F.silu(self.norm(h)))
        # Levels last, and contiguous where the convolution wrote channels last.
        out = out.movedim(1, -1)
        if self.patch > 1:
            out = unfold(out, self.patch, tuple(z.shape[2:]))
        return out.unflatten(-1, (z.shape[1], self.outputs)).movedim(-2, 1)


class _Stage(Stage):
    def __init__(self, residual: "_Residual", attention: nn.Module) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention

    def compute(self, x: Tensor, embedded: Tensor) -> Tensor:
        return self.attention(self.residual(x, embedded))


class _Residual(nn.Module):
    def __init__(self, axes: Axes, before: int, after: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.norm_out = ElementNorm(before), ElementNorm(after)
        self.conv_in = axes.convolution(before, after, 3, padding=1)
        self.conv_out = axes.convolution(after, after, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * after)
        self.dropout = Dropout(dropout)
        self.skip = axes.convolution(before, after, 1) if before != after else nn.Identity()
        zeroed(self.conv_out)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        modulation = self.modulation(embedded)
        scale, shift = modulation.view(*modulation.shape, *[1] * (x.ndim - 2)).chunk(2, 1)
        h = F.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale))
        return self.skip(x) + self.conv_out(self.dropout(h))


@dataclass(frozen=True, kw_only=True)
class UNet(Settings):
    """A U-Net; one entry of `widths` and `attention` per resolution."""

    exchangeable: ClassVar = False

    widths: tuple[Width, ...] = (64, 64, 64)
    blocks: Depth = 1
    attention: tuple[bool, ...] = (False, False, True)
    octaves: tuple[Annotated[int, Within(-16, 16)], ...] = ()
    patch: Width = 1
    dropout: BelowOne = 0.0

    def build(
        self, shape: tuple[int, ...], out_shape: tuple[int, ...], classes: int, roles: bool, planes: int = 0
    ) -> UNetBackbone:
        """For waves, images or volumes of a shape, outputs per element as the head asks for them, labels, 0 for none,
        and, if it is told them, roles and so many planes.

        Raises `UserError` for what is none of these, or is too small for so many resolutions.
        """
        if len(shape) - 1 not in AXES or out_shape[:-1] != shape:
            raise UserError(
                "a U-Net needs waves (channels, time), images (channels, height, width) or volumes (channels, depth, "
                f"height, width), not {shape}: use backbone=mlp"
            )
        if len(self.widths) != len(self.attention) or not self.widths:
            raise UserError(
                f"widths and attention need one entry per resolution each, not {self.widths} and {self.attention}"
            )
        if min(shape[1:]) < self.patch * 2 ** (len(self.widths) - 1):
            raise UserError(
                f"{len(self.widths)} resolutions with patch {self.patch} do not fit {'×'.join(map(str, shape[1:]))} "
                "elements: give fewer widths"
            )
        return UNetBackbone(
            shape,
            out_shape[-1],
            classes,
            self.widths,
            self.blocks,
            self.attention,
            self.octaves,
            self.patch,
            self.dropout,
            roles,
            planes,
        )
