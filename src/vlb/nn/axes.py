"""What depends on how many axes an example has beside its channels: one of waves, two of images, three of volumes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Axes:
    """convolution: its class of layers; pool: averages over blocks; memory: the order in which convolutions are
    fastest, channels last where torch has it."""

    convolution: type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]
    pool: Callable[..., Tensor]
    memory: torch.memory_format

    def halved(self, h: Tensor) -> Tensor:
        """Averages of two along every axis of more than one element, a last odd one by itself."""
        return self.pool(h, tuple(min(2, side) for side in h.shape[2:]), ceil_mode=True)


AXES = {
    1: Axes(nn.Conv1d, F.avg_pool1d, torch.contiguous_format),
    2: Axes(nn.Conv2d, F.avg_pool2d, torch.channels_last),
    3: Axes(nn.Conv3d, F.avg_pool3d, torch.channels_last_3d),
}


def zeroed(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """The layer with weights and bias of 0."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def fold(h: Tensor, patch: int) -> Tensor:
    """(batch, C, …) with every block of patch along each axis as channels, (batch, C·patchᴬ, …), the ends filled up
    with zeros: channel c, offset (i, j) of an image is c·p² + i·p + j."""
    axes = h.ndim - 2
    h = F.pad(h, [side for size in reversed(h.shape[2:]) for side in (0, -size % patch)])
    for axis in range(axes):
        h = h.unflatten(2 + 2 * axis, (-1, patch))
    blocks, offsets = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return h.permute(0, 1, *offsets, *blocks).flatten(1, 1 + axes)


def unfold(out: Tensor, patch: int, size: tuple[int, ...]) -> Tensor:
    """(batch, …, patchᴬ·C), offsets before channels, as (batch, *size, C): what was filled up is cut off."""
    axes = len(size)
    out = out.unflatten(-1, (*(patch,) * axes, -1))
    pairs = (place for axis in range(axes) for place in (1 + axis, 1 + axes + axis))
    out = out.permute(0, *pairs, 1 + 2 * axes)
    for axis in range(axes):
        out = out.flatten(1 + axis, 2 + axis)
    return out[(slice(None), *(slice(side) for side in size))]
